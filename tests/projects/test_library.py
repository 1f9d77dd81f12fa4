"""Projects as a whole: create, list, rename, duplicate, trash and back, and ids that try to leave the house."""

from __future__ import annotations

import json
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from projects_helpers import encoded, files_below, fill

from blocklora.errors import ProjectError
from blocklora.jobs.spec import RunSpec
from blocklora.projects import staging
from blocklora.projects.database import FILE_NAME
from blocklora.projects.home import default_home
from blocklora.projects.intake import plan_bytes
from blocklora.projects.library import Library
from blocklora.projects.project import Project


def finished_run(project: Project, run: str = "run-1") -> Path:
    """A run folder as training leaves it, with things in it that should not travel."""
    folder = project.runs_dir / run
    (folder / "export").mkdir(parents=True)
    files = {
        "spec.json": RunSpec("builtin", str(project.path.parents[1]), project_id=project.id, then=("exporters.worker",)).to_dict(),
        "dataset.json": {"dataset": project.dataset().to_dict(), "train": [0], "held_out": [1], "test": None},
        "result.json": {"top1": 1.0},
        "export/parity.json": {},
        "export/export.json": {},
    }
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value))
    (folder / "events.jsonl").write_text('{"event": "started"}\n{"event": "finished"}\n')
    (folder / "log.txt").write_text(f"reading {project.path}/images")
    for name in ("adapter.safetensors", "export/model.onnx", "checkpoint.safetensors", "heartbeat.json", "evil.pkl"):
        (folder / name).write_bytes(b"x")
    return folder


