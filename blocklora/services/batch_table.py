"""The table of a batch: which files it is about and what the model said of each, in one SQLite file, so that memory holds a page of it.

Files are listed first, then answered one by one, each answer as soon as it is there. Whoever opens the same file again finds what is
answered already: a file counts as the same while its path, size and time of change are. The file is locked as long as it is open, and a
process that is killed loses nothing but the row it was at.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from blocklora.errors import JobError

OURS = 0x424C5054  # SQLite's application id: says that a file is a table of ours
VERSION = 1
CHUNK = 200  # rows that are read at once
WAITING, DONE = 0, 1
SCHEMA = f"""
BEGIN;
PRAGMA application_id = {OURS};
PRAGMA user_version = {VERSION};
CREATE TABLE about (model TEXT NOT NULL, top INTEGER NOT NULL);
CREATE TABLE rows (
  id INTEGER PRIMARY KEY, turn INTEGER NOT NULL, place INTEGER, part INTEGER NOT NULL,
  path BLOB NOT NULL, member INTEGER NOT NULL, name BLOB NOT NULL, size INTEGER NOT NULL, changed INTEGER NOT NULL,
  state INTEGER NOT NULL, label TEXT, top TEXT NOT NULL, known INTEGER, error TEXT NOT NULL, sorted BLOB,
  UNIQUE (path, member)
);
CREATE INDEX by_place ON rows (place);
CREATE INDEX by_sorted ON rows (sorted);
COMMIT;
"""
COLUMNS = "id, path, member, name, top, known, error, sorted"


@dataclass(frozen=True)
class Listed:
    """A file to answer: `part` orders first, then its path, then its number in a zip (`member`; -1 for a file of its own).

    `size` (bytes) and `changed` (nanoseconds) tell whether it is still the same. `error` says why it cannot be one.
    """

    part: int
    path: Path
    name: str
    size: int = 0
    changed: int = 0
    member: int = -1
    error: str = ""


@dataclass(frozen=True)
class Row:
    """One picture's line: its answers, most probable first, or why there are none.

    `known` is None where the model does not say whether it knows such a picture. `sorted` is where a copy of it lies, if one does.
    """

    id: int
    path: Path
    member: int
    name: str
    top: tuple[tuple[str, float], ...] = ()
    known: bool | None = None
    error: str = ""
    sorted: str = ""

    @property
    def label(self) -> str:
        return self.top[0][0] if self.top else ""

    @property
    def probability(self) -> float | None:
        return self.top[0][1] if self.top else None


class Table:
    """The table in a file; with no path, in one that nobody sees and that is gone with this object.

    Args:
        model: what tells this model from every other; a table of another model, or with fewer labels a picture, is emptied.
        top: labels a picture.

    Raises:
        JobError: the file is none of ours, or another process is writing it.
    """

    def __init__(self, path: Path | None, model: str, top: int) -> None:
        self.path, self.top = path, top
        self._lock = threading.RLock()
        self._db = _open(path)
        with self._lock:
            known = self._db.execute("SELECT model, top FROM about").fetchone()
            self.other_model = known is not None and known[0] != model
            self.started_anew = known is not None and known != (model, top)
            if self.started_anew:
                self._db.execute("DELETE FROM rows")
            self._db.execute("DELETE FROM about")
            self._db.execute("INSERT INTO about VALUES (?, ?)", (model, top))
            self._db.commit()

    def close(self, remove: bool = False) -> None:
        """Let the file go; `remove` it where its answers lie somewhere else now."""
        with self._lock:
            self._db.close()
            if remove and self.path is not None:
                for end in ("", "-wal", "-shm"):
                    with suppress(FileNotFoundError):
                        Path(f"{self.path}{end}").unlink()

    def __del__(self) -> None:
        with suppress(Exception):  # a table that was never opened, or an interpreter that ends
            self._db.close()

    # ---- listing

    def set_files(self, files: Iterable[Listed]) -> tuple[int, int]:
        """Make the table one of exactly these files; returns how many there are and how many are answered already.

        A file that comes twice counts once. One that has changed is to be answered again; one that is not listed any more is dropped.
        """
        with self._lock, self._db:  # all of it, or where listing fails nothing
            turn = 1 + (self._db.execute("SELECT max(turn) FROM rows").fetchone()[0] or 0)
            self._db.executemany(
                "INSERT INTO rows (turn, part, path, member, name, size, changed, state, top, error)"
                f" VALUES (:turn, :part, :path, :member, :name, :size, :changed, :state, '[]', :error) ON CONFLICT (path, member)"
                " DO UPDATE SET turn = :turn, part = :part, name = :name, size = :size, changed = :changed,"
                f" state = CASE WHEN :state = {DONE} OR size <> :size OR changed <> :changed OR error <> '' THEN :state ELSE state END,"
                f" top = CASE WHEN :state = {DONE} OR size <> :size OR changed <> :changed THEN '[]' ELSE top END,"
                " error = :error WHERE turn < :turn",
                (_values(file, turn) for file in files),
            )
            self._db.execute("DELETE FROM rows WHERE turn < ?", (turn,))
            self._db.execute(
                "UPDATE rows SET place = found.number FROM (SELECT id, row_number() OVER (ORDER BY part, path, member) - 1 AS number"
                " FROM rows) AS found WHERE rows.id = found.id"
            )
        return self.count(), self.count() - self._number(f"state = {WAITING}")

    def count(self) -> int:
        """Rows, answered or not."""
        return self._number("1")

    def failed(self) -> int:
        """Files that could not be read."""
        return self._number("error <> ''")

    def _number(self, condition: str) -> int:
        with self._lock:
            return int(self._db.execute(f"SELECT count(*) FROM rows WHERE {condition}").fetchone()[0])

    # ---- answering

    def waiting(self) -> Iterator[Row]:
        """The rows without an answer, in order, a few of them in memory."""
        return self._walk(f"state = {WAITING}")

    def answer(self, row: Row, top: Sequence[tuple[str, float]], known: bool | None = None) -> Row:
        """Keep what the model said of a row's picture, most probable first; returns the row with it."""
        return self._set(replace(row, top=tuple(top), known=known, error=""))

    def refuse(self, row: Row, reason: str) -> Row:
        """Keep why a row's file cannot be used; returns the row with it."""
        return self._set(replace(row, top=(), known=None, error=reason))

    def _set(self, row: Row) -> Row:
        kept = json.dumps([[label, float(probability)] for label, probability in row.top], ensure_ascii=False)
        with self._lock:
            self._db.execute(
                f"UPDATE rows SET state = {DONE}, label = ?, top = ?, known = ?, error = ? WHERE id = ?",
                (row.label, kept, row.known, row.error, row.id),
            )
            self._db.commit()
        return row

    # ---- reading

    def page(self, first: int, count: int) -> list[Row]:
        """The rows `first` to `first + count` that have an answer or a reason, in order."""
        with self._lock:
            found = self._db.execute(
                f"SELECT {COLUMNS} FROM rows WHERE place >= ? AND place < ? AND state = {DONE} ORDER BY place", (first, first + count)
            )
            return [_row(values) for values in found]

    def rows(self) -> Iterator[Row]:
        """All rows that have an answer or a reason, in order, a few of them in memory."""
        return self._walk(f"state = {DONE}")

    def labels(self) -> Sequence[str]:
        """The first labels of all rows, each once, sorted."""
        with self._lock:
            found = self._db.execute("SELECT DISTINCT label FROM rows WHERE top <> '[]' ORDER BY label")
            return [str(label) for (label,) in found]

    def _walk(self, condition: str) -> Iterator[Row]:
        place = -1
        while True:
            with self._lock:
                found = self._db.execute(
                    f"SELECT place, {COLUMNS} FROM rows WHERE place > ? AND {condition} ORDER BY place LIMIT {CHUNK}", (place,)
                ).fetchall()
            if not found:
                return
            place = found[-1][0]
            for values in found:
                yield _row(values[1:])

    # ---- where copies lie

    def claim(self, row: Row, place: str) -> bool:
        """Note that the copy of a row's picture lies at `place`; False where that is another row's."""
        with self._lock:
            taken = self._db.execute("SELECT id FROM rows WHERE sorted = ? AND id <> ?", (os.fsencode(place), row.id)).fetchone()
            if taken is None:
                self._db.execute("UPDATE rows SET sorted = ? WHERE id = ?", (os.fsencode(place), row.id))
                self._db.commit()
            return taken is None

    def forget_copies(self) -> None:
        """Begin to sort anew, into another place."""
        with self._lock:
            self._db.execute("UPDATE rows SET sorted = NULL")
            self._db.commit()


