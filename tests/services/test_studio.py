"""The one door: what a project may start, how runs queue, and what is refused. The launcher is a stand-in that starts nothing."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from blocklora.errors import JobError, StudioError, TrainingError
from blocklora.files import write_json
from blocklora.jobs.events import Cancelled
from blocklora.jobs.liveness import beat
from blocklora.jobs.run_folder import RunFolder
from blocklora.jobs.turns import Turns
from blocklora.projects.intake import accept, plan_folder
from blocklora.projects.project import Project
from blocklora.services.studio import Studio, duration
from blocklora.speeds import Footprint, Speed, recall, remember, remember_footprint


class Still:
    """A launcher whose workers are this very process: alive, and doing nothing."""

    def __init__(self) -> None:
        self.launched: list[tuple[str, Path]] = []
        self.called: list[str] = []

    def launch(self, module: str, run: RunFolder, *arguments: str) -> int:
        self.launched.append((module, run.path))
        beat(run.heartbeat_path)
        return os.getpid()

    def call(self, module: str, arguments: list[str], log: Path) -> int:
        self.called.append(module)
        return os.getpid()


@pytest.fixture
def launcher() -> Still:
    return Still()


@pytest.fixture
def studio(data_home: Path, launcher: Still) -> Studio:
    return Studio(data_home, "exporters.worker", lambda path: pytest.fail("no file is opened here"), launcher)


@pytest.fixture
def project(studio: Studio, sample_pictures: Path) -> Project:
    made = studio.library.create("Things")
    accept(made, plan_folder(made, sample_pictures, local_mode=True, allowed_roots=[sample_pictures.parent]))
    return made


def test_what_is_missing_is_said(studio: Studio) -> None:
    empty = studio.library.create("Empty")
    assert "no classes" in studio.not_ready(empty)[0]
    empty.add_class("one")
    assert "1 class" in studio.not_ready(empty)[0]
    empty.add_class("two")
    assert "too few in: one, two" in studio.not_ready(empty)[0]
    with pytest.raises(TrainingError):
        studio.start_training(empty, studio.preset(empty, "quick", "builtin"), "builtin")
    assert studio.runs(empty) == []


def test_a_run_is_written_before_its_worker_starts(studio: Studio, project: Project, launcher: Still) -> None:
    run = studio.start_training(project, studio.preset(project, "quick", "builtin"), "builtin")
    assert launcher.launched == [("blocklora.training.worker", run.path)]
    assert run.spec()["then"] == ["exporters.worker"]
    assert studio.current_run(project) == run
    assert [summary.state for summary in studio.runs(project)] == ["queued"]
    assert studio.finished_run(project) is None
    with pytest.raises(JobError, match="already going on"):
        studio.resume(run.path)


def test_a_project_with_a_run_going_on_is_not_thrown_away(studio: Studio, project: Project) -> None:
    run = studio.start_training(project, studio.preset(project, "quick", "builtin"), "builtin")
    with pytest.raises(JobError, match="still going on"):
        studio.trash_project(project.id)
    with pytest.raises(JobError, match="still going on"):
        studio.delete_run(project, run.path)
    run.writer()(Cancelled())
    run.heartbeat_path.unlink()
    assert studio.library.restore(studio.trash_project(project.id)).id == project.id
    studio.delete_run(project, project.runs_dir / run.name)
    assert studio.runs(project) == [] and studio.current_run(project) is None


def test_the_queue_is_what_has_and_what_waits_for_the_device(studio: Studio, project: Project, data_home: Path) -> None:
    config = studio.preset(project, "quick", "builtin")
    first, second, third = (studio.start_training(project, config, "builtin") for _ in range(3))
    turns = Turns(data_home, first.spec()["device"])
    for run in (first, second, third):
        turns.enter(run)
    slot = turns.take(first, lambda: False)
    assert slot is not None
    studio.move_in_queue(third.path, 0)
    assert [(entry.run_id, entry.waiting) for entry in studio.queue()] == [(first.name, False), (third.name, True), (second.name, True)]
    assert {entry.project_name for entry in studio.queue()} == {"Things"}
    slot.release()


def test_cancelling_a_run_whose_worker_died_ends_it(studio: Studio, project: Project) -> None:
    run = studio.start_training(project, studio.preset(project, "quick", "builtin"), "builtin")
    run.heartbeat_path.unlink()
    assert studio.status(run.path).state == "failed"
    studio.cancel(run.path)
    assert studio.status(run.path).state == "cancelled"


def test_only_runs_of_the_project_can_be_made_current(studio: Studio, project: Project) -> None:
    for name in ("../elsewhere", "nothing", ""):
        with pytest.raises(StudioError):
            studio.make_current(project, name)
    assert studio.current_run(project) is None


def test_the_thorough_recipe_is_as_long_as_the_reference_says(studio: Studio, project: Project) -> None:
    assert studio.preset(project, "thorough", "builtin").steps == 500 * 6  # 8 images a class, a fifth kept out, rounded


def test_estimates_are_measured_or_not_given(studio: Studio, project: Project, launcher: Still, data_home: Path) -> None:
    config = studio.preset(project, "thorough", "builtin")
    unknown = studio.estimate(project, config, "builtin")
    assert unknown.seconds is None
    assert studio.estimate(project, config, "ViT-B-32").seconds is None
    device = studio.start_training(project, config, "builtin").spec()["device"]
    remember(data_home, device, "builtin", Speed(fixed=5, look=0.1, step_image=0.01, export=7))
    known = studio.estimate(project, config, "builtin")
    # 24 images looked at, and 10 views of each; 21 looks at 5 held-out ones; 3,000 steps of 32
    assert known.seconds == pytest.approx(5 + 2.4 + 24 + 10.5 + 960 + 7)
    assert known.words.startswith(
        "About 17 minutes on this machine. It is measured on the held-out images; judging all takes about 1.1 hours"
    )
    short = studio.estimate(project, replace(config, steps=80), "builtin")
    assert short.words.endswith("Then about 2 minutes to judge every image by a model that has not seen it.")
    assert studio.estimate(project, replace(config, estimate_minutes=0.0), "builtin").words == "About 17 minutes on this machine."
    remember_footprint(data_home, device, "builtin", Footprint(weights=2**28, image=2**25, token=2**14))
    words = studio.estimate(project, replace(config, estimate_minutes=0.0), "builtin").words
    assert words == "About 17 minutes and 3.0 GB of memory on this machine."  # 0.7 GB of program, 0.3 of weights, 32 images, a few names
    assert studio.estimate(project, studio.preset(project, "quick", "builtin"), "builtin").words.startswith("About ")
    remember(data_home, device, "builtin", Speed(fixed=50, look=0.05, step_image=0.011, export=7))  # a busy moment
    assert recall(data_home, device, "builtin") == Speed(fixed=6.25, look=0.05, step_image=0.011, export=7)
    write_json(data_home / "speeds.json", {f"{device}|builtin": {"another": "version"}})
    assert recall(data_home, device, "builtin") is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1, "5 seconds"), (33, "35 seconds"), (70, "a minute"), (150, "2 minutes"), (7200, "2.0 hours"), (90_000, "25 hours")],
)
def test_lengths_of_time_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_run_names_sort_by_time_and_never_collide(studio: Studio, project: Project) -> None:
    config = studio.preset(project, "quick", "builtin")
    names = [studio.start_training(project, config, "builtin").name for _ in range(3)]
    assert len(set(names)) == 3
    assert all(name.startswith(time.strftime("%Y")) for name in names)
