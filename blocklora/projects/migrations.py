"""The schema of a project's index, as numbered steps. A step, once released, is never edited: the next change is the next number."""

from __future__ import annotations

import sqlite3

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    # 1: the project itself, its settings, classes and images
    (
        """CREATE TABLE project (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            name TEXT NOT NULL,
            created REAL NOT NULL)""",
        "CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        """CREATE TABLE classes (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL,
            name_key TEXT NOT NULL,
            position INTEGER NOT NULL,
            created REAL NOT NULL,
            deleted_at REAL)""",
        "CREATE UNIQUE INDEX classes_name ON classes (name_key) WHERE deleted_at IS NULL",
        """CREATE TABLE images (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            class_id TEXT NOT NULL REFERENCES classes (id),
            sha256 TEXT NOT NULL CHECK (length(sha256) = 64),
            format TEXT NOT NULL,
            width INTEGER NOT NULL,
            height INTEGER NOT NULL,
            bytes INTEGER NOT NULL,
            phash TEXT NOT NULL,
            original_name TEXT NOT NULL,
            added REAL NOT NULL,
            deleted_at REAL)""",
        # One picture is one thing: a living image's content is there once. Pages and counts read the second index alone.
        "CREATE UNIQUE INDEX images_content ON images (sha256) WHERE deleted_at IS NULL",
        "CREATE INDEX images_page ON images (class_id, seq) WHERE deleted_at IS NULL",
    ),
    # 2: undo that outlives a reload, and the search for what is to be purged
    (
        """CREATE TABLE undo (
            token TEXT PRIMARY KEY,
            kind TEXT NOT NULL,
            words TEXT NOT NULL,
            payload TEXT NOT NULL,
            created REAL NOT NULL,
            undone_at REAL)""",
        "CREATE INDEX images_deleted ON images (deleted_at) WHERE deleted_at IS NOT NULL",
        "CREATE INDEX images_any_content ON images (sha256)",
    ),
    # 3: pictures that are not trained on. Those of nothing that is taught lie in one class that every project has and nobody can delete;
    # its key is empty, so that no name a person gives can be its own. Test pictures are in a part of their class.
    (
        "ALTER TABLE classes ADD COLUMN role TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE images ADD COLUMN part TEXT NOT NULL DEFAULT ''",
        "INSERT INTO classes (id, name, name_key, position, created, role) VALUES ('c_other', 'Something else', '', -1, 0, 'other')",
        "DROP INDEX images_page",
        "CREATE INDEX images_page ON images (class_id, part, seq) WHERE deleted_at IS NULL",
    ),
)

SCHEMA_VERSION = len(MIGRATIONS)


def migrate(connection: sqlite3.Connection, to: int = SCHEMA_VERSION) -> None:
    """Take the steps that an index still lacks. The caller holds a write transaction: all of them happen, or none."""
    have = int(connection.execute("PRAGMA user_version").fetchone()[0])
    for number in range(have + 1, to + 1):
        for statement in MIGRATIONS[number - 1]:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {number}")
