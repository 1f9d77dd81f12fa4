"""Many pictures, a zip of them or a folder through a published model: a table that grows while people watch, and files of it at the end.

The work runs in a thread of its own, so that a page that is closed or loaded again loses nothing of it. The table lies on disk (see
`batch_table`), so memory does not grow with the number of files.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from blocklora.errors import ImportRefused, StudioError
from blocklora.projects.decoder import Decoder, Refused
from blocklora.projects.decoding import MANY, map_decoders
from blocklora.services import sorting, tables
from blocklora.services.batch_files import Entry, at_hand
from blocklora.services.batch_rows import Listed, Row
from blocklora.services.batch_table import Table
from blocklora.services.predicting import Predictor

if TYPE_CHECKING:
    import numpy as np

TOP = 5  # labels a picture in the window's tables


@dataclass
class Batch:
    """A table under way or done. `error` is why the whole of it stopped; `files` are the ones made of it, by kind: csv, parquet, zip.

    `making` is what is being made of a finished table, in words, and `said` how the last such thing went.
    """

    id: str
    run_id: str
    folder: Path
    total: int = 0
    done: int = 0
    failed: int = 0
    seconds: float = 0.0
    provider: str = ""
    error: str = ""
    files: dict[str, Path] = field(default_factory=dict)
    making: str = ""
    said: str = ""
    over: bool = False
    given_up: bool = False
    table: Table = field(default_factory=lambda: Table(None, "", TOP))

    @property
    def answered(self) -> int:
        """Pictures that have an answer."""
        return self.done - self.failed


@dataclass(frozen=True)
class Task:
    """What to predict: the files (listed in the thread), the run whose model answers, where the tables go."""

    files: Iterator[Listed]
    run_id: str
    folder: Path


class Batches:
    """The latest batch of each project; starting another one gives up the one before."""

    def __init__(self) -> None:
        self._latest: dict[str, Batch] = {}
        self._forgotten: dict[str, Callable[[], None]] = {}
        self._lock = threading.Lock()

    def latest(self, project_id: str) -> Batch | None:
        """The table to show for a project."""
        with self._lock:
            return self._latest.get(project_id)

    def forget(self, project_id: str) -> None:
        """Stop showing a project's table, and stop making it where that still goes on."""
        with self._lock:
            batch, done = self._latest.pop(project_id, None), self._forgotten.pop(project_id, None)
        if batch is not None:
            batch.given_up = True
        if done is not None:
            done()

    def start(self, project_id: str, task: Task, predictor: Callable[[], Predictor], done: Callable[[], None] | None = None) -> Batch:
        """Begin a table; returns at once. `predictor` opens the model, in the thread; `done` is called when the table is put away."""
        self.forget(project_id)
        batch = Batch(f"{time.time_ns():x}", task.run_id, task.folder)
        with self._lock:
            self._latest[project_id] = batch
            if done is not None:
                self._forgotten[project_id] = done
        threading.Thread(target=_work, args=(batch, task, predictor), name="batch", daemon=True).start()
        return batch


def _work(batch: Batch, task: Task, predictor: Callable[[], Predictor]) -> None:
    try:
        fill(batch, task, predictor())
    except StudioError as error:
        batch.error = str(error)
    except Exception:
        batch.error = "Something went wrong inside the studio; the lines above it are right."
        raise
    finally:
        batch.over = True


def fill(batch: Batch, task: Task, predictor: Predictor) -> None:
    """Predict every picture of `task` in order, then write the CSV file.

    Raises:
        StudioError: a zip cannot be opened, or the model cannot answer.
    """
    batch.provider = predictor.provider
    batch.table = Table(None, task.run_id, min(TOP, len(predictor.labels)))
    batch.total, _ = batch.table.set_files(task.files)
    if not batch.total:
        raise ImportRefused("There is no picture in it.", "Choose pictures, or a zip or a folder with pictures.")
    batch.done = batch.failed = batch.table.failed()  # what a zip's table of contents tells already
    began = time.monotonic()
    for row in answer_waiting(batch.table, predictor):
        batch.failed += bool(row.error)
        batch.done += 1
        batch.seconds = time.monotonic() - began
        if batch.given_up:
            return
    batch.files["csv"], _ = make_file(batch, "csv")


def answer_waiting(table: Table, predictor: Predictor) -> Iterator[Row]:
    """Answer the rows of a table that wait; each comes back, with its answer or reason, when that is in the table.

    Pictures are decoded by other processes while earlier ones are answered; a handful of them is in memory.
    """
    with tempfile.TemporaryDirectory(prefix="batch-") as folder:
        decoded = map_decoders(_decode, at_hand(table.waiting(), Path(folder)), MANY)
        items = (((entry.row, found), None if isinstance(found, Refused) else found) for entry, found in decoded)
        for (row, found), answer in predictor.predict_each(items, table.top):
            if answer is not None:
                yield table.answer(row, answer.top, getattr(answer, "known", None))
            elif isinstance(found, Refused):
                yield table.refuse(row, found.reason)


def _decode(decoder: Decoder, entry: Entry) -> np.ndarray | Refused:
    """Pixels (H, W, 3) or why there are none; a file that was unpacked for this is removed again."""
    try:
        return Refused("refused", entry.refused) if entry.refused else decoder.pixels(entry.path)
    finally:
        entry.close()


# ---- what is made of a finished table

KINDS = {"csv": "csv", "parquet": "parquet", "zip": "zip"}  # and the ending of each


def make_file(batch: Batch, kind: str) -> tuple[Path, int]:
    """A file of a finished table, in its folder: a table as CSV or Parquet, or the pictures in a zip of class folders; and how many
    pictures are not in it since they are no longer there.

    Raises:
        StudioError: it cannot be made.
    """
    name = {"zip": "sorted"}.get(kind, "predictions")
    target = batch.folder / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}-{batch.id[-4:]}.{KINDS[kind]}"
    if kind == "csv":
        tables.write_csv(target, batch.table)
    elif kind == "parquet":
        tables.write_parquet(target, batch.table)
    else:
        return target, sorting.zip_sorted(batch.table, target, lambda: batch.given_up)
    return target, 0


def start_making(batch: Batch, words: str, work: Callable[[], str]) -> None:
    """Do something with a finished table in a thread; `work` returns how it went, in words. One thing at a time.

    Raises:
        ImportRefused: the table is not finished, or something is being made of it.
    """
    if not batch.over or batch.error or batch.making:
        raise ImportRefused("The table is not ready for that.", "Wait until it is finished.")
    batch.making, batch.said = words, ""

    def run() -> None:
        try:
            batch.said = work()
        except StudioError as error:
            batch.said = str(error)
        except Exception:
            batch.said = "Something went wrong inside the studio."
            raise
        finally:
            batch.making = ""

    threading.Thread(target=run, name="batch-file", daemon=True).start()
