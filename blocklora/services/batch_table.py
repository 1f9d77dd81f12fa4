"""The table of a batch: which files it is about and what the model said of each, in one SQLite file, so that memory holds a page of it.

Files are listed first, then answered one by one, each answer as soon as it is there. Whoever opens the same file again finds what is
answered already: a file counts as the same while its path, size and time of change are. The file is locked as long as it is open, and a
process that is killed loses nothing but the row it was at.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from blocklora.services.batch_rows import COLUMNS, DONE, WAITING, Listed, Row, open_file, to_row, to_values

CHUNK = 200  # rows that are read at once


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
        self._db = open_file(path)
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
                (to_values(file, turn) for file in files),
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
            return [to_row(values) for values in found]

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
                yield to_row(values[1:])

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
