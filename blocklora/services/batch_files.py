"""The files of a batch: listed one by one without being opened, and later made ready to be decoded or copied, one by one again."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from blocklora.errors import ImageError, ImportRefused
from blocklora.projects.archives import MemberError, open_archive, refuse_member, unpack
from blocklora.projects.formats import HEAD, PICTURE_EXTENSIONS, extension_of
from blocklora.projects.limits import DEFAULT_LIMITS
from blocklora.projects.names import shown
from blocklora.projects.sources import is_hidden, refuse_head
from blocklora.services.batch_rows import Listed, Row

HIDDEN = "hidden"  # the kind of entry that is not worth a line: what systems put beside pictures


@dataclass(frozen=True)
class Entry:
    """A row's file at hand, or why there is none. `unpacked` files are ours, and removed once they were used."""

    row: Row
    path: Path
    refused: str = ""
    unpacked: bool = False

    def close(self) -> None:
        """Remove the file if it was unpacked for this."""
        if self.unpacked:
            self.path.unlink(missing_ok=True)


# ---- listing


def is_zip(name: str) -> bool:
    """Whether a file goes by a zip's name."""
    return name.lower().endswith(".zip")


def list_uploads(files: Sequence[tuple[str, Path]]) -> Iterator[Listed]:
    """Files by (name, path) as they are, zips with what is in them.

    Raises:
        ImportRefused: a zip cannot be opened.
    """
    for part, (name, path) in enumerate(files):
        if is_zip(name):
            yield from _members(part, path)
        elif not is_hidden(Path(name).name):
            yield _listed(part, path, shown(name))


def list_paths(paths: Sequence[Path], leave_out: Path | None = None, relative: bool = False) -> Iterator[Listed]:
    """Files as they are, folders with everything in them that looks like a picture; never what lies in `leave_out`.

    Names are paths as they were given, or with `relative` those within the folder.

    Raises:
        ImageError: one is neither a file nor a folder.
    """
    for part, path in enumerate(paths):
        if path.is_dir():
            yield from _walk(part, path, leave_out, "" if relative else str(path))
        elif path.is_file():
            yield _listed(part, path, path.name if relative else str(path))
        else:
            need_paths([path])


def need_paths(paths: Iterable[Path]) -> None:
    """Raises ImageError where one of them is neither a file nor a folder."""
    for path in paths:
        if not path.is_dir() and not path.is_file():
            raise ImageError(f"{path} is neither a picture nor a folder.", "Name files or folders on this machine.")


def _walk(part: int, folder: Path, leave_out: Path | None, name: str) -> Iterator[Listed]:
    waiting = [(folder, name)]
    while waiting:
        current, name = waiting.pop()
        if leave_out is not None and current.resolve() == leave_out:
            continue
        try:
            found = os.scandir(current)
        except OSError as error:
            yield Listed(part, current.absolute(), name or ".", error=f"the folder cannot be read ({error.strerror or error})")
            continue
        with found:
            for entry in found:
                inner = str(Path(name) / entry.name)
                if is_hidden(entry.name):
                    continue
                if entry.is_dir(follow_symlinks=False):  # links to folders are not followed: they may lead in a circle
                    waiting.append((Path(entry.path), inner))
                elif extension_of(entry.name) in PICTURE_EXTENSIONS and entry.is_file():
                    yield _listed(part, Path(entry.path), inner)


def _listed(part: int, path: Path, name: str) -> Listed:
    try:
        found = path.stat()
    except OSError:  # the reason is found, and told, when it is to be read
        return Listed(part, path.absolute(), name)
    return Listed(part, path.absolute(), name, found.st_size, found.st_mtime_ns)


def _members(part: int, path: Path) -> Iterator[Listed]:
    with open_archive(path) as archive:
        for number, member in enumerate(archive.infolist()):
            refused = None if member.is_dir() else refuse_member(member, DEFAULT_LIMITS)
            if not member.is_dir() and (refused is None or refused.kind != HIDDEN):
                reason = refused.reason if refused is not None else ""
                yield Listed(part, path.absolute(), shown(member.filename), member.file_size, member.CRC, number, reason)


# ---- making ready


def at_hand(rows: Iterable[Row], folder: Path) -> Iterator[Entry]:
    """The files of rows, in order; those in a zip are unpacked into `folder` under names of our own, one when the next is asked for."""
    with ExitStack() as stack:
        archive: zipfile.ZipFile | None = None
        opened: Path | None = None
        for row in rows:
            if row.member < 0:
                yield _on_disk(row)
                continue
            if opened != row.path:
                stack.pop_all().close()
                archive, opened = None, row.path
                with suppress(ImportRefused):
                    archive = stack.enter_context(open_archive(row.path))
            yield Entry(row, row.path, "the zip is no longer there") if archive is None else _unpacked(row, archive, folder)


def _on_disk(row: Row) -> Entry:
    try:
        if not row.path.is_file():
            return Entry(row, row.path, "the file is not there, or not a regular file")
        with row.path.open("rb") as stream:
            head = stream.read(HEAD)
    except OSError as error:
        return Entry(row, row.path, f"cannot be read ({error.strerror or 'unknown error'})")
    refused = refuse_head(row.name, head)
    return Entry(row, row.path, refused.reason if refused is not None else "")


def _unpacked(row: Row, archive: zipfile.ZipFile, folder: Path) -> Entry:
    target = folder / f"{row.id:06d}.bin"
    try:
        unpack(archive, archive.infolist()[row.member], target, DEFAULT_LIMITS.image_bytes)
    except (MemberError, IndexError) as error:
        return Entry(row, target, str(error), unpacked=True)
    with target.open("rb") as stream:
        refused = refuse_head(row.name, stream.read(HEAD))
    return Entry(row, target, refused.reason if refused is not None else "", unpacked=True)
