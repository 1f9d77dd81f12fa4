"""5,000 images in 100 classes: every question a page asks is answered from an index, in a fixed number of statements."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from blocklora.projects import classes
from blocklora.projects.database import Database
from blocklora.projects.project import Project


@pytest.fixture
def large(project: Project) -> Project:
    with project.database.write() as connection:
        ids = [classes.add(connection, f"class {n:03d}") for n in range(100)]
        connection.executemany(
            "INSERT INTO images (id, class_id, sha256, format, width, height, bytes, phash, original_name, added) "
            "VALUES (?, ?, ?, 'JPEG', 640, 480, 50000, ?, ?, 0)",
            [(f"i_{n}", ids[n % 100], f"{n:064x}", f"{n:016x}", f"{n}.jpg") for n in range(5000)],
        )
    return project


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Each SELECT and UPDATE that the room sends from now on, with SQLite's plan for it."""
    sent: list[tuple[str, str]] = []
    real = Database._connected

    @contextmanager
    def connected(self: Database) -> Iterator[sqlite3.Connection]:
        with real(self) as connection:
            texts: list[str] = []
            connection.set_trace_callback(texts.append)
            yield connection
            connection.set_trace_callback(None)
            for text in texts:
                if text.startswith(("SELECT", "UPDATE", "\nSELECT")):
                    plan = "; ".join(str(row["detail"]) for row in connection.execute(f"EXPLAIN QUERY PLAN {text}"))
                    sent.append((text, plan))

    monkeypatch.setattr(Database, "_connected", connected)
    return sent


@pytest.mark.parametrize(
    ("ask", "count"),
    [
        (lambda p: p.classes(), 1),
        (lambda p: p.images(p_class(p), 0, 60), 3),
        (lambda p: p.images(None, 83, 60), 2),
        (lambda p: p.image("i_77"), 1),
        (lambda p: p.move_images([f"i_{n}" for n in range(300)], p_class(p)), 4),
        (lambda p: p.delete_images(["i_1", "i_2"]), 2),
    ],
)
def test_questions_of_a_page_use_indexes(
    large: Project, statements: list[tuple[str, str]], ask: Callable[[Project], object], count: int
) -> None:
    ask(large)
    assert len(statements) == count, statements
    for text, plan in statements:
        # What may be walked is an index of living images (for counts and pages in order), or the hundred classes; never the table.
        steps = [step for step in plan.split("; ") if step.startswith("SCAN") and "INDEX" not in step]
        assert all(step in ("SCAN c", "SCAN classes", "SCAN n", "SCAN images") for step in steps), (text, plan)
        if "SCAN images" in steps:
            assert "ORDER BY seq" in text and "LIMIT" in text, (text, plan)  # in order of the key: stops after a page


def p_class(project: Project) -> str:
    with project.database.read() as connection:
        return str(connection.execute("SELECT id FROM classes WHERE name_key = 'class 042' AND deleted_at IS NULL").fetchone()[0])


def test_a_page_is_a_page(large: Project) -> None:
    first = large.images(None)
    assert len(first.items) == 60 and first.total == 5000 and first.pages == 84
    assert [info.count for info in large.classes()] == [50] * 100
    assert large.dataset().counts == (50,) * 100
