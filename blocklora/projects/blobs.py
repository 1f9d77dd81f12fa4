"""A project's files: originals named by their content, byte for byte, and the re-encoded copies that a browser may see."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from blocklora.errors import ProjectError
from blocklora.files import CHUNK
from blocklora.projects.formats import FORMATS

FLUSHERS = 16
SHA256 = re.compile(r"[0-9a-f]{64}")


class Blobs:
    """images/<first two digits>/<sha256>.<ext> and thumbs/<first two digits>/<sha256>[.view].webp below a project's folder."""

    def __init__(self, root: Path) -> None:
        self.images, self.thumbs = root / "images", root / "thumbs"

    def original(self, sha256: str, format_name: str) -> Path:
        """Where the original of this content lies.

        Raises:
            ProjectError: no content hash, or no kind of picture that is kept: an index that someone tampered with.
        """
        _check(sha256)
        if format_name not in FORMATS:
            raise ProjectError(f"The project's index names an unknown kind of picture ({format_name!r}).", "Restore it from a copy.")
        return self.images / sha256[:2] / f"{sha256}{FORMATS[format_name].extension}"

    def thumbnail(self, sha256: str) -> Path:
        _check(sha256)
        return self.thumbs / sha256[:2] / f"{sha256}.webp"

    def view(self, sha256: str) -> Path:
        _check(sha256)
        return self.thumbs / sha256[:2] / f"{sha256}.view.webp"

    def has(self, sha256: str, format_name: str, size: int) -> bool:
        """Whether the original is there as a regular file of the right size (names are content hashes; the size tells a cut-off copy)."""
        path = self.original(sha256, format_name)
        return path.is_file() and not path.is_symlink() and path.stat().st_size == size

    def put(self, source: Path, sha256: str, format_name: str) -> Path:
        """Copy `source` to where its content belongs, verifying the hash on the way. Not yet flushed: see `flush`.

        Raises:
            ProjectError: the file is gone, or no longer holds what it held when it was looked at.
        """
        final = self.original(sha256, format_name)
        final.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=final.parent, prefix=".incoming.", suffix=".tmp")
        try:
            digest = hashlib.sha256()
            with os.fdopen(handle, "wb") as out, source.open("rb") as stream:
                while piece := stream.read(CHUNK):
                    digest.update(piece)
                    out.write(piece)
            if digest.hexdigest() != sha256:
                raise ProjectError(f"{source.name} has changed since it was looked at.", "Start the import again.")
            Path(name).replace(final)
        except FileNotFoundError as error:
            Path(name).unlink(missing_ok=True)
            raise ProjectError(f"{source.name} is no longer there.", "Start the import again.") from error
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return final

    def put_thumbnail(self, sha256: str, source: Path) -> None:
        """Copy a finished thumbnail into place, whole or not at all; unflushed, since a lost one is made again."""
        final = self.thumbnail(sha256)
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = final.with_name(f".{final.name}.{os.getpid()}.{threading.get_ident()}.tmp")
        shutil.copyfile(source, temporary)
        temporary.replace(final)

    def remove(self, sha256: str) -> None:
        """Remove the original and every copy of this content."""
        for folder in (self.images / sha256[:2], self.thumbs / sha256[:2]):
            for path in folder.glob(f"{sha256}.*"):
                path.unlink(missing_ok=True)

    def contents(self) -> Iterator[tuple[str, Path]]:
        """Every original that lies there: (sha256, path)."""
        for path in self.images.glob("*/*"):
            if SHA256.fullmatch(path.stem):
                yield path.stem, path

    def unfinished(self) -> Iterator[Path]:
        """Temporary files that a process left behind when it died."""
        for folder in (self.images, self.thumbs):
            yield from folder.glob("*/.*.tmp")


def _check(sha256: str) -> None:
    if not SHA256.fullmatch(sha256):
        raise ProjectError("The project's index names a file that is not called by its content.", "Restore it from a copy.")


def flush(paths: Iterable[Path]) -> None:
    """Force files and the folders that name them to disk, so that rows written afterwards never point at nothing."""
    listed = list(paths)
    # Several at once share one write of the file system's journal: ten times as quick as one after the other.
    with ThreadPoolExecutor(FLUSHERS, thread_name_prefix="flush") as threads:
        list(threads.map(_flush_file, listed))
    folders = {path.parent for path in listed}
    if os.name == "posix":  # other systems cannot open a folder, and do not need it
        for folder in folders | {folder.parent for folder in folders}:
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _flush_file(path: Path) -> None:
    # A file that another import, failing, has just cleaned away is put back when rows are written.
    with suppress(FileNotFoundError), path.open("rb+") as stream:
        os.fsync(stream.fileno())
