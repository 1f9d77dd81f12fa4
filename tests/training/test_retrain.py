"""The second training, on all images: what it learns from, what is said of it, how it is stopped and taken up again."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from prepared import drain, preparing
from safetensors.torch import load_file

from blocklora.config import AdapterConfig, TrainingConfig
from blocklora.files import read_json, write_json
from blocklora.jobs.events import Finished, Note, Step
from blocklora.jobs.launcher import LocalLauncher
from blocklora.jobs.run_folder import RunFolder
from blocklora.presets import preset_config
from blocklora.services.runs import Runs
from blocklora.training.checkpoint import load_checkpoint, save_checkpoint
from blocklora.training.class_weights import Choice
from blocklora.training.control import Control, StopRequested
from blocklora.training.evaluate import final_class_weights, measure_held_out
from blocklora.training.loop import train
from blocklora.training.retrain import finish
from blocklora.training.setup import Setup
from blocklora.training.state import State, start_state
from blocklora.training.subset import Everything, on_images

DEADLINE = 120.0


def ready(run: RunFolder, control: Control | None = None, choice: Choice | None = None) -> Setup:
    setup = drain(preparing(run, control, choice))[1]
    assert isinstance(setup, Setup)
    return setup


def fitted(run: RunFolder, control: Control | None = None) -> tuple[Setup, State]:
    """A run whose watched steps are over."""
    control = control or Control()
    setup = ready(run, control)
    state = start_state(setup)
    drain(train(setup, state, setup.spec.training.steps, control))
    return setup, state


def with_held_out(setup: Setup, steps: int) -> Setup:
    """`setup` on all its images."""
    everything = Everything.of(setup)
    return on_images(setup, everything, everything.indices, (), steps)


def adapters(setup: Setup) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in setup.adapters.named_parameters()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("last_layers", [None, 1])
@pytest.mark.parametrize("class_weights", ["images", "text", "blend"])
def test_the_second_training_is_the_first_one_on_all_images(make_tiny_run: Callable, class_weights: str, last_layers: int | None) -> None:
    # As many views as the steps over all images ask for: a training on fewer images keeps more of each, and class weights are made of them.
    values = {"class_weights": class_weights, "patience": None, "views": 4}
    adapter = AdapterConfig(last_layers=last_layers)
    run = make_tiny_run(adapter=adapter, retrain="yes", **values)
    setup, state = fitted(run)
    first = measure_held_out(setup)
    events, measured = drain(finish(setup, state, Control()))
    assert [e.steps for e in events if isinstance(e, Step)][-1] == 24
    assert measured.temperature == first.temperature
    assert measured.result["held_out"] == {**first.result["held_out"], "since_trained_on": True}
    assert torch.equal(measured.kept["class_weights"], first.class_weights)  # who goes on from here has not seen the held-out images
    assert "trained anew on all images" in measured.result["verdict"]
    assert not (run.path / "views.f16").exists()

    # the same run with nothing held out, its images in the same order
    other = make_tiny_run("all", adapter=adapter, **values)
    parts = read_json(other.dataset_path)
    write_json(other.dataset_path, {**parts, "train": [*parts["train"], *parts["held_out"]], "held_out": []})
    fresh = ready(other, choice=setup.choice)
    state = start_state(fresh)
    drain(train(fresh, state, 12, Control()))
    found, wanted = adapters(setup), adapters(fresh)
    for name in found:
        torch.testing.assert_close(found[name], wanted[name], atol=1e-4, rtol=0, msg=name)  # embedded in other chunks: not the same bits
    torch.testing.assert_close(final_class_weights(fresh), measured.class_weights, atol=1e-4, rtol=0)
    assert not torch.allclose(first.class_weights, measured.class_weights, atol=1e-3)


def test_all_images_are_there_to_learn_from(make_tiny_run: Callable) -> None:
    setup, state = fitted(make_tiny_run(class_weights="images"))
    images, held = len(setup.cache), len(setup.held_out)
    assert held == 6
    larger = with_held_out(setup, 5)
    assert len(larger.cache) == len(larger.labels) == images + held and not len(larger.held_out)
    assert torch.equal(larger.labels[images:], setup.held_out.labels)
    assert larger.class_weights.shift is not None and not larger.class_weights.shift.any()
    assert not torch.allclose(larger.class_weights.means, setup.class_weights.means)
    assert larger.spec.training.steps == 5
    assert state.named["class_weights.shift"] is setup.class_weights.shift  # that of the measured version is not touched


@pytest.mark.parametrize("training", [{"retrain": "no"}, {"retrain": "yes", "held_out": 0.0}])
def test_without_the_setting_or_held_out_images_nothing_follows(make_tiny_run: Callable, training: dict[str, object]) -> None:
    setup, state = fitted(make_tiny_run(**training))
    before = adapters(setup)
    events, measured = drain(finish(setup, state, Control()))
    assert not any(isinstance(e, Step) for e in events) and same(before, adapters(setup))
    assert "since_trained_on" not in measured.result["held_out"]


@pytest.mark.parametrize("best", [4, 0])
def test_it_is_as_long_as_the_version_that_was_kept(make_tiny_run: Callable, best: int) -> None:
    setup, state = fitted(make_tiny_run(retrain="yes", class_weights="images"))
    state.progress.best_step = best
    events, measured = drain(finish(setup, state, Control()))
    assert max([e.steps - state.progress.step for e in events if isinstance(e, Step)], default=0) == best
    if not best:  # training does not help: what is left of it are class weights of all images on the frozen model
        assert all(torch.equal(setup.untrained[name], value) for name, value in adapters(setup).items())
        assert torch.equal(measured.class_weights, with_held_out(ready(make_tiny_run("b", class_weights="images")), 0).class_weights())


def test_stopped_in_it_the_measured_version_is_the_one_that_is_kept(make_tiny_run: Callable) -> None:
    control = Control()
    setup, state = fitted(make_tiny_run(steps=40, retrain="yes", patience=None), control)
    first, before, notes = measure_held_out(setup), adapters(setup), []
    finishing = finish(setup, state, control)
    while True:
        try:
            event = next(finishing)
        except StopIteration as done:
            measured = done.value
            break
        if isinstance(event, Note):
            notes.append(event.message)
            control.stop()  # the next layer that runs raises
    assert "as asked" in notes[-1]
    assert same(before, adapters(setup)) and torch.equal(first.class_weights, measured.class_weights)
    assert "since_trained_on" not in measured.result["held_out"]


def test_a_wish_to_stop_does_not_break_the_measuring_off(make_tiny_run: Callable) -> None:
    control = Control()
    setup, state = fitted(make_tiny_run(retrain="yes"), control)
    control.stop()
    events, measured = drain(finish(setup, state, control))
    assert measured.result["held_out"]["n"] == 6 and not any(isinstance(e, Step) for e in events)
    with pytest.raises(StopRequested):
        control.check()


def test_a_worker_publishes_the_second_version(make_tiny_run: Callable, tiny_home: Path) -> None:
    run = make_tiny_run(retrain="yes", patience=None, class_weights="images")
    runs = Runs(tiny_home, LocalLauncher())
    runs.launch(run)
    deadline = time.monotonic() + DEADLINE
    while runs.status(run.path).busy:
        assert time.monotonic() < deadline, "waited too long for the run to end"
        time.sleep(0.05)
    status, result = runs.status(run.path), run.result()
    assert status.state == "finished" and result is not None, status
    assert isinstance(run.events()[0][-1].event, Finished)
    assert status.steps == 24 and status.step == 24
    assert result["held_out"]["since_trained_on"] is True and result["best_step"] == 12
    assert result["train_n"] == 24 - result["held_out"]["n"]
    setup, state = fitted(make_tiny_run("again", retrain="yes", patience=None, class_weights="images"))
    _, measured = drain(finish(setup, state, Control()))
    assert torch.allclose(
        load_file(run.adapter_path)["class_weights"], measured.class_weights, atol=0.02
    )  # the worker's format may be bf16
    assert not run.checkpoint_path.exists()
    assert all(np.isfinite(row["familiar"]) for row in result["held_out"]["images"])
    kept, published = load_file(run.measured_path), load_file(run.adapter_path)
    # Class means are those of the published version, which learned from the held-out images too.
    assert measured.familiarity is not None
    assert torch.allclose(published["class_means"], measured.familiarity.means, atol=0.02)
    assert {*kept, "class_means", "familiarity"} == {*published, "class_weights.shift"} and not torch.equal(
        kept["class_weights"], published["class_weights"]
    )


def test_interrupted_in_it_a_run_begins_it_again(make_tiny_run: Callable) -> None:
    """The checkpoint of the measured version says that its steps are over, even where they ended before their number."""
    run = make_tiny_run(retrain="yes")
    setup, state = fitted(run)
    state.progress.step = 8  # as if it had stopped early
    save_checkpoint(run.checkpoint_path, state.snapshot())
    _, whole = drain(finish(setup, state, Control()))
    snapshot = load_checkpoint(run.checkpoint_path)
    assert snapshot is not None
    setup = ready(run, choice=snapshot.choice)
    state = start_state(setup)
    state.restore(snapshot)
    items, early = drain(train(setup, state, 12, Control()))
    assert early is True and not any(isinstance(item, Step) for item in items)
    _, resumed = drain(finish(setup, state, Control()))
    assert torch.equal(whole.class_weights, resumed.class_weights)


def test_planned_steps_count_those_of_the_second_training() -> None:
    assert TrainingConfig(steps=200, retrain="yes").steps_planned == 400
    assert TrainingConfig(steps=200, retrain="yes", held_out=0.0).steps_planned == 200
    assert TrainingConfig(steps=200).steps_planned == 200
    assert preset_config("quick", "builtin", 16).retrain == "yes" and preset_config("thorough", "builtin", 16).retrain == "no"
