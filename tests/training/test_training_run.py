"""Whole runs on a tiny model: what they leave behind, that they repeat, resume and stop."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from blocklora.config import AdapterConfig
from blocklora.errors import JobError
from blocklora.jobs.events import Checkpoint, Event, Finished, Note, Started, Step, Validation
from blocklora.jobs.launcher import LocalLauncher
from blocklora.jobs.run_folder import RunFolder
from blocklora.services.runs import Runs
from blocklora.training.checkpoint import load_checkpoint, save_checkpoint
from blocklora.training.class_weights import Choice
from blocklora.training.control import Control
from blocklora.training.data import Data
from blocklora.training.device import choose, short_of_memory
from blocklora.training.loop import train
from blocklora.training.setup import Setup, prepare
from blocklora.training.state import Snapshot, start_state

DEADLINE = 120.0


def drain(generator: object) -> tuple[list, object]:
    """All items of a generator, and what it returned."""
    items = []
    while True:
        try:
            items.append(next(generator))  # type: ignore[call-overload]
        except StopIteration as done:
            return items, done.value


def ready(run: RunFolder, control: Control | None = None, choice: Choice | None = None) -> Setup:
    from blocklora.jobs.spec import RunSpec

    spec = RunSpec.from_dict(run.spec())
    compute = choose("cpu", "fp32", lambda message: None)
    _, setup = drain(prepare(spec, Data.read(run.dataset_path), compute, control or Control(), choice=choice))
    assert isinstance(setup, Setup)
    return setup


def trained(run: RunFolder, snapshot: Snapshot | None = None, stop_at: int | None = None) -> tuple[dict[str, torch.Tensor], list]:
    """Train a run in this process; with `stop_at`, walk away after that step as a killed worker would."""
    setup = ready(run, choice=None if snapshot is None else snapshot.choice)
    state = start_state(setup)
    if snapshot is not None:
        state.restore(snapshot)
    steps = setup.spec.training.steps or 0
    events: list[Event | Snapshot] = []
    for item in train(setup, state, steps, Control()):
        events.append(item)
        if stop_at is not None and state.progress.step == stop_at:
            save_checkpoint(run.checkpoint_path, state.snapshot())
            break
    return {name: p.detach().clone() for name, p in setup.trainable().items()}, events


def types(run: RunFolder) -> list[type]:
    return [type(stamped.event) for stamped in run.events()[0]]


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"waited too long for {what}"
        time.sleep(0.05)


def test_a_worker_leaves_adapter_result_and_events(make_tiny_run: Callable, tiny_home: Path) -> None:
    run = make_tiny_run()
    runs = Runs(tiny_home, LocalLauncher())
    runs.launch(run)
    wait_for(lambda: not runs.status(run.path).busy, "the run to end")
    status = runs.status(run.path)
    assert status.state == "finished", status
    seen = types(run)
    places = [seen.index(kind) for kind in (Started, Validation, Step, Finished)]
    assert places == sorted(places)
    result = run.result()
    assert result is not None
    assert result["held_out"]["n"] == 6  # 3 classes x 8, a fifth of each rounded: 2 a class
    assert sum(map(sum, result["held_out"]["confusion"])) == 6
    best = [s.event for s in run.events()[0] if isinstance(s.event, Validation) and s.event.best][-1]
    assert result["best_step"] == best.step and result["held_out"]["correct"] == best.correct
    tensors = load_file(run.adapter_path)
    assert tensors["class_weights"].shape == (3, 32)
    lengths = tensors["class_weights"].norm(dim=1)
    assert torch.isfinite(lengths).all() and lengths.min() > 0
    # of one, unless these are discriminant weights, whose lengths carry the metric
    assert torch.allclose(lengths, torch.ones(3), atol=1e-5) != result["discriminant"]
    assert not run.checkpoint_path.exists()


@pytest.mark.parametrize("patience", [8, None])
def test_a_run_without_held_out_images_measures_nothing(make_tiny_run: Callable, patience: int | None) -> None:
    from blocklora.training.evaluate import measure

    setup = ready(make_tiny_run(held_out=0.0, patience=patience))
    state = start_state(setup)
    items, _ = drain(train(setup, state, 3, Control()))
    assert state.progress.step == 3 and not any(isinstance(item, Validation) for item in items)
    result = measure(setup).result
    assert result["held_out"]["n"] == 0 and result["held_out"]["top1"] is None and result["temperature"] == 1.0


def test_a_run_that_died_after_its_result_finishes_when_resumed(make_tiny_run: Callable, tiny_home: Path) -> None:
    run = make_tiny_run()
    runs = Runs(tiny_home, LocalLauncher())
    runs.launch(run)
    wait_for(lambda: not runs.status(run.path).busy, "the run to end")
    said = run.events_path.read_bytes().splitlines(keepends=True)
    run.events_path.write_bytes(b"".join(line for line in said if b'"finished"' not in line))
    wait_for(lambda: not run.alive(), "the worker to be gone")

    again = Runs(tiny_home, LocalLauncher())
    assert again.status(run.path).state == "failed" and again.status(run.path).resumable
    again.resume(run.path)
    wait_for(lambda: again.status(run.path).state == "finished", "the run to be finished")
    assert types(run).count(Started) == 1  # nothing was trained again
    with pytest.raises(JobError, match="has finished"):
        again.resume(run.path)


def test_the_same_seed_gives_the_same_bits(make_tiny_run: Callable) -> None:
    first, _ = trained(make_tiny_run("a"))
    second, _ = trained(make_tiny_run("b"))
    other, _ = trained(make_tiny_run("c", seed=2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("last_layers", [None, 1])
@pytest.mark.parametrize("class_weights", ["images", "text"])
def test_a_resumed_run_ends_with_the_same_bits(make_tiny_run: Callable, class_weights: str, last_layers: int | None) -> None:
    adapter = AdapterConfig(last_layers=last_layers)
    whole, _ = trained(make_tiny_run("whole", adapter, class_weights=class_weights))
    broken = make_tiny_run("broken", adapter, class_weights=class_weights)
    part, _ = trained(broken, stop_at=4)
    snapshot = load_checkpoint(broken.checkpoint_path)
    assert snapshot is not None and snapshot.progress.step == 4
    assert not all(torch.equal(whole[name], part[name]) for name in whole)
    resumed, _ = trained(broken, snapshot)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_resumed_run_keeps_the_start_that_it_had(make_tiny_run: Callable) -> None:
    """Even where it would choose another now: the learned shift belongs to the old one."""
    run = make_tiny_run("start", class_weights="images")
    trained(run, stop_at=4)
    snapshot = load_checkpoint(run.checkpoint_path)
    assert snapshot is not None
    other = replace(snapshot.choice, discriminant=0.0 if snapshot.choice.discriminant else 2.0)
    assert not torch.equal(ready(run, choice=other).class_weights(), ready(run, choice=snapshot.choice).class_weights())
    assert torch.equal(ready(run, choice=snapshot.choice).class_weights(), ready(run).class_weights())


def test_what_the_frozen_layers_give_is_kept_and_nothing_else_changes(make_tiny_run: Callable) -> None:
    from blocklora.clip.prompts import text_class_weights
    from blocklora.training.entering import embed_all

    setup = ready(make_tiny_run("kept", AdapterConfig(last_layers=1), class_weights="text", steps=40, patience=None))
    assert setup.views is not None and setup.image_split is not None and setup.text_split is not None
    state = start_state(setup)
    drain(train(setup, state, 40, Control()))
    torch.testing.assert_close(setup.held_out_features(), embed_all(setup.backbone, setup.held_out, setup.compute), atol=1e-5, rtol=1e-4)
    text = setup.step_text()
    assert text is not None
    torch.testing.assert_close(text, text_class_weights(setup.backbone.model, setup.prompts), atol=1e-6, rtol=1e-5)


def test_training_learns_on_kept_views(make_tiny_run: Callable) -> None:
    _, events = trained(make_tiny_run("views", AdapterConfig(last_layers=1), steps=60, class_weights="text", patience=None))
    losses = [e.loss for e in events if isinstance(e, Validation)]
    assert losses[-1] < 0.8 * losses[0]


def test_all_layers_keep_nothing(make_tiny_run: Callable) -> None:
    setup = ready(make_tiny_run())
    assert setup.views is None and setup.image_split is None and setup.text_split is None


def test_training_learns(make_tiny_run: Callable) -> None:
    _, events = trained(make_tiny_run(steps=60, class_weights="text", patience=None))
    losses = [e.loss for e in events if isinstance(e, Validation)]
    assert losses[-1] < 0.7 * losses[0]


def test_text_mode_without_patience_keeps_the_last_version(make_tiny_run: Callable) -> None:
    run = make_tiny_run(class_weights="text", patience=None)
    setup = ready(run)
    state = start_state(setup)
    _, early = drain(train(setup, state, 12, Control()))
    assert early is False
    assert state.progress.best_step == 12
    assert "class_weights.shift" not in setup.trainable()
    assert any(name.startswith("text.") for name in setup.trainable())


def test_images_mode_leaves_the_text_tower_alone(make_tiny_run: Callable) -> None:
    setup = ready(make_tiny_run(class_weights="images"))
    assert not any(name.startswith("text.") for name in setup.trainable())
    assert setup.spec.adapter.towers == ("image",)


def test_stop_inside_a_step_keeps_the_best(make_tiny_run: Callable) -> None:
    run, control = make_tiny_run(steps=500, checks=100), Control()
    setup = ready(run, control)
    state = start_state(setup)
    items = []
    generator = train(setup, state, 500, control)
    while True:
        try:
            items.append(next(generator))
        except StopIteration as done:
            assert done.value is True
            break
        if state.progress.step >= 5:
            control.stop()  # the next layer that runs raises
    assert state.progress.step < 50
    assert any(isinstance(item, Note) and "as asked" in item.message for item in items)
    assert all(torch.equal(setup.trainable()[name].cpu(), value) for name, value in state.best.items())


@pytest.mark.parametrize(("class_weights", "said"), [("text", True), ("images", False)])
def test_long_names_are_warned_of_where_names_count(make_tiny_run: Callable, class_weights: str, said: bool) -> None:
    from blocklora.jobs.spec import RunSpec

    run = make_tiny_run(class_weights=class_weights, templates=("a photo of a {} " + "and so on " * 40,))
    compute = choose("cpu", "fp32", lambda message: None)
    events, _ = drain(prepare(RunSpec.from_dict(run.spec()), Data.read(run.dataset_path), compute, Control()))
    assert any("The rest is not read" in event.message for event in events if isinstance(event, Note)) is said


def test_divided_near_identical_images_are_said(make_tiny_run: Callable) -> None:
    from blocklora.files import read_json, write_json
    from blocklora.jobs.spec import RunSpec

    run = make_tiny_run()
    write_json(run.dataset_path, {**read_json(run.dataset_path), "divided": 2})
    compute = choose("cpu", "fp32", lambda message: None)
    events, _ = drain(prepare(RunSpec.from_dict(run.spec()), Data.read(run.dataset_path), compute, Control()))
    assert any("2 sets of near-identical images" in event.message for event in events if isinstance(event, Note))


def test_stop_before_the_first_step_ends_the_run(make_tiny_run: Callable, tiny_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_tiny_run(steps=100_000, checks=100, patience=100)
    runs = Runs(tiny_home, LocalLauncher())
    runs.launch(run)
    runs.stop(run.path)  # its worker is not even loaded
    wait_for(lambda: not runs.status(run.path).busy, "the end")
    status = runs.status(run.path)
    assert status.state == "cancelled" and Step not in types(run)
    wait_for(lambda: not run.alive(), "the process to be gone")


def test_the_newest_version_is_kept_unless_held_out_images_speak_against_it(
    make_tiny_run: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    from blocklora.training import loop

    base = torch.tensor([1.0, 2.0, 3.0, 0.5, 1.5, 2.5])
    noise = torch.tensor([0.4, -0.3, 0.3, -0.4, 0.35, -0.3])
    script = iter([base, base - 0.3, base - 0.3 + noise, base, base + 0.1, base + 0.2])  # better, luck, then clearly worse
    monkeypatch.setattr(loop, "check", lambda setup: (3, next(script)))
    setup = ready(make_tiny_run(steps=100, checks=50, patience=3))
    state = start_state(setup)
    items, early = drain(train(setup, state, 100, Control()))
    assert [item.best for item in items if isinstance(item, Validation)] == [True, True, True, False, False, False]
    assert early is True and state.progress.best_step == 4 and state.progress.step == 10


def test_micro_batches_give_the_gradient_of_the_whole_batch(make_tiny_run: Callable) -> None:
    from blocklora.config import AdapterConfig
    from blocklora.training.loop import one_step

    gradients = []
    for micro in (8, 3):
        # Without dropout: its mask is drawn per piece, which changes the noise but not the mean.
        setup = ready(make_tiny_run(f"micro-{micro}", adapter=AdapterConfig(dropout=0.0), class_weights="blend"))
        state = start_state(setup)
        state.progress.micro_batch = micro
        setup.adapters.train(True)
        one_step(setup, state, 0)
        gradients.append({name: p.grad.clone() for name, p in setup.trainable().items()})
    assert all(torch.allclose(gradients[0][name], gradients[1][name], rtol=1e-3, atol=1e-6) for name in gradients[0])


# Only cuda has a class for it.
OUT_OF_MEMORY = pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("pretend"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB)"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
    ],
    ids=["cuda", "mps", "cpu", "cpu of Windows"],
)


def test_what_torch_says_of_a_full_memory_is_known() -> None:
    with pytest.raises(RuntimeError) as told:
        torch.empty(2**50)
    assert short_of_memory(told.value) and not short_of_memory(RuntimeError("shapes do not match"))


@OUT_OF_MEMORY
def test_out_of_memory_halves_the_pieces_and_goes_on(error: RuntimeError, make_tiny_run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    from blocklora.training import loop

    setup = ready(make_tiny_run(steps=2))
    state = start_state(setup)
    real, failures = loop.one_step, []

    def scarce(setup: Setup, state: loop.State, step: int) -> object:
        if state.progress.micro_batch > 2:
            failures.append(state.progress.micro_batch)
            raise error
        return real(setup, state, step)

    monkeypatch.setattr(loop, "one_step", scarce)
    items, _ = drain(train(setup, state, 2, Control()))
    assert failures == [8, 4]
    assert next(i.message for i in items if isinstance(i, Note)).startswith(
        "The device ran out of memory: steps of 8 images go on in pieces of 4"
    )
    assert state.progress.step == 2


def test_another_error_ends_the_run(make_tiny_run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    from blocklora.training import loop

    def broken(*_: object) -> object:
        raise RuntimeError("shapes do not match")

    setup = ready(make_tiny_run(steps=2))
    monkeypatch.setattr(loop, "one_step", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        drain(train(setup, start_state(setup), 2, Control()))


@OUT_OF_MEMORY
def test_embedding_halves_what_does_not_fit(error: RuntimeError, make_tiny_run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    from blocklora.errors import TrainingError
    from blocklora.training import entering as room
    from blocklora.training.entering import embed_all

    setup = ready(make_tiny_run())
    whole = embed_all(setup.backbone, setup.held_out, setup.compute)
    real, most, sizes = room.image_features, 2, []

    def scarce(model: object, images: torch.Tensor) -> torch.Tensor:
        if len(images) > most:
            raise error
        sizes.append(len(images))
        return real(model, images)

    monkeypatch.setattr(room, "image_features", scarce)
    assert torch.allclose(embed_all(setup.backbone, setup.held_out, setup.compute), whole, atol=1e-5)
    assert sum(sizes) == len(whole) and max(sizes) == 2
    most = 0
    with pytest.raises(TrainingError, match="even one image at a time"):
        embed_all(setup.backbone, setup.held_out, setup.compute)


def test_a_killed_worker_shows_as_failed_and_resumes(make_tiny_run: Callable, tiny_home: Path) -> None:
    run = make_tiny_run(steps=100_000, checks=100, patience=100)
    launcher = LocalLauncher()
    runs = Runs(tiny_home, launcher)
    pid = launcher.launch("blocklora.training.worker", run)
    wait_for(lambda: Step in types(run), "the first step")
    os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    wait_for(lambda: runs.status(run.path).state == "failed", "the death to show")
    assert time.monotonic() - killed < 5
    assert runs.status(run.path).resumable
    runs.resume(run.path)
    wait_for(lambda: types(run).count(Started) == 2, "the second start")
    assert runs.status(run.path).state == "running"
    wait_for(lambda: types(run).count(Step) > 1 and runs.status(run.path).stage == "Training", "training to go on")
    runs.stop(run.path)
    asked = time.monotonic()
    wait_for(lambda: any(isinstance(s.event, Note) and "as asked" in s.event.message for s in run.events()[0]), "the stop")
    assert time.monotonic() - asked < 2
    wait_for(lambda: not runs.status(run.path).busy, "the end")
    assert runs.status(run.path).state == "finished"


def test_cancel_acts_at_once(make_tiny_run: Callable, tiny_home: Path) -> None:
    run = make_tiny_run(steps=100_000, checks=100, patience=100)
    runs = Runs(tiny_home, LocalLauncher())
    runs.launch(run)
    wait_for(lambda: Step in types(run), "the first step")
    asked = time.monotonic()
    runs.cancel(run.path)
    wait_for(lambda: runs.status(run.path).state == "cancelled", "the end")
    assert time.monotonic() - asked < 2
    wait_for(lambda: not run.alive(), "the process to be gone")
    assert not run.adapter_path.exists()


def test_checkpoints_are_said(make_tiny_run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    from blocklora.training import loop

    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    _, events = trained(make_tiny_run(steps=3))
    snapshots = [e for e in events if isinstance(e, Snapshot)]
    assert [s.progress.step for s in snapshots] == [1, 2, 3]
    assert Checkpoint(1).type == "checkpoint"
