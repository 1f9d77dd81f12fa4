"""Getting rid of what nobody can bring back any more: old deletions, and files that no row names."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable

from blocklora.projects import images
from blocklora.projects.blobs import Blobs
from blocklora.projects.database import Database

KEEP_SECONDS = 7 * 24 * 3600.0
"""How long a deletion can be undone."""

ORPHAN_SECONDS = 3600.0
"""Files that no row names are left alone for so long: another process may be in the middle of its import."""

EVERY_SECONDS = 24 * 3600.0
_LAST = "cleaning.last"


def clean_sometimes(database: Database, blobs: Blobs) -> None:
    """`purge` and `remove_orphans`, at most once a day; called when a project is opened."""
    with database.read() as connection:
        row = connection.execute("SELECT value FROM settings WHERE key = ?", (_LAST,)).fetchone()
    if row is not None and 0 <= time.time() - json.loads(row["value"]) < EVERY_SECONDS:
        return
    with database.write() as connection:
        connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (_LAST, json.dumps(time.time())))
    purge(database, blobs)
    remove_orphans(database, blobs)


def purge(database: Database, blobs: Blobs, older_than: float = KEEP_SECONDS) -> int:
    """Forget deletions older than `older_than` seconds, files included; the number of images forgotten."""
    before = time.time() - older_than
    with database.write() as connection:
        gone = [row["sha256"] for row in connection.execute("SELECT sha256 FROM images WHERE deleted_at < ?", (before,))]
        connection.execute("DELETE FROM images WHERE deleted_at < ?", (before,))
        connection.execute("DELETE FROM classes WHERE deleted_at < ? AND id NOT IN (SELECT class_id FROM images)", (before,))
        connection.execute("DELETE FROM undo WHERE created < ?", (before,))
    remove_unnamed(database, blobs, gone)
    return len(gone)


def remove_orphans(database: Database, blobs: Blobs, older_than: float = ORPHAN_SECONDS) -> None:
    """Remove files that a process which died in the middle of an import left behind."""
    before = time.time() - older_than
    for path in blobs.unfinished():
        if path.stat().st_mtime < before:
            path.unlink(missing_ok=True)
    with database.read() as connection:
        named = {row["sha256"] for row in connection.execute("SELECT sha256 FROM images")}
    old = [sha for sha, path in blobs.contents() if sha not in named and path.stat().st_mtime < before]
    remove_unnamed(database, blobs, old)


def remove_unnamed(database: Database, blobs: Blobs, contents: Iterable[str]) -> None:
    """Remove the files of those `contents` that no row names.

    Under the write lock: an import takes the same lock to name its files and looks there again whether they exist.
    """
    listed = list(dict.fromkeys(contents))
    if not listed:
        return
    with database.write() as connection:
        named = _named(connection, listed)
        for sha256 in listed:
            if sha256 not in named:
                blobs.remove(sha256)


def _named(connection: sqlite3.Connection, contents: list[str]) -> set[str]:
    return {
        row["sha256"]
        for part in images.parts(contents)
        for row in connection.execute(f"SELECT sha256 FROM images WHERE sha256 IN ({images.marks(part)})", part)
    }