def test_home_from_argument_environment_and_platform(data_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Library(tmp_path / "own").home == tmp_path / "own"
    assert Library().home == default_home() == data_home
    monkeypatch.delenv("BLOCKLORA_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    assert default_home().name == "blocklora-studio"


def test_create_open_list_rename(library: Library) -> None:
    assert library.list() == []
    project = library.create("  Äpfel & Birnen ")
    fill(project, "Äpfel", range(2))
    assert project.id.startswith("apfel-birnen-") and project.name == "Äpfel & Birnen"
    (info,) = library.list()
    assert (info.id, info.name, info.n_images, info.n_classes, info.problem) == (project.id, "Äpfel & Birnen", 2, 1, "")
    library.rename(project.id, "Obst")
    assert library.open(project.id).name == "Obst" and library.open(project.id).path == project.path
    library.rename(project.id, "OBST")
    library.create("Other")
    with pytest.raises(ProjectError, match="already a project named 'obst'"):
        library.create("obst")
    with pytest.raises(ProjectError, match="already a project named"):
        library.rename(project.id, "other")
    for name in ("", " ", "x" * 201):
        with pytest.raises(ProjectError):
            library.create(name)
    assert len(library.list()) == 2


@pytest.mark.parametrize("project_id", ["", ".", "..", "../trash", "nowhere", "/etc", "a/../b", "a\0b"])
def test_ids_never_lead_elsewhere(library: Library, project_id: str) -> None:
    library.create("Fruit")
    for act in (library.open, library.trash, library.duplicate, library.restore, library.delete_forever):
        with pytest.raises(ProjectError):
            act(project_id)


def test_a_project_that_cannot_be_opened_is_listed_with_its_problem(library: Library) -> None:
    good, newer, broken = (library.create(name) for name in ("Good", "Newer", "Broken"))
    with closing(sqlite3.connect(newer.path / FILE_NAME)) as connection:
        connection.execute("PRAGMA user_version = 99")
    (broken.path / FILE_NAME).write_bytes(b"garbage" * 1000)
    (library.projects / "stray-folder").mkdir()
    problems = {info.id: info.problem for info in library.list()}
    assert problems[good.id] == "" and "newer version" in problems[newer.id] and "damaged" in problems[broken.id] and len(problems) == 3


def test_a_project_folder_copied_in_by_hand_is_one_more_project(library: Library) -> None:
    import shutil

    project = library.create("Fruit")
    fill(project, "Apples", range(2))
    shutil.copytree(project.path, library.projects / "My copy (2)")
    assert library.open("My copy (2)").classes()[0].count == 2
    assert {info.id for info in library.list()} == {project.id, "My copy (2)"}


def test_duplicate(library: Library) -> None:
    project = library.create("Fruit")
    fill(project, "Apples", range(3))
    project.set_setting("backbone", "ViT-B-32")
    finished_run(project)
    (project.runs_dir / "going-on").mkdir()
    (project.runs_dir / "going-on" / "spec.json").write_text("{}")
    (project.exports_dir / "model.onnx").write_bytes(b"onnx")
    copy = library.duplicate(project.id)
    assert copy.name == "Fruit (2)" and library.duplicate(project.id, "Fruit").name == "Fruit (3)"
    assert copy.dataset().data_hash == project.dataset().data_hash and copy.get_setting("backbone") == "ViT-B-32"
    assert sorted(p.name for p in copy.runs_dir.iterdir()) == ["run-1"]
    assert {p.name for p in (copy.runs_dir / "run-1").rglob("*") if p.is_file()} == {
        *("spec.json", "dataset.json", "result.json", "parity.json", "export.json"),
        *("adapter.safetensors", "log.txt", "events.jsonl", "model.onnx"),
    }
    spec = RunSpec.from_dict(json.loads((copy.runs_dir / "run-1" / "spec.json").read_text()))
    assert (spec.home, spec.project_id, spec.project_name) == (str(library.home), copy.id, "Fruit (2)")
    assert files_below(copy.path / "images") == files_below(project.path / "images")
    assert (copy.exports_dir / "model.onnx").read_bytes() == b"onnx"
    copy.delete_images([image.id for image in copy.images(None).items])
    assert project.images(None).total == 3
    assert list(library.staging.iterdir()) == []


def test_a_project_folder_from_elsewhere_is_copied_in(library: Library, tmp_path: Path) -> None:
    elsewhere = Project.create(tmp_path / "usb-stick", "Fruit")
    fill(elsewhere, "Apples", range(2))
    (elsewhere.path / "images" / "link.png").symlink_to("/etc/passwd")
    library.create("fruit")
    copy = library.add_folder(tmp_path / "usb-stick")
    assert copy.name == "Fruit (2)" and copy.classes()[0].count == 2 and copy.path.parent == library.projects
    assert not any(path.is_symlink() for path in copy.path.rglob("*"))
    with pytest.raises(ProjectError, match="no project"):
        library.add_folder(tmp_path)


def test_runs_of_a_folder_from_elsewhere_name_no_programs(library: Library, tmp_path: Path) -> None:
    elsewhere = Project.create(tmp_path / "usb-stick", "Fruit")
    fill(elsewhere, "Apples", range(2))
    run = elsewhere.runs_dir / "run-1"
    run.mkdir()
    (run / "result.json").write_text("{}")
    spec = RunSpec("builtin", "/elsewhere", then=("evil",)).to_dict()
    (run / "spec.json").write_text(json.dumps(spec))
    copy = library.add_folder(elsewhere.path)
    assert RunSpec.from_dict(json.loads((copy.runs_dir / "run-1" / "spec.json").read_text())).then == ()
    (run / "spec.json").write_text(json.dumps({**spec, "backbone": "../../etc"}))
    with pytest.raises(ProjectError, match="run-1 has a specification that cannot be used"):
        library.add_folder(elsewhere.path)
    assert len(library.list()) == 1 and list(library.staging.iterdir()) == []


def test_an_index_that_names_files_elsewhere_is_refused(project: Project) -> None:
    (image,) = fill(project, "Apples", range(1))
    for column, value in (("sha256", "../" * 20 + "etc"), ("sha256", "x" * 64), ("format", "PICKLE")):
        before = project.image(image)
        with project.database.write() as connection:
            connection.execute("PRAGMA ignore_check_constraints = ON")
            connection.execute(f"UPDATE images SET {column} = ?", (value.ljust(64, "a") if column == "sha256" else value,))
        for act in (project.original, project.view) if column == "format" else (project.original, project.thumbnail, project.view):
            with pytest.raises(ProjectError, match="index names"):
                act(image)
        with project.database.write() as connection:
            connection.execute("UPDATE images SET sha256 = ?, format = ?", (before.sha256, before.format))


def test_a_failed_duplicate_leaves_nothing(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    from blocklora.projects import copies

    project = library.create("Fruit")
    fill(project, "Apples", range(1))
    finished_run(project)
    monkeypatch.setattr(copies, "_copy", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        library.duplicate(project.id)
    assert len(library.list()) == 1 and list(library.staging.iterdir()) == []


def test_trash_and_back(library: Library) -> None:
    project = library.create("Fruit")
    fill(project, "Apples", range(2))
    trash_id = library.trash(project.id)
    assert library.list() == [] and [(entry.id, entry.name) for entry in library.trashed()] == [(trash_id, "Fruit")]
    with pytest.raises(ProjectError, match="no longer there"):
        library.open(project.id)
    with pytest.raises(ProjectError):
        project.classes()
    assert library.restore(trash_id).id == project.id
    assert library.trashed() == [] and project.classes()[0].count == 2


def test_restore_beside_a_new_project_of_that_name(library: Library) -> None:
    trash_id = library.trash(library.create("Fruit").id)
    library.create("Fruit")
    assert library.restore(trash_id).name == "Fruit (2)" and len(library.list()) == 2


def test_delete_forever(library: Library) -> None:
    trash_id = library.trash(library.create("Fruit").id)
    library.delete_forever(trash_id)
    assert library.trashed() == [] and not list(library.trash_dir.iterdir())


def test_forgotten_previews_are_cleaned(library: Library, project: Project) -> None:
    stale = plan_bytes(project, [("a.png", encoded(1))], class_name="x")
    os.utime(stale.folder, (0, 0))
    fresh = plan_bytes(project, [("a.png", encoded(1))], class_name="x")
    assert not stale.folder.exists() and fresh.folder.exists()
    staging.clean(library.staging, older_than=-1)
    assert list(library.staging.iterdir()) == []


def test_a_project_that_could_not_be_made_leaves_nothing(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(connection: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("blocklora.projects.database.migrate", full)
    with pytest.raises(ProjectError, match="disk is full"):
        library.create("New")
    assert library.list() == [] and list(library.projects.iterdir()) == []


def test_copies_made_at_once_have_names_of_their_own(library: Library) -> None:
    made = library.create("One")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: library.duplicate(made.id), range(4)))
    names = [info.name for info in library.list()]
    assert sorted(names) == ["One", "One (2)", "One (3)", "One (4)", "One (5)"]


def test_names_that_no_file_system_takes_are_no_projects(library: Library) -> None:
    for project_id in ("x" * 300, "a\0b", "..", "a/b"):
        with pytest.raises(ProjectError, match="no longer there"):
            library.open(project_id)
