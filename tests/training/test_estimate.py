"""Every image judged by a model that had not seen it: by training anew where there is time, by the closed-form head in any case."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from test_retrain import adapters, drain, fitted, same

from blocklora.jobs.events import Estimating, Note, Step
from blocklora.training.class_weights import Choice, Features
from blocklora.training.control import Control
from blocklora.training.entering import embed_all
from blocklora.training.estimate import Parts, every_image, seconds_needed
from blocklora.training.evaluate import final_class_weights, measure_held_out
from blocklora.training.learning_curve import head_logits, learning_curve, slope, with_twice
from blocklora.training.loop import train
from blocklora.training.metrics import calibration, calibration_error, reliability, softmax
from blocklora.training.retrain import finish
from blocklora.training.state import start_state
from blocklora.training.subset import Everything, on_images


@pytest.mark.parametrize("class_weights", ["images", "text"])
def test_each_fold_is_a_training_of_its_own(make_tiny_run: Callable, class_weights: str) -> None:
    setup, state = fitted(make_tiny_run(class_weights=class_weights, patience=None))
    first, everything, parts = measure_held_out(setup), Everything.of(setup), Parts.of(setup)
    first.result["preview"] = {"correct": 0}
    events, judged = drain(every_image(setup, state, first, everything, parts, Control()))
    section = judged.result["cross_validated"]
    assert section["n"] == 24 and section["folds"] == len(parts.indices) == 4 and sum(map(sum, section["confusion"])) == 24
    assert len({row["image_id"] for row in section["images"]}) == 24
    told = [event for event in events if isinstance(event, Estimating)]
    assert {event.part for event in told} == {2, 3, 4} and told[-1].done == 1.0 and not any(isinstance(e, Step) for e in events)

    part = parts.indices[2]  # done by hand
    fold = on_images(setup, everything, [i for i in everything.indices if i not in part], (), 12)
    assert len(fold.cache) == 24 - len(part)
    again = start_state(fold)
    drain(train(fold, again, 12, Control()))
    images = setup.data.eval_set(part, setup.backbone.preprocess)
    logits = fold.logits(embed_all(fold.backbone, images, fold.compute), final_class_weights(fold)).numpy()
    wanted = softmax(logits / judged.temperature)
    rows = {row["image_id"]: row for row in section["images"]}
    for index, probabilities in zip(part, wanted, strict=True):
        row = rows[setup.data.dataset.items[index].image_id]
        assert row["predicted"] == probabilities.argmax() and row["probability"] == pytest.approx(probabilities.max(), abs=1e-5)
    held = {setup.data.dataset.items[i].image_id for i in setup.data.held_out}
    for row in first.result["held_out"]["images"]:  # the first fold is the training that has been done already
        assert row["image_id"] in held and rows[row["image_id"]]["predicted"] == row["predicted"]


def test_with_time_enough_all_images_count_and_the_kept_version_is_back(make_tiny_run: Callable) -> None:
    setup, state = fitted(make_tiny_run(retrain="no", estimate_minutes=60.0))
    before = adapters(setup)
    _, measured = drain(finish(setup, state, Control()))
    assert same(before, adapters(setup)) and same(before, measured.kept)
    result = measured.result
    assert result["cross_validated"]["n"] == 24 and result["held_out"]["n"] == 6
    assert result["verdict"].startswith(f"Right on {result['cross_validated']['correct']} of 24 images, each judged by a model")
    assert result["temperature"] == measured.temperature
    assert result["calibration"]["n"] == 24 and 0 <= result["calibration"]["ece_after"] <= 1


def test_without_time_the_held_out_images_count_and_the_head_is_judged(make_tiny_run: Callable) -> None:
    setup, state = fitted(make_tiny_run(estimate_minutes=0.0))
    events, measured = drain(finish(setup, state, Control()))
    assert "cross_validated" not in measured.result and not any(isinstance(e, Estimating) for e in events)
    preview, curve = measured.result["preview"], measured.result["learning_curve"]
    assert preview["n"] == 24 and 0 < preview["interval"][0] < preview["top1"] <= 1
    assert [row["shots"] for row in curve["points"]] == [1, 2, 4]
    assert all(row["low"] <= row["top1"] <= row["high"] for row in curve["points"])


def test_images_that_nothing_is_held_out_of_are_judged_too(make_tiny_run: Callable) -> None:
    setup, state = fitted(make_tiny_run(held_out=0.0, estimate_minutes=60.0))
    _, measured = drain(finish(setup, state, Control()))
    assert measured.result["held_out"]["n"] == 0 and measured.result["cross_validated"]["n"] == 24


def test_stopped_in_it_the_held_out_figure_counts_and_nothing_is_trained_anew(make_tiny_run: Callable) -> None:
    control = Control()
    setup, state = fitted(make_tiny_run(steps=40, retrain="yes", patience=None, estimate_minutes=60.0), control)
    before, notes, steps = adapters(setup), [], 0
    finishing = finish(setup, state, control)
    while True:
        try:
            event = next(finishing)
        except StopIteration as done:
            measured = done.value
            break
        notes += [event.message] if isinstance(event, Note) else []
        steps += isinstance(event, Step)
        if isinstance(event, Estimating):
            control.stop()
    assert "before every image was judged" in notes[-1] and not steps
    assert same(before, adapters(setup)) and "cross_validated" not in measured.result
    assert "since_trained_on" not in measured.result["held_out"]


def test_the_time_is_foretold_from_the_pace_so_far(make_tiny_run: Callable) -> None:
    setup, state = fitted(make_tiny_run())
    parts = Parts.of(setup)
    state.progress.seconds, state.progress.step, state.progress.best_step = 20.0, 10, 5
    assert seconds_needed(state, parts, held_out=True) == pytest.approx(1.15 * 2.0 * 5 * 3)
    assert seconds_needed(state, parts, held_out=False) == pytest.approx(1.15 * 2.0 * 5 * 4)


# ---- the closed-form head


def clouds(n_each: int, classes: int = 3, noise: float = 0.6) -> Features:
    random = np.random.default_rng(0)
    centres = random.normal(size=(classes, 12))
    values = np.concatenate([centre + noise * random.normal(size=(n_each, 12)) for centre in centres])
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return Features(torch.tensor(values, dtype=torch.float32), torch.arange(classes).repeat_interleave(n_each))


IMAGES = Choice("images", 0.0, 0.0, 0.0, False, "")


def test_no_image_is_judged_by_a_head_that_it_is_part_of() -> None:
    features = clouds(8)
    parts = [range(start, 24, 4) for start in range(4)]
    found = head_logits(IMAGES, features, torch.zeros(3, 12), parts, 10.0)
    wrong = Features(features.values, features.labels.clone())
    wrong.labels[0] = 2  # what an image is called changes other images' answers, never its own
    changed = head_logits(IMAGES, wrong, torch.zeros(3, 12), parts, 10.0)
    own = list(parts[0])
    assert torch.equal(found[own], changed[own]) and not torch.equal(found[1], changed[1])


def test_more_images_help_where_classes_are_noisy() -> None:
    features = clouds(32, classes=6, noise=1.5)
    parts = [range(start, 192, 5) for start in range(5)]
    rows = learning_curve(IMAGES, features, torch.zeros(6, 12), parts, 1)
    assert [row["shots"] for row in rows] == [1, 2, 4, 8, 16]
    assert rows[-1]["top1"] > rows[0]["top1"] + 0.1
    c = slope(rows)
    assert c is not None and 0 < c <= 1
    assert with_twice(0.8, rows) == pytest.approx(1 - 0.2 * 2**-c)


@pytest.mark.parametrize(
    "shares, expected",
    [([0.2, 0.6, 0.8, 0.9], 1.0), ([0.5, 0.5, 0.5], 0.0), ([0.9, 0.8, 0.7], 0.0), ([0.5, 0.6], None), ([0.5, 0.9, 1.0], None)],
)
def test_the_slope_is_that_of_a_power_law_within_reason(shares: list[float], expected: float | None) -> None:
    found = slope([{"shots": 2**i, "top1": share} for i, share in enumerate(shares)])
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-6))


# ---- calibration


def test_confidence_that_is_kept_is_no_error_and_bragging_is() -> None:
    random = np.random.default_rng(1)
    honest = random.uniform(0.5, 1.0, 4000)
    labels = (random.uniform(size=4000) > honest).astype(int)  # class 0 is right as often as it is believed
    probabilities = np.stack([honest, 1 - honest], axis=1)
    error = calibration_error(reliability(probabilities, labels))
    assert error is not None and error < 0.03
    logits = 4 * np.log(probabilities)
    bragging = calibration_error(reliability(softmax(logits), labels))
    assert bragging is not None and bragging > 0.1
    found = calibration(logits, labels, [np.arange(0, 2000), np.arange(2000, 4000)])
    assert found is not None and found["ece_before"] == pytest.approx(bragging) and found["ece_after"] < 0.04
    assert sum(row["n"] for row in found["after"]) == 4000


def test_few_images_have_no_calibration() -> None:
    assert calibration(np.zeros((9, 2)), np.zeros(9, dtype=int), []) is None
    assert calibration_error([]) is None
