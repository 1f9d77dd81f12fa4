"""What the use cases make of pictures that are not trained on: a run is given them, and nothing else counts them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from blocklora.files import read_json
from blocklora.jobs.liveness import beat
from blocklora.jobs.run_folder import RunFolder
from blocklora.projects.intake import accept, plan_folder
from blocklora.projects.project import Project
from blocklora.projects.records import OTHER_ID, TEST
from blocklora.services.studio import Studio


class Noted:
    """A launcher that starts nothing."""

    def launch(self, module: str, run: RunFolder, *arguments: str) -> int:
        beat(run.heartbeat_path)
        return os.getpid()

    def call(self, module: str, arguments: list[str], log: Path) -> int:
        return os.getpid()


@pytest.fixture
def studio(data_home: Path) -> Studio:
    return Studio(data_home, "exporters.worker", lambda path: pytest.fail("no file is opened here"), Noted())


@pytest.fixture
def project(studio: Studio, sample_pictures: Path) -> Project:
    """3 classes of 8, of which the first gives two test pictures and one of something else."""
    made = studio.library.create("Things")
    accept(made, plan_folder(made, sample_pictures, local_mode=True, allowed_roots=[sample_pictures.parent]))
    first, second, third, *_ = made.images(made.classes()[0].id).items
    made.move_part([first.id, second.id], TEST)
    made.move_images([third.id], OTHER_ID)
    return made


def test_a_run_is_given_both_and_trains_on_neither(studio: Studio, project: Project) -> None:
    run = studio.start_training(project, studio.preset(project, "quick", "builtin"), "builtin")
    values = read_json(run.dataset_path)
    assert len(values["dataset"]["items"]) == 21 and len(values["dataset"]["others"]) == 1
    assert [item["label"] for item in values["test"]["items"]] == [0, 0] and values["test"]["class_names"] == [
        "class-0",
        "class-1",
        "class-2",
    ]
    assert sorted(values["train"] + values["held_out"]) == list(range(21))
    assert run.spec()["data_hash"] == project.dataset().data_hash


def test_without_test_pictures_there_is_no_test(studio: Studio, project: Project) -> None:
    tests = project.images(project.classes()[0].id, part=TEST)
    project.delete_images([image.id for image in tests.items])
    run = studio.start_training(project, studio.preset(project, "quick", "builtin"), "builtin")
    assert read_json(run.dataset_path)["test"] is None


def test_they_make_no_class_ready(studio: Studio, project: Project) -> None:
    assert studio.not_ready(project) == []
    first = project.classes()[0]
    left = [image.id for image in project.images(first.id).items]
    project.move_part(left[1:], TEST)
    assert "too few in: class-0" in studio.not_ready(project)[0]
