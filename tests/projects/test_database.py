"""The index: migrations from every earlier version, refusal of newer and foreign ones, and many writers at once."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from projects_helpers import fill

from blocklora.errors import ProjectError
from blocklora.projects import database as database_module
from blocklora.projects import migrations
from blocklora.projects.database import APPLICATION_ID, FILE_NAME, Database
from blocklora.projects.decoder import ROOT
from blocklora.projects.migrations import MIGRATIONS, SCHEMA_VERSION, migrate
from blocklora.projects.project import Project


def old_project(path: Path, version: int) -> None:
    """A project as version `version` of the schema wrote it, with a class and an image in it."""
    path.mkdir()
    with closing(sqlite3.connect(path / FILE_NAME, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        migrate(connection, version)
        connection.execute("INSERT INTO project VALUES (1, 'Old', 0)")
        connection.execute("INSERT INTO classes (id, name, name_key, position, created) VALUES ('c_1', 'cats', 'cats', 0, 0)")
        connection.execute(
            "INSERT INTO images (id, class_id, sha256, format, width, height, bytes, phash, original_name, added) "
            "VALUES ('i_1', 'c_1', ?, 'PNG', 1, 1, 1, '0000000000000000', 'a.png', 0)",
            ("a" * 64,),
        )


def schema(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        return {row[0] for row in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_migrates_from_every_earlier_version(tmp_path: Path, project: Project, version: int) -> None:
    old_project(tmp_path / "old", version)
    opened = Project.open(tmp_path / "old")
    assert opened.name == "Old" and [(info.name, info.count) for info in opened.classes()] == [("cats", 1)]
    token = opened.delete_images(["i_1"])
    assert opened.undo(token).restored == 1
    assert schema(tmp_path / "old" / FILE_NAME) == schema(project.path / FILE_NAME)


def test_a_migration_that_fails_leaves_the_old_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old_project(tmp_path / "old", 1)
    before = schema(tmp_path / "old" / FILE_NAME)
    broken = (MIGRATIONS[0], (*MIGRATIONS[1], "CREATE TABLE classes (x)"))
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", broken)
        with pytest.raises(ProjectError):
            Project.open(tmp_path / "old")
    assert schema(tmp_path / "old" / FILE_NAME) == before
    assert Project.open(tmp_path / "old").name == "Old"


def test_newer_is_refused_and_untouched(project: Project) -> None:
    index = project.path / FILE_NAME
    with closing(sqlite3.connect(index)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    before = index.read_bytes()
    with pytest.raises(ProjectError, match=f"newer version.*schema {SCHEMA_VERSION + 1}.*up to {SCHEMA_VERSION}"):
        Project.open(project.path)
    assert index.read_bytes() == before


def test_foreign_and_damaged_files_are_told(tmp_path: Path, project: Project) -> None:
    index = tmp_path / FILE_NAME
    with pytest.raises(ProjectError, match="no project in"):
        Project.open(tmp_path)
    with closing(sqlite3.connect(index)) as connection:
        connection.execute("CREATE TABLE shopping (item)")
    with pytest.raises(ProjectError, match="not the index of a Block-LoRA Studio project"):
        Project.open(tmp_path)
    index.write_bytes(b"this is not a database at all" * 50)
    with pytest.raises(ProjectError, match="damaged"):
        Project.open(tmp_path)
    with closing(sqlite3.connect(project.path / FILE_NAME)) as connection:
        connection.execute("CREATE TRIGGER own AFTER INSERT ON images BEGIN DELETE FROM classes; END")
    with pytest.raises(ProjectError, match="a program of its own"):
        Project.open(project.path)


def test_a_moved_project_is_an_error_and_not_an_empty_new_one(project: Project, tmp_path: Path) -> None:
    project.path.rename(tmp_path / "moved")
    with pytest.raises(ProjectError, match="no longer there"):
        project.classes()
    assert not project.path.exists()


def test_a_transaction_is_all_or_nothing(project: Project) -> None:
    with pytest.raises(ZeroDivisionError), project.database.write() as connection:
        connection.execute("INSERT INTO settings VALUES ('a', '1')")
        raise ZeroDivisionError
    assert project.get_setting("a") is None


def test_a_busy_project_says_so(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 0.05)
    with project.database.write(), pytest.raises(ProjectError, match="busy"):
        project.set_setting("a", 1)


def test_readers_are_not_held_up_by_a_writer(project: Project) -> None:
    project.add_class("cats")
    with project.database.write() as connection:
        connection.execute("UPDATE classes SET name = 'dogs'")
        assert project.classes()[0].name == "cats"
    assert project.classes()[0].name == "dogs"


def test_many_threads_write(project: Project) -> None:
    def work(number: int) -> None:
        for step in range(10):
            project.add_class(f"class {number} {step}")
            project.set_setting(f"key.{number}", step)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    infos = project.classes()
    assert len(infos) == 60 and len({info.id for info in infos}) == 60
    with project.database.read() as connection:
        assert [row[0] for row in connection.execute("SELECT position FROM classes WHERE role = '' ORDER BY position")] == list(range(60))


def test_two_processes_write(project: Project) -> None:
    program = (
        "import sys; from pathlib import Path; from blocklora.projects.project import Project\n"
        "project = Project.open(Path(sys.argv[1]))\n"
        "for step in range(25): project.add_class(f'{sys.argv[2]} {step}')"
    )
    command = [sys.executable, "-c", program, str(project.path)]
    children = [subprocess.Popen([*command, name], cwd=ROOT, stderr=subprocess.PIPE, text=True) for name in ("one", "two")]
    errors = [child.communicate(timeout=60)[1] for child in children]
    assert [child.returncode for child in children] == [0, 0], errors
    assert len(project.classes()) == 50


def test_a_writer_that_is_killed_leaves_the_index_whole(project: Project) -> None:
    program = (
        "import sys, os; from pathlib import Path; from blocklora.projects.project import Project\n"
        "project = Project.open(Path(sys.argv[1])); project.add_class('kept')\n"
        "with project.database.write() as connection:\n"
        "    connection.execute('DELETE FROM classes'); os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(project.path)], cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 9
    assert [info.name for info in Project.open(project.path).classes()] == ["kept"]


def test_index_settings(project: Project) -> None:
    with project.database.read() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert connection.execute("PRAGMA foreign_keys").fetchone()[0] == 1
        assert connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION
    fill(project, "cats", range(1))
    with pytest.raises(sqlite3.IntegrityError), project.database.write() as connection:
        connection.execute("UPDATE images SET class_id = 'c_none'")


def test_no_project_is_made_by_opening(tmp_path: Path) -> None:
    with pytest.raises(ProjectError):
        Database.open(tmp_path / FILE_NAME)
    assert list(tmp_path.iterdir()) == []
