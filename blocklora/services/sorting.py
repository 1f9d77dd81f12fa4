"""Pictures of a finished table into a folder for each class, or a zip of such folders. Copies or links: the pictures themselves stay.

Nothing is overwritten and nothing lands outside the chosen folder, whatever classes and files are called and whatever lies there. Doing it
again changes nothing: the table remembers which copy is whose, and a file that is the same picture already is taken for the copy.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import tempfile
import uuid
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from blocklora.errors import ExportError, ImageError
from blocklora.files import published
from blocklora.projects.safe_names import folder_names, numbered
from blocklora.services.batch_files import Entry, at_hand
from blocklora.services.batch_rows import Row
from blocklora.services.batch_table import Table

UNKNOWN = "unknown"  # where pictures go of which the model says that it does not know them


@dataclass(frozen=True)
class Sorted:
    """How many pictures lie in their folders, of them links, and how many could not be taken there."""

    placed: int
    links: int
    failed: int


def sort_into(table: Table, folder: Path, link: bool = False, stop: Callable[[], bool] = lambda: False) -> Sorted:
    """Copy, or with `link` link, every picture that has an answer into `folder`/its class.

    A link is a hard link where that can be made, else a symbolic one, else it is a copy. Pictures in a zip are always copied.

    Raises:
        ImageError: the folder cannot be made.
        ExportError: a class's folder is a link, or the disk is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"{folder} cannot be made: {error.strerror or error}.", "Name another folder.") from error
    root = folder.resolve()
    placed = links = failed = 0
    for entry, name in _at_hand(table):
        with _closing(entry):
            if stop():
                break
            if entry.refused:
                failed += 1
                continue
            home = _home(root, name)
            is_link = _place(table, entry, home, link and not entry.unpacked)
            placed, links = placed + 1, links + is_link
    return Sorted(placed, links, failed)


def zip_sorted(table: Table, path: Path, stop: Callable[[], bool] = lambda: False) -> int:
    """A zip with a folder for each class, and every picture that has an answer in its class's folder, as it is; how many could not be
    taken there.

    Raises:
        ExportError: it was given up, or no picture is left.
    """
    table.forget_copies()
    placed = failed = 0
    with published(path) as made:
        # Pictures are compressed already. A zip knows no time before 1980, as files without one have it.
        with zipfile.ZipFile(made, "x", zipfile.ZIP_STORED, strict_timestamps=False) as archive:
            for entry, name in _at_hand(table):
                with _closing(entry):
                    if stop():
                        raise ExportError("The zip was given up.", "Predict again.")
                    if entry.refused:
                        failed += 1
                        continue
                    archive.write(entry.path, next(place for place in _names(entry.row, name) if table.claim(entry.row, place)))
                    placed += 1
        if failed and not placed:
            raise ExportError("None of the pictures is there any more.", "Choose them again and predict.")
    table.forget_copies()
    return failed


def _at_hand(table: Table) -> Iterator[tuple[Entry, str]]:
    """The pictures with an answer, each with the name of its class's folder."""
    names = folder_names([*table.labels(), UNKNOWN])
    with tempfile.TemporaryDirectory(prefix="sort-") as folder:
        for entry in at_hand((row for row in table.rows() if row.top), Path(folder)):
            yield entry, names[UNKNOWN if entry.row.known is False else entry.row.label]


class _closing:
    """Removes an unpacked file at the end of the block."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self.entry.close()


def _names(row: Row, home: str) -> Iterator[str]:
    name = Path(row.name).name if row.member < 0 else row.name
    return (f"{home}/{numbered(name, number)}" for number in count(1))


def _home(root: Path, name: str) -> Path:
    """The folder of a class in `root`."""
    home = root / name
    if home.is_symlink() or (home.exists() and not home.is_dir()):
        raise ExportError(f"{home} is in the way: it is not a folder of its own.", "Choose an empty folder.")
    home.mkdir(exist_ok=True)
    return home


def _place(table: Table, entry: Entry, home: Path, link: bool) -> bool:
    """Put one picture into `home` under a name that is free, or leave it where it is already; says whether it is a link."""
    if entry.row.sorted and Path(entry.row.sorted).parent == home and _same(Path(entry.row.sorted), entry.path):
        return _is_link(Path(entry.row.sorted), entry.path)
    for place in _names(entry.row, home.name):
        target = home.parent / place
        if not table.claim(entry.row, str(target)):
            continue
        if os.path.lexists(target):
            if _same(target, entry.path):
                return _is_link(target, entry.path)
            continue
        try:
            return _put(entry.path, target, link)
        except FileExistsError:  # somebody else was quicker
            continue
        except OSError as error:
            raise ExportError(f"{target} cannot be written: {error.strerror or error}.", "Choose another folder.") from error
    raise AssertionError("numbers do not end")


def _put(source: Path, target: Path, link: bool) -> bool:
    """Raises FileExistsError where `target` is taken, even by a moment."""
    if link:
        for make in (os.link, os.symlink):
            try:
                make(source.resolve(), target)
                return True
            except FileExistsError:
                raise
            except (OSError, NotImplementedError):  # another disk, or a system or a person that makes no such links
                continue
    temporary = target.parent / f".{uuid.uuid4().hex}.tmp"
    try:
        shutil.copyfile(source, temporary)
        shutil.copystat(source, temporary)
        try:
            os.link(temporary, target)  # unlike a rename, it never takes the place of another file
        except FileExistsError:
            raise
        except (OSError, NotImplementedError):
            if os.path.lexists(target):
                raise FileExistsError(str(target)) from None
            temporary.rename(target)
    finally:
        temporary.unlink(missing_ok=True)
    return False


def _same(target: Path, source: Path) -> bool:
    """Whether `target` is, or links to, the same picture as `source`."""
    try:
        return target.is_file() and (target.samefile(source) or filecmp.cmp(target, source, shallow=False))
    except OSError:
        return False


def _is_link(target: Path, source: Path) -> bool:
    return target.is_symlink() or target.samefile(source)
