"""Classes in the index: rows in, records out. The callers hold the transaction."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence

from blocklora.errors import ProjectError
from blocklora.projects.names import clean_name, name_key
from blocklora.projects.records import ClassInfo, new_id

_LIST = """
SELECT c.id, c.name, c.position, COALESCE(n.count, 0) AS count FROM classes c
LEFT JOIN (SELECT class_id, COUNT(*) AS count FROM images WHERE deleted_at IS NULL GROUP BY class_id) n ON n.class_id = c.id
WHERE c.deleted_at IS NULL ORDER BY c.position, c.created"""


def all_classes(connection: sqlite3.Connection) -> list[ClassInfo]:
    """Living classes in their order, counted by the database."""
    return [ClassInfo(row["id"], row["name"], place, row["count"]) for place, row in enumerate(connection.execute(_LIST))]


def living(connection: sqlite3.Connection, class_id: str) -> sqlite3.Row:
    """The row of a living class.

    Raises:
        ProjectError: there is none of this id.
    """
    row = connection.execute("SELECT * FROM classes WHERE id = ? AND deleted_at IS NULL", (class_id,)).fetchone()
    if row is None:
        raise ProjectError("This class is no longer there.", "It may have been deleted in another window; reload the page.")
    return row


def by_name(connection: sqlite3.Connection, name: str) -> sqlite3.Row | None:
    """The row of the living class that goes by `name`, whatever its case."""
    return connection.execute("SELECT * FROM classes WHERE name_key = ? AND deleted_at IS NULL", (name_key(name),)).fetchone()


def add(connection: sqlite3.Connection, name: str) -> str:
    """A new class at the end; its id.

    Raises:
        ProjectError: the name is empty, too long, or taken.
    """
    cleaned = clean_name(name)
    _refuse_taken(connection, cleaned, own_id="")
    class_id = new_id("c")
    connection.execute(
        "INSERT INTO classes (id, name, name_key, position, created) "
        "SELECT ?, ?, ?, COALESCE(MAX(position) + 1, 0), ? FROM classes WHERE deleted_at IS NULL",
        (class_id, cleaned, name_key(cleaned), time.time()),
    )
    return class_id


def rename(connection: sqlite3.Connection, class_id: str, name: str) -> None:
    """Give a class another name; its id and images stay.

    Raises:
        ProjectError: no such class, or the name is empty, too long, or taken by another class.
    """
    cleaned = clean_name(name)
    living(connection, class_id)
    _refuse_taken(connection, cleaned, class_id)
    connection.execute("UPDATE classes SET name = ?, name_key = ? WHERE id = ?", (cleaned, name_key(cleaned), class_id))


def reorder(connection: sqlite3.Connection, class_ids: Sequence[str]) -> None:
    """Put all classes into the order of `class_ids`.

    Raises:
        ProjectError: the ids are not exactly the living classes.
    """
    have = [info.id for info in all_classes(connection)]
    if sorted(have) != sorted(class_ids):
        raise ProjectError("The classes have changed meanwhile.", "Reload the page and order them again.")
    connection.executemany("UPDATE classes SET position = ? WHERE id = ?", list(enumerate(class_ids)))


def _refuse_taken(connection: sqlite3.Connection, name: str, own_id: str) -> None:
    other = by_name(connection, name)
    if other is not None and other["id"] != own_id:
        raise ProjectError(f"There is already a class named {other['name']!r}.", "Choose another name; case makes no difference.")
