"""Classes in the index: rows in, records out. The callers hold the transaction."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence

from blocklora.errors import ProjectError
from blocklora.projects.names import clean_name, name_key
from blocklora.projects.records import OTHER_ROLE, ClassInfo, new_id

_LIST = """
SELECT c.id, c.name, c.position, COALESCE(n.count, 0) AS count, COALESCE(t.count, 0) AS tests FROM classes c
LEFT JOIN (SELECT class_id, COUNT(*) AS count FROM images WHERE deleted_at IS NULL AND part = ''
           GROUP BY class_id) n ON n.class_id = c.id
LEFT JOIN (SELECT class_id, COUNT(*) AS count FROM images WHERE deleted_at IS NULL AND part = 'test'
           GROUP BY class_id) t ON t.class_id = c.id
WHERE c.deleted_at IS NULL AND c.role = ? ORDER BY c.position, c.created"""


def all_classes(connection: sqlite3.Connection) -> list[ClassInfo]:
    """Living classes in their order, counted by the database; without the one of pictures of something else."""
    rows = connection.execute(_LIST, ("",))
    return [ClassInfo(row["id"], row["name"], place, row["count"], row["tests"]) for place, row in enumerate(rows)]


def something_else(connection: sqlite3.Connection) -> ClassInfo:
    """The class of pictures of nothing that is taught."""
    row = connection.execute(_LIST, (OTHER_ROLE,)).fetchone()
    return ClassInfo(row["id"], row["name"], row["position"], row["count"])


def living(connection: sqlite3.Connection, class_id: str) -> sqlite3.Row:
    """The row of a living class.

    Raises:
        ProjectError: there is none of this id.
    """
    row = connection.execute("SELECT * FROM classes WHERE id = ? AND deleted_at IS NULL", (class_id,)).fetchone()
    if row is None:
        raise ProjectError("This class is no longer there.", "It may have been deleted in another window; reload the page.")
    return row


def own(connection: sqlite3.Connection, class_id: str) -> sqlite3.Row:
    """The row of a living class that a person made, and may rename and delete.

    Raises:
        ProjectError: there is none of this id, or it is the one of pictures of something else.
    """
    row = living(connection, class_id)
    if row["role"]:
        raise ProjectError(f"{row['name']!r} is no class: it cannot be renamed or deleted.", "Move or delete its pictures instead.")
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
    own(connection, class_id)
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