def _open(path: Path | None) -> sqlite3.Connection:
    fresh = path is None or not path.exists() or not path.stat().st_size
    db = sqlite3.connect("" if path is None else str(path), timeout=0, check_same_thread=False)
    try:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        if fresh:
            db.executescript(SCHEMA)
        elif db.execute("PRAGMA application_id").fetchone()[0] != OURS or db.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            raise sqlite3.DatabaseError("not a table of this program")
        if path is not None:
            db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("BEGIN EXCLUSIVE")
        db.commit()
    except sqlite3.OperationalError as error:
        db.close()
        if "locked" in str(error):
            raise JobError(f"{path} is being written by another command.", "Wait for it, or name another file.") from error
        raise JobError(f"{path} cannot be written: {error}.", "Name another place.") from error
    except sqlite3.DatabaseError as error:
        db.close()
        raise JobError(f"{path} is in the way: it is no unfinished table of this program, or damaged.", "Move it elsewhere.") from error
    return db


def _values(file: Listed, turn: int) -> dict[str, object]:
    return {
        "turn": turn,
        "part": file.part,
        "path": os.fsencode(file.path),
        "member": file.member,
        "name": os.fsencode(file.name),
        "size": file.size,
        "changed": file.changed,
        "state": DONE if file.error else WAITING,
        "error": file.error,
    }


def _row(values: Sequence) -> Row:
    number, path, member, name, top, known, error, placed = values
    answers = tuple((str(label), float(probability)) for label, probability in json.loads(top))
    where = os.fsdecode(placed) if placed is not None else ""
    return Row(number, Path(os.fsdecode(path)), member, os.fsdecode(name), answers, None if known is None else bool(known), error, where)
