"""One zip, whole or not there at all: what the other forms of a run are written into."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from blocklora.errors import ExportError
from blocklora.files import CHUNK, publish
from exporters.workplace import workplace

README = "README.md"
# Every member carries the same date: the same run gives the same bytes, and no clock of anybody's camera travels along unasked.
DATE = (1980, 1, 1, 0, 0, 0)
MODE = 0o644 << 16

Progress = Callable[[str, float], None]


class ZipWriter:
    """Members of a zip that is being written: texts are packed; files are copied as they are, since pictures and weights do not pack.

    `folder` is for files that are made only to be copied into the zip.
    """

    def __init__(self, archive: zipfile.ZipFile, folder: Path) -> None:
        self._archive = archive
        self.folder = folder

    def text(self, name: str, text: str) -> None:
        """A text file, UTF-8."""
        self.data(name, text.encode("utf-8"))

    def data(self, name: str, data: bytes) -> None:
        """A small file out of memory."""
        self._archive.writestr(_member(name), data, zipfile.ZIP_DEFLATED)

    def file(self, name: str, path: Path, packed: bool = False) -> None:
        """The bytes of a file on disk; one of many gigabytes takes no more memory than a small one. `packed`: it gets smaller."""
        member = _member(name)
        member.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
        member.file_size = path.stat().st_size  # tells zipfile whether it needs the format for more than 4 GB
        with path.open("rb") as source, self._archive.open(member, "w") as out:
            shutil.copyfileobj(source, out, CHUNK)


@contextmanager
def new_zip(target: Path) -> Iterator[ZipWriter]:
    """A zip at `target` that appears when the block has ended without an error; until then an earlier file stays.

    Raises:
        ExportError: the folder cannot be written to, or the disk is full.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with workplace(target.parent) as folder:
            made = folder / target.name
            with made.open("xb") as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
                yield ZipWriter(archive, folder)
            publish(made, target)
    except OSError as error:
        raise ExportError(f"{target} cannot be written: {error.strerror or error}.", "Check the disk, or choose another place.") from error


def _member(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, DATE)
    member.external_attr = MODE
    return member
