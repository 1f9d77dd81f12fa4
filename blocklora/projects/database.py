"""A project's SQLite index: opened for each use, safe from many threads and processes.

A connection lives as long as one `with`. That costs a fraction of a millisecond and buys three things: nothing is shared between
threads, nothing keeps a trashed project's file open, and while nobody is at work the write-ahead log is folded in, so that a copied
project folder is whole.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blocklora.errors import ProjectError
from blocklora.projects.migrations import SCHEMA_VERSION, migrate

FILE_NAME = "project.sqlite"
APPLICATION_ID = 0x424C5354  # "BLST", so that a stranger's SQLite file is told apart
BUSY_SECONDS = 15.0


class Database:
    """The index at `path`. Make one with `create` or `open`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path) -> Database:
        """A new, empty index of the newest schema."""
        database = cls(path)
        path.touch(exist_ok=False)
        with database._connected() as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        with database.write() as connection:
            migrate(connection)
        return database

    @classmethod
    def open(cls, path: Path) -> Database:
        """An existing index, brought to the newest schema.

        Raises:
            ProjectError: no index there, not one of this product, damaged, or newer than this program.
        """
        if not path.is_file():
            raise ProjectError(f"There is no project in {path.parent}.", f"A project is a folder with a file {FILE_NAME} in it.")
        database = cls(path)
        with database._connected() as connection:
            version = _check(connection, path)
        if version < SCHEMA_VERSION:
            with database.write() as connection:
                migrate(connection)
        return database

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """One unchanging view of the index, whatever others write meanwhile."""
        with self._connected() as connection:
            connection.execute("BEGIN")
            yield connection

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction: committed as a whole at the end, or not at all. Other writers wait."""
        with self._connected() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        connection: sqlite3.Connection | None = None
        try:
            # mode=rw: a project that was moved away is an error, never an empty new file.
            connection = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=rw", uri=True, timeout=BUSY_SECONDS, isolation_level=None)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA trusted_schema = OFF")
            yield connection
        except sqlite3.IntegrityError:
            raise
        except sqlite3.DatabaseError as error:
            raise _for_people(error, self.path) from error
        finally:
            if connection is not None:
                connection.close()


def _check(connection: sqlite3.Connection, path: Path) -> int:
    """The schema version of an index that is this product's and not newer than this program."""
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if application != APPLICATION_ID or version < 1:
        raise ProjectError(f"{path} is not the index of a Block-LoRA Studio project.", "Open another folder, or import a project archive.")
    if version > SCHEMA_VERSION:
        raise ProjectError(
            f"This project was written by a newer version (schema {version}; this program knows up to {SCHEMA_VERSION}).",
            "Update Block-LoRA Studio and open it again. Nothing was changed.",
        )
    extra = connection.execute("SELECT name FROM sqlite_master WHERE type IN ('trigger', 'view') LIMIT 1").fetchone()
    if extra is not None:
        raise ProjectError(f"{path} holds a program of its own ({extra[0]!r}), which no project of this product does.", "Do not use it.")
    return version


def _for_people(error: sqlite3.DatabaseError, path: Path) -> ProjectError:
    text = str(error)
    if "locked" in text or "busy" in text:
        return ProjectError("The project is busy: another window or process is writing to it.", "Try again in a moment.")
    if "unable to open" in text:
        return ProjectError(f"The project in {path.parent} is no longer there.", "It may have been moved or deleted; choose again.")
    if "readonly" in text:
        return ProjectError(f"The project in {path.parent} may not be written to.", "Check the folder's permissions.")
    if "full" in text:
        return ProjectError("The disk is full; nothing was changed.", "Free some space and try again.")
    return ProjectError(f"The project's index {path} is damaged ({text}).", "Restore it from a copy or an exported archive.")
