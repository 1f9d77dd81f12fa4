"""Fetching a known backbone from the Hugging Face hub into its folder: safetensors only, at a fixed revision, checked against its hash.

The hub's own client says what a file is (size, hash, where it lies); the bytes come through ranged requests of our own, because that
client begins a broken-off file from zero again (huggingface_hub 2), and these files are up to 1.7 GB.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from blocklora.clip.catalog import CONFIG_FILE, WEIGHTS_FILE, BackboneInfo, is_present
from blocklora.errors import BackboneError
from blocklora.files import publish, sha256_file

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
TRIES = 4  # without a single new byte
TIMEOUT = 30.0  # seconds without a byte, after which a connection counts as broken
SPARE = 200 * 10**6  # bytes of the disk that a download leaves alone


@dataclass(frozen=True)
class DownloadProgress:
    """How far the download of backbone `name` is: bytes `done` of `total`, all its files together; `file` is the one under way, which is
    `checking` when all of it has arrived and its hash is computed.
    """

    name: str
    file: str
    done: int
    total: int
    checking: bool = False


@dataclass(frozen=True)
class HubFile:
    """What the hub states of a file. `sha256` is empty for small ones, which it knows by another hash."""

    name: str
    url: str
    size: int
    sha256: str


Report = Callable[[DownloadProgress], None]


def files_of(info: BackboneInfo) -> tuple[str, ...]:
    """The files of a backbone on the hub; the configuration last, so that a folder that has it is complete."""
    tokenizer = TOKENIZER_FILES if "SigLIP" in info.model else ()
    return (*tokenizer, WEIGHTS_FILE, CONFIG_FILE)


def page_of(info: BackboneInfo) -> str:
    """Where a person finds the files with a browser."""
    return f"https://huggingface.co/{info.repository}/tree/{info.revision}"


def partial_folder(folder: Path) -> Path:
    """Where the files of an unfinished download lie."""
    return folder.parent / f".{folder.name}.partial"


def arrived_in(folder: Path) -> int:
    """Bytes that an unfinished download has left beside `folder`."""
    size = 0
    for path in partial_folder(folder).glob("*"):
        with contextlib.suppress(FileNotFoundError):  # another program goes on with it
            size += path.stat().st_size
    return size


def lock_of(folder: Path) -> FileLock:
    """Held by whoever writes a backbone's files, as long as that takes."""
    return FileLock(folder.parent / f".{folder.name}.lock")


def download(info: BackboneInfo, folder: Path, progress: Report | None = None) -> None:
    """Fetch the files of `info` into `folder`. One process fetches at a time; a second one waits and finds the work done.

    A broken-off or killed download goes on where it stopped. Everything is published at once, when all of it has arrived and the
    weights have the SHA-256 that is known of them.

    Raises:
        BackboneError: the hub cannot be reached or has no such file (names the files and where to put them by hand), the disk is too
            full, or something else arrived than was stated.
    """
    partial = partial_folder(folder)
    with _explained(info, folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with lock_of(folder):
        if is_present(folder):
            return
        with _explained(info, folder):
            partial.mkdir(exist_ok=True)
            files = [_stated(info, name) for name in files_of(info)]
        check_space(sum(file.size - _arrived(partial / file.name) for file in files), partial)
        total, done = sum(file.size for file in files), 0
        for file in files:

            def say(arrived: int, file: HubFile = file, before: int = done) -> None:
                if progress is not None:
                    progress(DownloadProgress(info.name, file.name, before + arrived, total))

            with _explained(info, folder):
                _fetch(file, partial / file.name, say)
            done += file.size
            if file.sha256 and progress is not None:
                progress(DownloadProgress(info.name, file.name, done, total, checking=True))
            _check(info, file, partial / file.name)
        with _explained(info, folder):
            for file in files:
                publish(partial / file.name, folder / file.name)
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def _explained(info: BackboneInfo, folder: Path) -> Iterator[None]:
    """Whatever goes wrong with the hub, said in one way. What its client lets through depends on its version and its HTTP library."""
    try:
        yield
    except BackboneError:
        raise
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM):
            raise _unreachable(info, folder, error) from error
        raise BackboneError(
            f"{info.title} cannot be written to {folder.parent}: {error.strerror}.",
            "Free space there or make it writable, and try again; what has arrived is kept.",
        ) from error
    except Exception as error:
        raise _unreachable(info, folder, error) from error


