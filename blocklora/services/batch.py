"""Many pictures, or a zip of them, through a published model: a table that grows while people watch, and a CSV at the end.

The work runs in a thread of its own, so that a page that is closed or loaded again loses nothing of it.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from blocklora.errors import ImportRefused, StudioError
from blocklora.files import write_atomic
from blocklora.projects.archives import MemberError, open_archive, refuse_member, unpack
from blocklora.projects.decoder import Decoder, Refused
from blocklora.projects.decoding import WORKERS, map_decoders
from blocklora.projects.formats import HEAD
from blocklora.projects.limits import DEFAULT_LIMITS
from blocklora.projects.names import shown
from blocklora.projects.sources import Skipped, on_disk, refuse_head
from blocklora.services.predicting import Prediction, Predictor
from blocklora.services.tables import to_csv

if TYPE_CHECKING:
    import numpy as np

HEADER = ("file", "label", "probability", "error")
HIDDEN = "hidden"  # the kind of entry that is not worth a line: what systems put beside pictures


@dataclass(frozen=True)
class Row:
    """One picture's line: its answer, or why there is none."""

    name: str
    label: str = ""
    probability: float | None = None
    error: str = ""


@dataclass
class Batch:
    """A table under way or done. `error` is why the whole of it stopped; `csv` appears with the last line."""

    id: str
    run_id: str
    total: int = 0
    rows: list[Row] = field(default_factory=list)
    milliseconds: float = 0.0
    provider: str = ""
    error: str = ""
    csv: Path | None = None
    over: bool = False
    given_up: bool = False

    @property
    def answered(self) -> int:
        """Pictures that have an answer."""
        return sum(row.probability is not None for row in self.rows)


@dataclass(frozen=True)
class Task:
    """What to predict: (name, path) of the pictures and zips, the run whose model answers, where the CSV goes."""

    files: Sequence[tuple[str, Path]]
    run_id: str
    folder: Path


@dataclass(frozen=True)
class Entry:
    """A file that may be a picture, or why it is none. `unpacked` files are ours, and removed once they were looked at."""

    name: str
    path: Path
    refused: Skipped | None
    unpacked: bool = False


class Batches:
    """The latest batch of each project; starting another one gives up the one before."""

    def __init__(self) -> None:
        self._latest: dict[str, Batch] = {}
        self._lock = threading.Lock()

    def latest(self, project_id: str) -> Batch | None:
        """The table to show for a project."""
        with self._lock:
            return self._latest.get(project_id)

    def forget(self, project_id: str) -> None:
        """Stop showing a project's table, and stop making it where that still goes on."""
        with self._lock:
            batch = self._latest.pop(project_id, None)
        if batch is not None:
            batch.given_up = True

    def start(self, project_id: str, task: Task, predictor: Callable[[], Predictor], done: Callable[[], None]) -> Batch:
        """Begin a table; returns at once. `predictor` opens the model and `done` is called at the end, both in the thread."""
        self.forget(project_id)
        batch = Batch(f"{time.time_ns():x}", task.run_id)
        with self._lock:
            self._latest[project_id] = batch
        threading.Thread(target=_work, args=(batch, task, predictor, done), name="batch", daemon=True).start()
        return batch


def _work(batch: Batch, task: Task, predictor: Callable[[], Predictor], done: Callable[[], None]) -> None:
    try:
        fill(batch, task, predictor())
    except StudioError as error:
        batch.error = str(error)
    except Exception:
        batch.error = "Something went wrong inside the studio; the lines above it are right."
        raise
    finally:
        batch.over = True
        done()


def fill(batch: Batch, task: Task, predictor: Predictor) -> None:
    """Predict every picture of `task` in order, then write the CSV file.

    Raises:
        StudioError: a zip cannot be opened, or the model cannot answer.
    """
    batch.provider = predictor.provider
    spent = 0.0
    with tempfile.TemporaryDirectory(prefix="batch-") as folder:
        batch.total, entries = _entries(task.files, Path(folder))
        for entry, found in map_decoders(_decode, entries, min(WORKERS, max(1, batch.total))):
            if batch.given_up:
                return
            if isinstance(found, Refused):
                if found.kind == HIDDEN:
                    batch.total -= 1
                else:
                    batch.rows.append(Row(entry.name, error=found.reason))
                continue
            answer: Prediction = predictor.predict([found])[0]
            spent += answer.milliseconds
            batch.rows.append(Row(entry.name, answer.label, answer.probability))
            batch.milliseconds = spent / batch.answered
    target = task.folder / f"predictions-{time.strftime('%Y%m%d-%H%M%S')}-{batch.id[-4:]}.csv"
    write_atomic(target, to_csv(HEADER, ((row.name, row.label, row.probability, row.error) for row in batch.rows)))
    batch.csv = target


def _decode(decoder: Decoder, entry: Entry) -> np.ndarray | Refused:
    """Pixels (H, W, 3) or why there are none; a file that was unpacked for this is removed again."""
    try:
        if entry.refused is not None:
            return Refused(entry.refused.kind, entry.refused.reason)
        return decoder.pixels(entry.path)
    finally:
        if entry.unpacked:
            entry.path.unlink(missing_ok=True)


def _entries(files: Sequence[tuple[str, Path]], folder: Path) -> tuple[int, Iterator[Entry]]:
    """How many pictures there may be, and they one by one; zips are unpacked a picture at a time."""
    total = 0
    for name, path in files:
        if is_zip(name):
            with open_archive(path) as archive:
                total += sum(not member.is_dir() for member in archive.infolist())
        else:
            total += 1
    if total > DEFAULT_LIMITS.files:
        raise ImportRefused(f"{total:,} files at once; at most {DEFAULT_LIMITS.files:,} are allowed.", "Predict them in parts.")
    if not total:
        raise ImportRefused("There is no file in it.", "Choose pictures, or a zip with pictures.")

    def walk() -> Iterator[Entry]:
        for name, path in files:
            if is_zip(name):
                yield from _members(path, folder)
            else:
                found = on_disk(name, "", path)
                yield Entry(found.name, path, found if isinstance(found, Skipped) else None)

    return total, walk()


def is_zip(name: str) -> bool:
    """Whether a file goes by a zip's name."""
    return name.lower().endswith(".zip")


def _members(path: Path, folder: Path) -> Iterator[Entry]:
    """The pictures in a zip, unpacked into `folder` one at a time, under names of our own."""
    with open_archive(path) as archive:
        for number, member in enumerate(entry for entry in archive.infolist() if not entry.is_dir()):
            name, target = shown(member.filename), folder / f"{number:06d}.bin"
            refused = refuse_member(member, DEFAULT_LIMITS)
            if refused is None:
                try:
                    unpack(archive, member, target, DEFAULT_LIMITS.image_bytes)
                    with target.open("rb") as stream:
                        refused = refuse_head(name, stream.read(HEAD))
                except MemberError as error:
                    refused = Skipped(name, str(error), error.kind)
            yield Entry(name, target, refused, unpacked=target.exists())
