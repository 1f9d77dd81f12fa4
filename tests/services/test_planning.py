"""Plans from what this machine is known to do: what the window shows, what a run is given, and what a person overrules."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from blocklora.clip.catalog import CONFIG_FILE, WEIGHTS_FILE
from blocklora.config import AdapterConfig
from blocklora.jobs.devices import resolve
from blocklora.jobs.liveness import beat
from blocklora.jobs.run_folder import RunFolder
from blocklora.plan import BUDGET, FEW
from blocklora.projects.intake import accept, plan_folder
from blocklora.projects.project import Project
from blocklora.services import planning
from blocklora.services.studio import Studio
from blocklora.speeds import Depth, Speed, Stopwatch, recall, recall_depth, remember, remember_depth
from blocklora.ui.train_form import TrainForm

COSTLY = Speed(fixed=1, look=0.5, step_image=0.3, export=20)


class Timing:
    """A launcher whose probe has its answer at once, or never."""

    def __init__(self, home: Path, answers: bool = True) -> None:
        self.home, self.answers, self.calls = home, answers, 0

    def launch(self, module: str, run: RunFolder, *arguments: str) -> int:
        beat(run.heartbeat_path)
        return os.getpid()

    def call(self, module: str, arguments: list[str], log: Path) -> int:
        assert module == planning.PROBE
        self.calls += 1
        if not self.answers:
            return 2**22 + 1  # no such process
        remember(self.home, arguments[2], arguments[1], COSTLY)
        return os.getpid()


@pytest.fixture
def deep(data_home: Path) -> str:
    """A backbone of 12 layers, as far as its files tell."""
    folder = data_home / "backbones" / "deep"
    folder.mkdir(parents=True)
    config = {"model_cfg": {"embed_dim": 8, "vision_cfg": {"layers": 12, "image_size": 32}, "text_cfg": {}}}
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    with (folder / WEIGHTS_FILE).open("wb") as stream:
        stream.truncate(planning.SMALL)
    return "deep"


@pytest.fixture
def studio(data_home: Path) -> Studio:
    return Studio(data_home, "exporters.worker", lambda path: pytest.fail("no file is opened here"), Timing(data_home))


@pytest.fixture
def project(studio: Studio, sample_pictures: Path) -> Project:
    made = studio.library.create("Things")
    accept(made, plan_folder(made, sample_pictures, local_mode=True, allowed_roots=[sample_pictures.parent]))
    return made


def test_the_plan_is_shown_used_and_can_be_overruled(studio: Studio, project: Project, deep: str, data_home: Path) -> None:
    before = studio.plan(project, "quick", deep)
    assert before.whole is None and before.training.steps == 200  # nobody has timed this machine
    remember(data_home, resolve("auto"), deep, COSTLY)
    plan = studio.plan(project, "quick", deep)
    assert plan.adapter.last_layers in (2, 3, 4, 6) and plan.training.steps < 200
    form = TrainForm.of({"preset": "quick", "backbone": deep})
    assert form.settings(studio, project) == (plan.training, plan.adapter)
    told = studio.estimate(project, plan.training, deep, plan.adapter)
    assert told.seconds is not None and told.seconds <= BUDGET["quick"] * FEW * COSTLY.look
    assert f"{plan.training.steps} steps of the last {plan.adapter.last_layers} of 12 layers; uncut it would take about" in told.words
    own = TrainForm.of({"preset": "quick", "backbone": deep, "steps": "90", "last_layers": "64"})
    training, adapter = own.settings(studio, project)
    assert training.steps == 90 and adapter.last_layers == 64
    longer = studio.estimate(project, training, deep, adapter)
    assert longer.seconds is not None and longer.seconds > 1.5 * told.seconds and "Made shorter" not in longer.words
    run = studio.start_training(project, plan.training, deep, plan.adapter)
    spec = run.spec()
    assert spec["adapter"]["last_layers"] == plan.adapter.last_layers and spec["training"]["steps"] == plan.training.steps
    assert spec["training"]["views"] == plan.training.views


def test_the_builtin_is_never_cut(studio: Studio, project: Project, data_home: Path) -> None:
    remember(data_home, resolve("auto"), "builtin", COSTLY)
    plan = studio.plan(project, "quick", "builtin")
    assert plan.whole is None and plan.adapter == AdapterConfig(last_layers=6) and plan.training.steps == 200


def test_depth_is_what_a_worker_counted_or_the_files_say(data_home: Path, deep: str) -> None:
    assert planning.depth_of(data_home, deep) == Depth(12, True)
    remember_depth(data_home, deep, Depth(7, False))
    remember(data_home, "cpu", deep, COSTLY)
    assert planning.depth_of(data_home, deep) == Depth(7, False) == recall_depth(data_home, deep)
    assert planning.depth_of(data_home, "not here") is None
    (data_home / "backbones" / deep / CONFIG_FILE).write_text("{")
    assert planning.depth_of(data_home, deep) == Depth(7, False)


def test_a_command_has_the_machine_timed_first(data_home: Path, deep: str) -> None:
    launcher = Timing(data_home)
    for _ in range(2):
        assert planning.time_now(data_home, launcher, deep, "cpu")
    assert launcher.calls == 1
    assert planning.time_now(data_home, launcher, "builtin", "cpu") and planning.time_now(data_home, launcher, "nowhere", "cpu")
    (data_home / "backbones" / deep / WEIGHTS_FILE).write_bytes(b"small")
    (data_home / "speeds.json").unlink()
    assert planning.time_now(data_home, launcher, deep, "cpu") and launcher.calls == 1


def test_a_probe_that_dies_is_not_waited_for(data_home: Path, deep: str) -> None:
    assert not planning.time_now(data_home, Timing(data_home, answers=False), deep, "cpu")


def test_looking_at_views_is_not_looking_at_images(data_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from blocklora.jobs.events import Caching, Step

    now = [0.0]
    monkeypatch.setattr("blocklora.speeds.time.monotonic", lambda: now[0])
    found = []
    for views in (False, True):
        now[0] = 0.0
        watch = Stopwatch()
        told = [(2.0, Caching(1, 11)), (7.0, Caching(11, 11)), (8.0, Caching(4, 4))]
        told += [(12.0, Caching(6, 11, views=True)), (16.0, Caching(11, 11, views=True))] if views else []
        for now[0], event in told:
            watch.hear(event)
        watch.hear(Step(1, 2, 0.5, 1e-3, images_per_second=100.0, eta=1.0))
        found.append(watch.speed(None, exported=False))
    assert found[0] is not None and found[0].look == pytest.approx(0.5) and found[0].fixed == pytest.approx(8 - 11 * 0.5)
    assert found[0] == found[1]  # an estimate counts the views by themselves


def test_steps_of_the_last_layers_say_how_long_those_of_all_take_at_most(data_home: Path) -> None:
    from blocklora.jobs.events import Caching, Step

    def heard() -> Stopwatch:
        watch = Stopwatch()
        watch.hear(Caching(10, 10))
        watch.hear(Step(1, 2, 0.5, 1e-3, images_per_second=100.0, eta=1.0))
        return watch

    known = Speed(1, 0.5, 1.0, 20, 0.25)
    partly, wholly = heard().speed(known, exported=False, share=0.5), heard().speed(known, exported=False)
    assert partly is not None and partly.step_image == pytest.approx(0.02) and partly.step_class == 0.25
    assert wholly is not None and wholly.step_image == pytest.approx(0.01) and wholly.step_class == 0.25
    quick = replace(known, step_image=0.011)
    unraised, unsaid = heard().speed(quick, exported=False, share=0.5), heard().speed(known, exported=False, share=None)
    assert unraised is not None and unraised.step_image == 0.011
    assert unsaid is not None and unsaid.step_image == known.step_image
    first = heard().speed(None, exported=False, share=0.5)
    assert first is not None and first.step_image == pytest.approx(0.02)
    assert heard().speed(None, exported=False, share=None) is None
    assert recall(data_home, "cpu", "deep") is None
