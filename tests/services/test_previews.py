"""Previews as the window asks for them: started once, never beside a training, and never with names that are gone."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from blocklora.jobs.liveness import beat
from blocklora.projects.intake import accept, plan_folder
from blocklora.projects.project import Project
from blocklora.services.findings import Check
from blocklora.services.previews import Head, Preview, PreviewFolder, Previews, State


class Noted:
    """A launcher that starts nothing; `pid` is what it says it started."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.pid = os.getpid()

    def launch(self, module: str, run: object, *arguments: str) -> int:
        raise AssertionError("a preview is not a run")

    def call(self, module: str, arguments: list[str], log: Path) -> int:
        self.calls.append([module, *arguments])
        return self.pid


@pytest.fixture
def project(sample_pictures: Path, tmp_path: Path) -> Project:
    made = Project.create(tmp_path / "project", "Fruit", tmp_path / "staging")
    accept(made, plan_folder(made, sample_pictures, local_mode=True, allowed_roots=[tmp_path]))
    return made


@pytest.fixture
def launcher() -> Noted:
    return Noted()


@pytest.fixture
def previews(data_home: Path, launcher: Noted) -> Previews:
    return Previews(data_home, launcher, "the.worker")


def write_head(project: Project, **other: object) -> Head:
    """What the process leaves behind."""
    folder = PreviewFolder.of(project.path, "builtin")
    folder.path.mkdir(parents=True, exist_ok=True)
    model = project.path / "frozen.onnx"
    model.touch()
    classes = project.classes()
    labels, ids = tuple(c.name for c in classes), tuple(c.id for c in classes)
    head = replace(Head(project.mark(), "builtin", str(model), labels, ids, 20, 24, "images", 0.2), **other)  # type: ignore[arg-type]
    save_file({"weights": np.zeros((4, len(classes)), np.float32)}, folder.head, {"head": head.to_json()})
    Check(head.mark).write(folder.check)
    return head


def seen(previews: Previews, project: Project, may_start: bool = True) -> Preview:
    found = previews.of(project, "builtin", may_start)
    assert found is not None
    return found


def test_the_process_is_started_once(previews: Previews, launcher: Noted, project: Project, data_home: Path) -> None:
    assert seen(previews, project).working and seen(previews, project).working
    assert launcher.calls == [["the.worker", str(project.path), str(data_home), "builtin"]]


def test_a_process_that_died_is_started_again_after_a_pause(
    previews: Previews, launcher: Noted, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen(previews, project)
    PreviewFolder.of(project.path, "builtin").heartbeat.unlink()
    assert not seen(previews, project).working and len(launcher.calls) == 1
    monkeypatch.setattr("blocklora.services.previews.PAUSE", 0.0)
    assert seen(previews, project).working and len(launcher.calls) == 2


def test_while_something_trains_nothing_is_started(previews: Previews, launcher: Noted, project: Project) -> None:
    assert not seen(previews, project, may_start=False).working
    assert launcher.calls == []


def test_a_preview_that_is_up_to_date_is_shown(previews: Previews, launcher: Noted, project: Project) -> None:
    head = write_head(project)
    assert seen(previews, project) == Preview(PreviewFolder.of(project.path, "builtin"), head)
    assert launcher.calls == []


def test_a_preview_without_its_data_check_has_it_made(previews: Previews, launcher: Noted, project: Project) -> None:
    head, folder = write_head(project), PreviewFolder.of(project.path, "builtin")
    folder.check.unlink()
    assert seen(previews, project).head == head and len(launcher.calls) == 1
    Check(head.mark, failed=True).write(folder.check)  # it cannot be made, and trying again would not help
    folder.heartbeat.unlink()
    assert seen(previews, project).head == head and len(launcher.calls) == 1


def test_the_old_answers_serve_until_the_new_ones_are_there_unless_classes_changed(
    previews: Previews, launcher: Noted, project: Project
) -> None:
    head = write_head(project)
    project.delete_images([project.images(None).items[0].id])
    found = seen(previews, project)
    assert found.head == head and found.working and len(launcher.calls) == 1
    project.rename_class(project.classes()[0].id, "something else")
    assert seen(previews, project).head is None


def test_without_the_file_of_the_backbone_it_is_made_again(previews: Previews, launcher: Noted, project: Project) -> None:
    Path(write_head(project).model).unlink()
    found = seen(previews, project)
    assert found.head is None and found.working and len(launcher.calls) == 1


def test_why_there_is_none_is_told_and_not_tried_again(previews: Previews, launcher: Noted, project: Project) -> None:
    folder = PreviewFolder.of(project.path, "builtin")
    State(project.mark(), reason="It cannot be.", advice="Do this.").write(folder)
    found = seen(previews, project)
    assert (found.reason, found.advice, found.working) == ("It cannot be.", "Do this.", False)
    assert launcher.calls == []
    project.add_class("another")  # the images are others: it is worth another try
    assert seen(previews, project).working


def test_how_far_it_is_comes_from_the_process_alone(previews: Previews, project: Project) -> None:
    folder = PreviewFolder.of(project.path, "builtin")
    State("", "Looking at the images: 3 of 9", 0.4).write(folder)
    assert seen(previews, project, may_start=False).stage == ""  # nobody is at work: an old word
    beat(folder.heartbeat)
    assert (seen(previews, project).stage, seen(previews, project).fraction) == ("Looking at the images: 3 of 9", 0.4)


def test_damaged_files_are_nothing(previews: Previews, project: Project) -> None:
    folder = PreviewFolder.of(project.path, "builtin")
    folder.path.mkdir(parents=True)
    folder.head.write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00not json")
    folder.state.write_text('{"other": 1}')
    assert seen(previews, project).head is None


def test_no_worker_no_previews(data_home: Path, launcher: Noted, project: Project) -> None:
    assert Previews(data_home, launcher, "").of(project, "builtin", True) is None


def test_the_mark_follows_the_images_and_the_names(project: Project) -> None:
    marks = [project.mark()]

    def changed() -> None:
        assert project.mark() not in marks
        marks.append(project.mark())

    project.set_setting("anything", 1)
    assert project.mark() == marks[0]
    first, second = project.classes()[:2]
    moved = project.images(first.id).items[0]
    project.move_images([moved.id], second.id)
    changed()
    token = project.delete_images([moved.id])
    changed()
    project.undo(token)
    assert project.mark() == marks[1]
    project.rename_class(first.id, "renamed")
    changed()
    project.reorder_classes([c.id for c in reversed(project.classes())])
    changed()
    project.delete_class(second.id)
    changed()
