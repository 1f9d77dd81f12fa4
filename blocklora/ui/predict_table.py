"""What the Predict tab's table can be begun with and what can be made of it: a folder that is typed, files, folders of sorted pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from blocklora.errors import ImportRefused
from blocklora.projects.intake import allowed_folder
from blocklora.services.batch import KINDS, Batch, Task, make_file, start_making
from blocklora.services.batch_files import list_paths
from blocklora.services.sorting import sort_into
from blocklora.ui import html
from blocklora.ui.forms import Act

if TYPE_CHECKING:
    from blocklora.services.studio import Answering

MAKING = {"csv": "Making the CSV file", "parquet": "Making the Parquet file", "zip": "Packing the pictures"}


def folder_task(act: Act, model: Answering, tables: Path, local: bool) -> Task:
    """All pictures in a folder that was typed; what is made of their table goes to the folder `tables`.

    Raises:
        ImportRefused: the person does not sit at this machine, or it is no folder that may be read.
    """
    folder = allowed_folder(_typed(act), local, None)
    return Task(list_paths([folder], relative=True), model.key, tables)


def make(act: Act, batch: Batch, local: bool) -> None:
    """Begin what was asked for; the table says how it goes.

    Raises:
        ImportRefused: the table is not finished, or the folder may not be written.
    """
    kind = act.text("kind")
    if act.name == "make" and kind in KINDS:
        start_making(batch, MAKING[kind], lambda: _file(batch, kind))
    elif act.name == "sort":
        folder = _target(act, local)
        start_making(batch, f"Copying the pictures to {folder}", lambda: _sort(batch, folder))
    else:
        raise ValueError(f"the table knows no act {act.name!r} of {kind!r}")


def _file(batch: Batch, kind: str) -> str:
    batch.files[kind], missing = make_file(batch, kind)
    return f"{html.plural(missing, 'picture')} could not be put into the zip: no longer there." if missing else ""


def _sort(batch: Batch, folder: Path) -> str:
    found = sort_into(batch.table, folder, stop=lambda: batch.given_up)
    left = f" {found.failed:,} are no longer there." if found.failed else ""
    return f"{html.plural(found.placed, 'picture')} copied to {folder}, each into the folder of its class.{left}"


def _target(act: Act, local: bool) -> Path:
    """The folder to sort into; it need not be there yet, but what it lies in must be one that may be written."""
    typed = Path(_typed(act)).expanduser()
    if not typed.is_absolute() or not typed.name:
        raise ImportRefused(f"{_typed(act) or 'An empty path'} is not a whole path.", "Give it from the top, such as /home/me/sorted.")
    return allowed_folder(typed.parent, local, None) / typed.name


def _typed(act: Act) -> str:
    return act.text("folder").strip().strip("\"'")
