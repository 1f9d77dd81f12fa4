"""What a person said is right as it is, against the data check: by content and class, so that it holds while the picture is in that class.

Kept among the settings, since it is a list of names and nothing else refers to it. The callers hold the transaction.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable

KEY = "data_check_kept"
RIGHT, APART = "right", "apart"
"""A picture is right where it is and as it is; a picture may stay beside those that look like it."""

Entry = tuple[str, str, str]  # content hash, class id, RIGHT or APART


def entries(connection: sqlite3.Connection) -> set[Entry]:
    """All that was kept so far."""
    row = connection.execute("SELECT value FROM settings WHERE key = ?", (KEY,)).fetchone()
    found = json.loads(row["value"]) if row is not None else []
    return {(str(e[0]), str(e[1]), str(e[2])) for e in found if isinstance(e, list) and len(e) == 3} if isinstance(found, list) else set()


def add(connection: sqlite3.Connection, more: Iterable[Entry]) -> list[Entry]:
    """Remember some more; those that were new."""
    known = entries(connection)
    new = [entry for entry in dict.fromkeys(more) if entry not in known]
    _write(connection, known | set(new))
    return new


def remove(connection: sqlite3.Connection, some: Iterable[Entry]) -> int:
    """Forget some; how many were there."""
    known = entries(connection)
    gone = known & {(e[0], e[1], e[2]) for e in some}
    _write(connection, known - gone)
    return len(gone)


def _write(connection: sqlite3.Connection, some: set[Entry]) -> None:
    connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (KEY, json.dumps(sorted(some))))
