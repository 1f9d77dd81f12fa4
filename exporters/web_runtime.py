"""onnxruntime-web, which runs an exported file in a browser: one pinned package, fetched once, checked by its hash, kept in the data home.

It is not part of this repository: its WebAssembly is larger than the built-in backbone, and most people never need it.
`python -m exporters.web_runtime FOLDER` fetches it beforehand, for a machine without a network or for tests.
"""

from __future__ import annotations

import base64
import hashlib
import os
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from blocklora.errors import ExportError
from blocklora.files import publish, sha256_file

VERSION = "1.30.0"
PACKAGE = f"onnxruntime-web-{VERSION}.tgz"
SIZE = 33_106_585  # bytes of the package
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="  # as npm's registry states it
FILES = {
    "ort.wasm.min.js": "faece07e84faa9001f5104bbe4e5c70861d06cb2376a0dea1fa0ad33a67adc81",
    "ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
REGISTRY = "https://registry.npmjs.org"
REGISTRY_VARIABLES = ("npm_config_registry", "NPM_CONFIG_REGISTRY")  # npm itself reads both
TIMEOUT = 30.0  # seconds without a byte
FOLDER_VARIABLE = "BLOCKLORA_PACKAGES"  # where fetched packages are kept instead of in the data home

Report = Callable[[float], None]


def packages_folder(home: Path) -> Path:
    """Where packages that were fetched lie: in the data home, unless BLOCKLORA_PACKAGES names another folder."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else home / "packages"


def web_runtime(packages: Path, report: Report | None = None) -> dict[str, Path]:
    """onnxruntime-web's files by name, fetched into `packages` where they are not there yet; `report` hears the share fetched, 0..1.

    A package that was put there by hand (`PACKAGE`) is used instead of fetching it.

    Raises:
        ExportError: it can neither be found nor fetched, or is not the pinned one.
    """
    folder = packages / f"onnxruntime-web-{VERSION}"
    paths = {name: folder / name for name in FILES}
    if all(path.is_file() and sha256_file(path) == FILES[name] for name, path in paths.items()):
        return paths
    by_hand = packages / PACKAGE
    if by_hand.is_file():
        _unpack(by_hand, paths)
        return paths
    packages.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=packages, prefix=".fetch-") as scratch:
        package = Path(scratch) / PACKAGE
        _fetch(package, packages, report or (lambda share: None))
        _unpack(package, paths)
    return paths


def _fetch(target: Path, packages: Path, report: Report) -> None:
    """The package from npm's registry, or the one that npm is told to use."""
    import httpx

    named = [os.environ[name] for name in REGISTRY_VARIABLES if os.environ.get(name)]
    registry = (named or [REGISTRY])[0].rstrip("/")
    url = f"{registry}/onnxruntime-web/-/{PACKAGE}"
    try:
        with httpx.stream("GET", url, follow_redirects=True, timeout=TIMEOUT) as answer, target.open("wb") as stream:
            answer.raise_for_status()
            arrived = 0
            for piece in answer.iter_bytes():
                arrived += len(piece)
                if arrived > SIZE:
                    break  # another file; its hash will say so
                stream.write(piece)
                report(arrived / SIZE)
    except (httpx.HTTPError, OSError) as error:
        reason = (str(error).splitlines() or [""])[0][:120] or type(error).__name__
        package = f"onnxruntime-web {VERSION} ({SIZE / 1e6:.0f} MB, once)"
        raise ExportError(
            f"The web page needs {package}, which could not be fetched from {registry}: {reason}.",
            f"Try again with a network, or put {PACKAGE} (npm pack onnxruntime-web@{VERSION}) into {packages}.",
        ) from error


def _unpack(package: Path, paths: dict[str, Path]) -> None:
    """The wanted files of the package, which must be the pinned one."""
    digest = hashlib.sha512()
    with package.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    if base64.b64encode(digest.digest()).decode() != SHA512:
        raise ExportError(f"{package.name} is damaged, or not the package that this program knows.", f"Remove {package} and try again.")
    for path in paths.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(package, "r:gz") as archive, tempfile.TemporaryDirectory(dir=package.parent, prefix=".unpack-") as scratch:
        for name, path in paths.items():
            member = archive.extractfile(f"package/dist/{name}")
            if member is None:
                raise ExportError(f"{package.name} lacks {name}.", f"Remove {package} and try again.")
            unpacked = Path(scratch) / name
            unpacked.write_bytes(member.read())
            if sha256_file(unpacked) != FILES[name]:
                raise ExportError(f"{name} of {package.name} is not the one that this program knows.", f"Remove {package} and try again.")
            publish(unpacked, path)


def main(arguments: list[str]) -> int:
    """Fetch it into a folder; 0 when it is there."""
    if len(arguments) != 1:
        print("usage: python -m exporters.web_runtime FOLDER", file=sys.stderr)
        return 2
    try:
        web_runtime(Path(arguments[0]))
    except ExportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
