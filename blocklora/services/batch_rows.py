"""What one line of a batch's table is, and the SQLite file that holds them (see `batch_table`)."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blocklora.errors import JobError

OURS = 0x424C5054  # SQLite's application id: says that a file is a table of ours
VERSION = 1
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


def open_file(path: Path | None) -> sqlite3.Connection:
    """The file at `path`, made where there is none, and locked; with no path, one that nobody sees.

    Raises:
        JobError: it is none of ours, another process is writing it, or it cannot be written.
    """
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


def to_values(file: Listed, turn: int) -> dict[str, object]:
    """A listed file as the values that are written of it; `turn` counts the listings."""
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


def to_row(values: Sequence) -> Row:
    """The row in what was read of `COLUMNS`."""
    number, path, member, name, top, known, error, placed = values
    answers = tuple((str(label), float(probability)) for label, probability in json.loads(top))
    where = os.fsdecode(placed) if placed is not None else ""
    return Row(number, Path(os.fsdecode(path)), member, os.fsdecode(name), answers, None if known is None else bool(known), error, where)