def _unreachable(info: BackboneInfo, folder: Path, error: Exception) -> BackboneError:
    """What to say when the hub, or the way to it, failed."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    reason = lines[0].split(" for url ")[0].rstrip(". ")[:160]
    return BackboneError(
        f"{info.title} is not on this machine and could not be fetched from huggingface.co/{info.repository} ({reason}).",
        "Connect to the internet and try again; what has arrived is kept. "
        f"Or get {', '.join(files_of(info))} from {page_of(info)} elsewhere and put them into {folder}.",
    )


def _stated(info: BackboneInfo, name: str) -> HubFile:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(info.repository, name, revision=info.revision)
    stated = get_hf_file_metadata(url)
    if not stated.size:
        raise BackboneError(f"The hub does not say how large {name} of {info.title} is.", "Try again later.")
    sha256 = stated.etag if stated.etag and len(stated.etag) == 64 else ""
    if name == WEIGHTS_FILE and info.sha256 and sha256 not in ("", info.sha256):
        raise BackboneError(f"The hub has another {name} for {info.title} than the one this program knows.", "Choose another backbone.")
    return HubFile(name, url, stated.size, info.sha256 if name == WEIGHTS_FILE and info.sha256 else sha256)


def check_space(missing: int, partial: Path) -> None:
    """Whether `missing` bytes more fit beside `partial`.

    Raises:
        BackboneError: they do not.
    """
    free = shutil.disk_usage(partial).free
    if free < missing + SPARE:
        raise BackboneError(
            f"The disk is too full: {missing / 1e6:,.0f} MB are still to come, and {free / 1e6:,.0f} MB are free at {partial.parent}.",
            f"Free {(missing + SPARE - free) / 1e6:,.0f} MB and try again.",
        )


def _arrived(path: Path) -> int:
    """Bytes of a file that are there: whole, or as far as it got."""
    for candidate in (path, _part(path)):
        if candidate.exists():
            return candidate.stat().st_size
    return 0


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _fetch(file: HubFile, path: Path, say: Callable[[int], None]) -> None:
    """`file` to `path`, from where an earlier attempt stopped. Gives up after some tries in a row that bring nothing."""
    import httpx
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    if path.exists():
        if path.stat().st_size == file.size:  # whole, from an earlier attempt that broke at another file
            say(file.size)
            return
        path.unlink()
    part, fruitless = _part(path), 0
    furthest = _arrived(part)
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    with httpx.Client(headers=headers, follow_redirects=True, timeout=TIMEOUT) as client:
        while (have := _arrived(part)) != file.size:
            if have > file.size:  # of another file; cannot become this one
                part.unlink()
                continue
            say(have)
            try:
                _append(client, file, part, have, say)
            except httpx.HTTPError:
                arrived = _arrived(part)
                # further than ever before; a file that shrank (no ranges) or grew beyond its size is no progress
                fruitless = 0 if furthest < arrived <= file.size else fruitless + 1
                furthest = max(furthest, min(arrived, file.size))
                if fruitless == TRIES:
                    raise
                time.sleep(0.5 * 2**fruitless)
    say(file.size)
    publish(part, path)


def _append(client: object, file: HubFile, part: Path, have: int, say: Callable[[int], None]) -> None:
    """One request for what is missing. A server that does not know ranges sends the whole file, and then it is taken whole."""
    import httpx

    assert isinstance(client, httpx.Client)
    with client.stream("GET", file.url, headers={"Range": f"bytes={have}-"} if have else {}) as response:
        response.raise_for_status()
        if response.status_code != httpx.codes.PARTIAL_CONTENT:
            have = 0
        with part.open("ab" if have else "wb") as stream:
            for piece in response.iter_raw():
                stream.write(piece)
                have += len(piece)
                say(have)
                if have > file.size:
                    raise httpx.RemoteProtocolError(f"{file.name} is longer than was stated")
    if have < file.size:
        raise httpx.RemoteProtocolError(f"the connection ended after {have / 1e6:,.0f} of {file.size / 1e6:,.0f} MB")


def _check(info: BackboneInfo, file: HubFile, path: Path) -> None:
    if file.sha256 and sha256_file(path) != file.sha256:
        path.unlink()
        raise BackboneError(f"{file.name} of {info.title} arrived damaged (its SHA-256 is not the one stated).", "Try again.")
