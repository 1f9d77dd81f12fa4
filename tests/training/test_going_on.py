"""A run that goes on from another one: where it begins, what stays held out, and how both compare."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_retrain import drain

from blocklora.config import AdapterConfig, TrainingConfig
from blocklora.errors import TrainingError
from blocklora.files import read_json, write_json
from blocklora.jobs.launcher import LocalLauncher
from blocklora.jobs.run_folder import RunFolder
from blocklora.jobs.spec import RunSpec
from blocklora.projects.dataset import Dataset, Item
from blocklora.projects.folders import read_class_folders
from blocklora.services.going_on import GoingOn
from blocklora.services.runs import RunRequest, Runs, make_run
from blocklora.training.control import Control
from blocklora.training.data import Data
from blocklora.training.device import choose
from blocklora.training.evaluate import measure_held_out
from blocklora.training.going_on import SHIFT, Start
from blocklora.training.setup import prepare

DEADLINE = 120.0


@pytest.fixture
def trained(make_tiny_run: Callable, tiny_home: Path) -> Callable[..., RunFolder]:
    """`trained(name, **training)` runs a worker to its end."""

    def make(name: str = "run", run: RunFolder | None = None, **training: object) -> RunFolder:
        run = run or make_tiny_run(name, patience=None, **training)
        runs = Runs(tiny_home, LocalLauncher())
        runs.launch(run)
        deadline = time.monotonic() + DEADLINE
        while runs.status(run.path).busy:
            assert time.monotonic() < deadline, "waited too long for the run to end"
            time.sleep(0.05)
        assert runs.status(run.path).state == "finished", run.log_tail()
        return run

    return make


def next_run(path: Path, home: Path, start: GoingOn, dataset: Dataset, steps: int = 4) -> RunFolder:
    config = TrainingConfig(preset="quick", steps=steps, batch_size=8, checks=2, device="cpu", learning_rate=5e-3, retrain="yes")
    request = RunRequest("tiny", config, AdapterConfig(), start=start)
    return make_run(path, home, dataset, start.split(dataset, 0.2, 1), request)


@pytest.mark.parametrize("retrain", ["yes", "no"])
@pytest.mark.parametrize("class_weights", ["images", "text"])
def test_it_begins_where_the_figure_of_the_other_was_measured(
    trained: Callable, tiny_home: Path, sample_pictures: Path, tmp_path: Path, class_weights: str, retrain: str
) -> None:
    first = trained(retrain=retrain, class_weights=class_weights)
    start = GoingOn.of(first)
    assert start is not None
    dataset, _ = read_class_folders(sample_pictures)
    second = next_run(tmp_path / "second", tiny_home, start, dataset)
    data = Data.read(second.dataset_path)
    assert [data.dataset.items[i].sha256 for i in data.held_out] == [
        start.dataset.items[i].sha256 for i in Data.read(first.dataset_path).held_out
    ]
    compute = choose("cpu", "fp32", lambda message: None)
    begun = Start.read(second.path)
    assert begun is not None and Start.read(first.path) is None
    setup = drain(prepare(RunSpec.from_dict(second.spec()), data, compute, Control(), second.path, None, begun))[1]
    kept = load_file(first.measured_path)
    assert all(torch.equal(kept[name], value) for name, value in setup.untrained.items()) and setup.choice == begun.choice
    if class_weights == "images":
        assert torch.equal(setup.shift, kept[SHIFT]) and kept[SHIFT].any()
    result = first.result()
    assert result is not None
    rows = measure_held_out(setup).result["held_out"]["images"]
    assert [row["predicted"] for row in rows] == [row["predicted"] for row in result["held_out"]["images"]]  # no step has been taken yet


def test_a_run_from_before_turned_pictures_was_upright(trained: Callable, tiny_home: Path, sample_pictures: Path, tmp_path: Path) -> None:
    first = trained(retrain="no", class_weights="images")
    result = first.result()
    assert result is not None and result["choice"].pop("rotated") is False
    write_json(first.result_path, result)
    start = GoingOn.of(first)
    assert start is not None
    second = next_run(tmp_path / "second", tiny_home, start, read_class_folders(sample_pictures)[0])
    begun = Start.read(second.path)
    assert begun is not None and not begun.choice.rotated


def test_mended_images_are_learned_and_both_runs_compared(
    trained: Callable, tiny_home: Path, sample_pictures: Path, tmp_path: Path
) -> None:
    first = trained(retrain="yes", class_weights="images")
    start = GoingOn.of(first)
    assert start is not None
    dataset, _ = read_class_folders(sample_pictures)
    held = sorted(start.held_out)
    wrong = next(item for item in dataset.items if item.sha256 == held[0])
    other = (wrong.label + 1) % 3
    items = tuple(replace(item, label=other) if item is wrong else item for item in dataset.items)
    gone = next(item for item in items if item.sha256 not in start.held_out)
    mended = replace(dataset, items=tuple(item for item in items if item is not gone))
    changes = start.changes(mended)
    assert (changes.moved, changes.deleted, changes.added) == (
        1,
        1,
        0,
    ) and changes.words == "1 image moved to another class, 1 image deleted"
    second = trained(run=next_run(tmp_path / "second", tiny_home, start, mended))
    result, before = second.result(), first.result()
    assert result is not None and before is not None
    since = result["since"]
    assert since["run"] == first.name and since["n"] == result["held_out"]["n"] == 6 and since["now"] == result["held_out"]["correct"]
    ids = {item.sha256: item.image_id for item in start.dataset.items}
    said = {row["image_id"]: row["predicted"] for row in before["held_out"]["images"]}
    label = {item.sha256: item.label for item in mended.items}
    assert since["before"] == sum(said[ids[sha]] == label[sha] for sha in held)
    assert "cross_validated" not in result  # its adapters have seen every image but the held-out ones
    assert read_json(second.start_info_path)["run"] == first.name


def test_a_new_class_may_come_and_an_old_one_may_not_go(trained: Callable, tiny_home: Path, sample_pictures: Path, tmp_path: Path) -> None:
    start = GoingOn.of(trained(class_weights="images"))
    assert start is not None
    dataset, _ = read_class_folders(sample_pictures)
    fresh = tuple(
        Item(item.path, 3, f"{i:064x}", f"{i * 0x0123456789ABCDEF % 2**64:016x}", f"new{i}") for i, item in enumerate(dataset.items[:5], 1)
    )
    more = Dataset((*dataset.class_names, "fourth"), (*dataset.class_ids, "fourth"), (*dataset.items, *fresh))
    assert start.changes(more).words == "5 images added, new class fourth"
    parts = start.split(more, 0.2, 1)
    assert {more.items[i].sha256 for i in parts.held_out} > start.held_out and len(parts.held_out) == len(start.held_out) + 1
    result = trained(run=next_run(tmp_path / "second", tiny_home, start, more)).result()
    assert result is not None and len(result["class_names"]) == 4 and result["since"]["n"] == 6
    fewer = Dataset(dataset.class_names[:2], dataset.class_ids[:2], tuple(item for item in dataset.items if item.label < 2))
    with pytest.raises(TrainingError, match="is gone"):
        start.split(fewer, 0.2, 1)


def test_a_class_that_would_have_only_held_out_images_is_refused(trained: Callable, sample_pictures: Path) -> None:
    start = GoingOn.of(trained())
    assert start is not None
    dataset, _ = read_class_folders(sample_pictures)
    left = tuple(item for item in dataset.items if item.label or item.sha256 in start.held_out)
    with pytest.raises(TrainingError, match="no image to train on"):
        start.split(replace(dataset, items=left), 0.2, 1)


def test_near_copies_of_held_out_images_stay_held_out(trained: Callable, sample_pictures: Path) -> None:
    start = GoingOn.of(trained())
    assert start is not None
    dataset, _ = read_class_folders(sample_pictures)
    copies = tuple(replace(item, sha256=f"{i:064x}", image_id=f"copy{i}") for i, item in enumerate(dataset.items, 1))
    parts = start.split(replace(dataset, items=(*dataset.items, *copies)), 0.2, 1)
    n = len(dataset.items)
    assert {i - n for i in parts.held_out if i >= n} == {i for i in parts.held_out if i < n} and len(parts.held_out) == 12
    assert parts.divided == 0


def test_runs_of_older_versions_cannot_be_gone_on_from(trained: Callable) -> None:
    run = trained()
    run.measured_path.unlink()
    assert GoingOn.of(run) is None


def test_what_the_chain_learned_from_tests_nothing(trained: Callable, tiny_home: Path, sample_pictures: Path, tmp_path: Path) -> None:
    """A picture of the first run that is a test picture by the second: its weights have seen it, whatever its own images are."""
    first = trained(retrain="no")
    start = GoingOn.of(first)
    assert start is not None
    data = Data.read(first.dataset_path)
    moved, held = data.train[0], data.held_out[0]
    apart = tuple(data.dataset.items[i] for i in (moved, held))
    dataset = replace(data.dataset, items=tuple(item for item in data.dataset.items if item not in apart))
    config = TrainingConfig(preset="quick", steps=2, batch_size=8, checks=2, device="cpu", learning_rate=5e-3, retrain="no")
    tests = replace(data.dataset, items=apart)
    assert start.changes(dataset, tests).words == "2 images set apart" and start.changes(dataset).deleted == 2
    request = RunRequest("tiny", config, AdapterConfig(), test=tests, start=start)
    second = trained(run=make_run(tmp_path / "second", tiny_home, dataset, start.split(dataset, 0.2, 1), request))
    test = (second.result() or {})["test"]
    assert [(pair["test"]["image_id"], pair["like"], pair["sign"]) for pair in test["leaks"]] == [(apart[0].image_id, None, "seen")]
    assert test["n"] == 1 and test["images"][0]["image_id"] == apart[1].image_id
    third = GoingOn.of(second)
    assert third is not None
    third_run = make_run(tmp_path / "third", tiny_home, dataset, third.split(dataset, 0.2, 1), replace(request, start=third))
    begun = Start.read(third_run.path)
    assert begun is not None and apart[0].sha256 in begun.seen and apart[1].sha256 not in begun.seen


def test_what_the_chain_learned_from_is_held_out_no_more_when_it_comes_back(sample_pictures: Path, tmp_path: Path) -> None:
    """Pictures of the first run that were away from the second: the third one's adapters have learned from them."""
    dataset, _ = read_class_folders(sample_pictures)
    away = set(range(0, len(dataset.items), 3))
    second = replace(dataset, items=tuple(item for i, item in enumerate(dataset.items) if i not in away))
    run = RunFolder(tmp_path / "second")
    start = GoingOn(run, second, frozenset(), {})
    assert away & set(start.split(dataset, 0.5, 1).held_out), "this shows nothing: none of them would be held out anyway"
    write_json(run.start_info_path, {"seen": [dataset.items[i].sha256 for i in away]})
    assert not start.split(dataset, 0.5, 1).held_out
