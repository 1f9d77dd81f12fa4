"""Files that the page has uploaded: named by the page, so held against the folder that uploads land in."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from blocklora.errors import ImportRefused

ENVIRONMENT = "GRADIO_TEMP_DIR"  # where Gradio puts uploads; server.py sets it to a folder of this process
MAX_FILE = 4 * 1024**3  # bytes; a zip of a few thousand phone pictures


def upload_folder() -> Path:
    """The folder that uploads of this server land in."""
    return Path(os.environ[ENVIRONMENT]).resolve()


def scratch_folder(prefix: str) -> Path:
    """A new folder beside the uploads, out of the browser's reach; it goes when this server ends."""
    return Path(tempfile.mkdtemp(prefix=prefix, dir=upload_folder().parent)).resolve()


def uploaded_file(name: str) -> Path:
    """The uploaded file that the page calls `name`.

    Raises:
        ImportRefused: it is not an upload of this server, or no longer there.
    """
    try:
        path = Path(name).resolve()
        if name and path.is_relative_to(upload_folder()) and path.is_file():
            return path
    except (OSError, ValueError):
        pass
    raise ImportRefused("The uploaded file is no longer there.", "Choose it again.")


def uploaded_files(names: Iterable[str]) -> list[Path]:
    """The uploaded files of these names; see `uploaded_file`."""
    return [uploaded_file(name) for name in names]


def kept(paths: Iterable[Path], prefix: str) -> tuple[list[Path], Path]:
    """The same uploads in a scratch folder, and that folder: uploads themselves are swept after some hours, and a table of many pictures
    or an import that waits to be looked at may be wanted for longer. They stay where they are, too: an answer may be about one of them.
    """
    folder, places = scratch_folder(prefix), dict[Path, Path]()
    paths = list(paths)
    for number, path in enumerate(dict.fromkeys(paths)):  # a file that was sent twice is one upload
        places[path] = folder / str(number) / path.name
        places[path].parent.mkdir()
        try:
            os.link(path, places[path])
        except OSError:  # a file system that knows no links
            shutil.copyfile(path, places[path])
    return [places[path] for path in paths], folder


def forget(paths: Iterable[Path]) -> None:
    """Remove uploads (files, or folders made of them) that have been taken in: the project keeps its own copy."""
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
