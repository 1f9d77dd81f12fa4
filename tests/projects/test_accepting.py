"""An import is all or nothing, wherever it fails; and two at once do not take each other's files away."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from projects_helpers import encoded, files_below, fill

from blocklora.errors import ImportRefused, ProjectError
from blocklora.projects import blobs as blobs_module
from blocklora.projects.blobs import Blobs
from blocklora.projects.intake import accept, discard, plan_bytes, plan_files
from blocklora.projects.plans import ImportPlan
from blocklora.projects.project import Project


def state(project: Project) -> tuple[object, ...]:
    with project.database.read() as connection:
        rows = [tuple(row) for table in ("classes", "images", "undo") for row in connection.execute(f"SELECT * FROM {table} ORDER BY 1")]
    return (*rows, *sorted(files_below(project.path)))


@pytest.fixture
def plan(project: Project) -> ImportPlan:
    fill(project, "Cats", range(2))
    pictures = [(f"{n}.png", encoded(n)) for n in range(10, 16)]
    return plan_bytes(project, pictures, class_name="Dogs")


class Stop(Exception):
    pass


def stop(*_: object, **__: object) -> None:
    raise Stop


def raise_on_call(number: int, real: Callable[..., object]) -> Callable[..., object]:
    calls = []

    def wrapped(*args: object, **options: object) -> object:
        calls.append(1)
        if len(calls) == number:
            raise OSError(28, "No space left on device")
        return real(*args, **options)

    return wrapped


def test_planning_alone_changes_nothing(project: Project) -> None:
    before = state(project)
    plan_bytes(project, [("a.png", encoded(1))], class_name="Cats")
    assert state(project) == before


def test_stopped_by_its_progress(project: Project, plan: ImportPlan) -> None:
    before = state(project)

    def progress(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        accept(project, plan, progress)
    assert state(project) == before
    assert accept(project, plan).added == 6  # the preview is still good


def test_disk_full_while_copying(project: Project, plan: ImportPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    before = state(project)
    with monkeypatch.context() as patch:
        patch.setattr(Blobs, "put", raise_on_call(4, Blobs.put))
        with pytest.raises(ProjectError, match=r"No space.*nothing was added"):
            accept(project, plan)
    assert state(project) == before
    with monkeypatch.context() as patch:
        patch.setattr(blobs_module.os, "fsync", raise_on_call(3, blobs_module.os.fsync))
        with pytest.raises(ProjectError, match=r"No space.*nothing was added"):
            accept(project, plan)
    assert state(project) == before


def test_failure_inside_the_transaction(project: Project, plan: ImportPlan) -> None:
    with project.database.write() as connection:
        connection.execute("CREATE TABLE counter (n)")
        connection.execute(
            "CREATE TRIGGER boom BEFORE INSERT ON images WHEN (SELECT COUNT(*) FROM images) = 5 BEGIN SELECT RAISE(ABORT, 'boom'); END"
        )
    before = state(project)
    with pytest.raises(Exception, match="boom"):
        accept(project, plan)
    assert state(project) == before  # not even the new class
    with project.database.write() as connection:
        connection.execute("DROP TRIGGER boom")
    assert accept(project, plan).added == 6


def test_a_file_that_changed_since_the_preview(project: Project, tmp_path: Path) -> None:
    for n in range(3):
        (tmp_path / f"{n}.png").write_bytes(encoded(n))
    plan = plan_files(project, [tmp_path / f"{n}.png" for n in range(3)], class_name="Cats")
    before = state(project)
    (tmp_path / "1.png").write_bytes(encoded(99))
    with pytest.raises(ProjectError, match="changed since"):
        accept(project, plan)
    (tmp_path / "1.png").unlink()
    with pytest.raises(ProjectError, match="no longer there"):
        accept(project, plan)
    assert state(project) == before


def test_a_plan_is_used_once(project: Project, plan: ImportPlan) -> None:
    accept(project, plan)
    with pytest.raises(ImportRefused, match="before"):
        accept(project, plan)
    other = plan_bytes(project, [("x.png", encoded(50))], class_name="Dogs")
    discard(other)
    with pytest.raises(ImportRefused, match="before"):
        accept(project, other)


def test_a_project_deleted_meanwhile(project: Project, plan: ImportPlan) -> None:
    shutil.rmtree(project.path)
    with pytest.raises(ProjectError):
        accept(project, plan)


def test_a_failed_import_leaves_the_files_of_one_that_shares_them(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writes a file, B sees it there, A fails and cleans up, B still ends whole."""
    pictures = [(f"{n}.png", encoded(n)) for n in range(3)]
    one, two = (plan_bytes(project, pictures, class_name="Cats") for _ in range(2))
    failed = threading.Event()

    def fail_once_other_has_seen_the_files(done: int, total: int) -> None:
        if done < total:
            return

        def other(done: int, total: int) -> None:
            if done == total:
                let_first_fail()

        def let_first_fail() -> None:
            failed.set()
            worker_may_go.set()
            first_cleaned.wait(20)

        worker = threading.Thread(target=lambda: results.append(accept(project, two, other)))
        workers.append(worker)
        worker.start()
        assert worker_may_go.wait(20)
        raise Stop

    results: list[object] = []
    workers: list[threading.Thread] = []
    worker_may_go, first_cleaned = threading.Event(), threading.Event()
    with pytest.raises(Stop):
        accept(project, one, fail_once_other_has_seen_the_files)
    first_cleaned.set()
    workers[0].join(20)
    assert results and project.classes()[0].count == 3
    for image in project.images(None).items:
        assert project.original(image.id).is_file()


def test_the_same_import_from_many_threads_at_once(project: Project) -> None:
    plans = [plan_bytes(project, [(f"{n}.png", encoded(n)) for n in range(5)], class_name="Cats") for _ in range(4)]
    results = []
    threads = [threading.Thread(target=lambda plan=plan: results.append(accept(project, plan))) for plan in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == 4 and sum(result.added for result in results) == 5
    assert sum(result.duplicates for result in results) == 15
    assert [(info.name, info.count) for info in project.classes()] == [("Cats", 5)]
    assert len(files_below(project.path / "images")) == 5
