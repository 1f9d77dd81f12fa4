"""The measurement at the end of a run: what the version that is kept does on images it never saw."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch

from blocklora.training.familiarity import Familiarity, familiarity_of
from blocklora.training.leaks import counted_tests
from blocklora.training.leaks import rows as leak_rows
from blocklora.training.metrics import fit_temperature, report, softmax
from blocklora.training.rotations import rotation_words
from blocklora.training.setup import Before, Setup


@dataclass(frozen=True)
class Measured:
    """The final class weights (C, D), the fitted temperature, the result as JSON values, and the logits (N, C) of the held-out images.

    `familiarity` belongs to the version that is published. `kept` is the version that the held-out figure belongs to: all trained tensors,
    and "class_weights".
    """

    class_weights: torch.Tensor
    temperature: float
    result: dict[str, Any]
    logits: np.ndarray
    familiarity: Familiarity | None = None
    kept: dict[str, torch.Tensor] = field(default_factory=dict)


def final_class_weights(setup: Setup) -> torch.Tensor:
    """Class weights (C, D) of the version that is kept, fp32 on the CPU."""
    with torch.inference_mode():
        text = setup.step_text()
        return setup.class_weights(None if text is None else text.float()).float().cpu().clone()


def section_of(
    setup: Setup, labels: np.ndarray, logits: np.ndarray, temperature: float, items: list[Any], familiar: np.ndarray | None = None
) -> dict[str, Any]:
    """A report on one set of images, each with its file, from their labels (N,) and logits (N, C), and how familiar they look (N,)."""
    section = report(softmax(logits / temperature), labels, setup.data.dataset.class_names)
    for row, item in zip(section["images"], items, strict=True):
        row["path"], row["image_id"] = item.path, item.image_id
    for row, score in zip(section["images"], () if familiar is None else familiar, strict=familiar is not None):
        row["familiar"] = float(score)
    return section


def _before(before: Before, chance: float) -> dict[str, Any]:
    return {
        "n": before.n,
        "correct": before.zero_shot,
        "top1": before.zero_shot / before.n if before.n else None,
        "chance": chance,
    }


def verdict(section: dict[str, Any], before: Before, names_known: bool) -> str:
    """The result in plain words, with the figures that put it into proportion beside it."""
    if not section["n"]:
        return "No images were kept aside, so nobody knows yet how good it is. It takes three a class, and a held-out share above 0."
    words = f"Right on {section['correct']} of {section['n']} images it never saw."
    words += f" Before training: {before.start}."
    if names_known:
        words += f" From the class names alone: {before.zero_shot}."
    words += _trend(section["correct"], before.start)
    if section["n"] < 20:
        words += " So few images say little: one more or less moves the share by " + f"{1 / section['n']:.0%}."
    return words


def verdict_of_all(section: dict[str, Any], preview: dict[str, Any]) -> str:
    """The result of cross-validation in plain words, beside what the closed-form head has right of the same images."""
    words = f"Right on {section['correct']} of {section['n']} images, each judged by a model that had not seen it."
    words += f" Without training: {preview['correct']}."
    return words + _trend(section["correct"], preview["correct"])


def _trend(now: int, before: int) -> str:
    """A plain warning where training brought nothing, of the same images."""
    if now < before:
        return " Training did not help here; more varied images would."
    return " Training changed nothing that these images show." if now == before else ""


def measure(setup: Setup) -> Measured:
    """Measure the version that is kept on the held-out images, and on the person's own test images where there are some."""
    return with_test(measure_held_out(setup), setup)


def measure_held_out(setup: Setup) -> Measured:
    """Measure the version that is kept on the held-out images."""
    weights = final_class_weights(setup)
    features, familiarity = setup.held_out_features(), familiarity_of(setup)
    held_logits = setup.logits(features, weights).numpy()
    temperature = fit_temperature(held_logits, setup.held_out.labels.numpy())
    dataset, chance = setup.data.dataset, 1 / len(setup.data.dataset.class_names)
    items, scores = [dataset.items[i] for i in setup.data.held_out], None if familiarity is None else familiarity.scores(features)
    held = section_of(setup, setup.held_out.labels.numpy(), held_logits, temperature, items, scores)
    result: dict[str, Any] = {
        "held_out": held,
        "zero_shot": {**_before(setup.before, chance), "offered": setup.choice.names_known},
        "frozen": {
            "n": setup.before.n,
            "correct": setup.before.start,
            "top1": setup.before.start / setup.before.n if setup.before.n else None,
        },
        "choice": asdict(setup.choice),
        "class_weights": setup.choice.mode,
        "text_share": setup.choice.text_share,
        "class_weights_note": setup.choice.note,
        "rotations_note": rotation_words(setup.choice.rotated, setup.spec.training),
        "temperature": temperature,
        "logit_scale": setup.backbone.logit_scale,
        "verdict": verdict(held, setup.before, setup.choice.names_known),
    }
    return Measured(weights, temperature, result, held_logits, familiarity)


def with_test(measured: Measured, setup: Setup) -> Measured:
    """`measured` with the section on the person's own test images, where there are some: the adapters as they are now, with its class
    weights and temperature.
    """
    if setup.test is None or setup.data.test is None or setup.before_test is None:
        return measured
    counted = counted_tests(len(setup.test), setup.leaks)
    features = setup.embed(setup.test)[counted]
    logits = setup.logits(features, measured.class_weights).numpy()
    scores = None if measured.familiarity is None else measured.familiarity.scores(features)
    items = [setup.data.test.items[i] for i in counted]
    section = section_of(setup, setup.test.labels[counted].numpy(), logits, measured.temperature, items, scores)
    section["leaks"] = leak_rows(setup.leaks, setup.data.test, setup.data.dataset)
    words = verdict(section, setup.before_test, setup.choice.names_known)
    return replace(measured, result={**measured.result, "test": section, "verdict": words})
