"""Images in the index: pages of them, and their moves between classes. The callers hold the transaction."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence

from blocklora.errors import ProjectError
from blocklora.projects.records import TRAINING, ImageInfo, ImagePage

_COLUMNS = "id, class_id, sha256, format, width, height, bytes, phash, original_name, added, part"
_MANY = 500  # ids in one statement, well below SQLite's limit on parameters
MAX_PAGE = 500


def info(row: sqlite3.Row) -> ImageInfo:
    return ImageInfo(**{key: row[key] for key in _COLUMNS.split(", ")})


def page(
    connection: sqlite3.Connection, class_id: str | None, number: int, size: int, newest_first: bool, part: str = TRAINING
) -> ImagePage:
    """Page `number` (from 0) of the living images in a `part` of a class, or of all classes."""
    where, values = "part = ? AND deleted_at IS NULL", (part,)
    where += " AND class_id " + ("IN (SELECT id FROM classes WHERE role = '')" if class_id is None else "= ?")
    values += () if class_id is None else (class_id,)  # type: ignore[assignment]
    total = int(connection.execute(f"SELECT COUNT(*) FROM images WHERE {where}", values).fetchone()[0])
    size = max(1, min(size, MAX_PAGE))
    pages = max(1, -(-total // size))
    number = max(0, min(number, pages - 1))
    order = "DESC" if newest_first else "ASC"
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM images WHERE {where} ORDER BY seq {order} LIMIT ? OFFSET ?", (*values, size, number * size)
    )
    return ImagePage([info(row) for row in rows], total, number, pages)


def one(connection: sqlite3.Connection, image_id: str) -> ImageInfo:
    """An image, also a deleted one as long as it can be undone (results of earlier runs still show it).

    Raises:
        ProjectError: no such image.
    """
    row = connection.execute(f"SELECT {_COLUMNS} FROM images WHERE id = ?", (image_id,)).fetchone()
    if row is None:
        raise ProjectError("This image is no longer in the project.", "It was deleted for good; reload the page.")
    return info(row)


def mark(connection: sqlite3.Connection) -> str:
    """A hash of the living classes, and of how many and which living images to learn from each has (numbers are never given twice)."""
    rows = connection.execute(
        "SELECT c.id, c.name, COUNT(i.seq), TOTAL(i.seq), TOTAL(1.0 * i.seq * i.seq) FROM classes c "
        "LEFT JOIN images i ON i.class_id = c.id AND i.deleted_at IS NULL AND i.part = '' "
        "WHERE c.deleted_at IS NULL AND c.role = '' GROUP BY c.id ORDER BY c.position, c.created"
    )
    return hashlib.sha256(json.dumps([tuple(row) for row in rows]).encode()).hexdigest()[:32]


def everything(connection: sqlite3.Connection, part: str = TRAINING, role: str = "") -> list[ImageInfo]:
    """All living images in a `part` of the classes of a `role`, by class order and then as they were added: for workers, never for a
    browser."""
    rows = connection.execute(
        f"SELECT {', '.join('i.' + c for c in _COLUMNS.split(', '))} FROM images i JOIN classes c ON c.id = i.class_id "
        "WHERE i.deleted_at IS NULL AND c.deleted_at IS NULL AND i.part = ? AND c.role = ? ORDER BY c.position, c.created, i.seq",
        (part, role),
    )
    return [info(row) for row in rows]


def selected(connection: sqlite3.Connection, image_ids: Sequence[str]) -> list[sqlite3.Row]:
    """The rows of the given images that are living, each once."""
    return [
        row
        for part in parts(list(dict.fromkeys(image_ids)))
        for row in connection.execute(f"SELECT * FROM images WHERE deleted_at IS NULL AND id IN ({marks(part)})", part)
    ]


def set_class(connection: sqlite3.Connection, image_ids: Sequence[str], class_id: str) -> None:
    for part in parts(image_ids):
        connection.execute(f"UPDATE images SET class_id = ? WHERE id IN ({marks(part)})", (class_id, *part))


def set_part(connection: sqlite3.Connection, image_ids: Sequence[str], part: str) -> None:
    for ids in parts(image_ids):
        connection.execute(f"UPDATE images SET part = ? WHERE id IN ({marks(ids)})", (part, *ids))


def set_deleted(connection: sqlite3.Connection, image_ids: Sequence[str], when: float | None) -> None:
    for part in parts(image_ids):
        connection.execute(f"UPDATE images SET deleted_at = ? WHERE id IN ({marks(part)})", (when, *part))


def parts(ids: Sequence[str]) -> Iterator[list[str]]:
    """`ids` in portions that fit one statement."""
    for start in range(0, len(ids), _MANY):
        yield list(ids[start : start + _MANY])


def marks(part: Sequence[str]) -> str:
    return ",".join("?" * len(part))
