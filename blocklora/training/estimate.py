"""How good it is, from all images and not only from the few held out: each one judged by a model that had not seen it.

A fifth of a dozen images a class says little. Cross-validation judges all of them: the training is done again without each part in
turn (the held-out images are the first part, and that training has been done already), with the recipe, the kind of class weights and
the number of steps that the held-out images chose. It costs a training for each part, so it is done where that fits the time that the
recipe allows; otherwise the held-out figure stays the one that counts. The closed-form head on the frozen features is cross-validated
in any case, on the same parts: it is what the figure has to beat, and it tells what more images would bring.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np

from blocklora.jobs.events import Estimating, Event, Note, Step
from blocklora.projects.folds import folds, how_many
from blocklora.training.control import Control
from blocklora.training.evaluate import Measured, final_class_weights, section_of, verdict_of_all
from blocklora.training.familiarity import familiarity_of
from blocklora.training.learning_curve import head_logits, learning_curve, with_twice
from blocklora.training.loop import train
from blocklora.training.metrics import calibration, fit_temperature, report, softmax
from blocklora.training.setup import Setup
from blocklora.training.state import State, start_state
from blocklora.training.subset import Everything, on_images

FIXED = 1.15  # what a fold takes beside its steps: views that nobody asked for before, its images decoded and embedded


@dataclass(frozen=True)
class Parts:
    """The folds of a run: indices into its dataset, the held-out images first where there are some."""

    indices: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, setup: Setup) -> Parts:
        data = setup.data
        number = how_many(data.dataset, data.held_out)
        return cls(tuple(folds(data.dataset, data.held_out, number, setup.spec.training.seed)))


def without_training(setup: Setup, everything: Everything, parts: Parts) -> dict[str, Any]:
    """What the closed-form head says of all images: `preview` (a report without its images) and `learning_curve`."""
    places = [everything.places(part) for part in parts.indices]
    text = setup.class_weights.text.cpu()
    logits = head_logits(setup.choice, everything.frozen, text, places, setup.backbone.logit_scale).numpy()
    labels = everything.frozen.labels.numpy()
    probabilities = softmax(logits / fit_temperature(logits, labels))
    judged = report(probabilities, labels, setup.data.dataset.class_names)
    rows = learning_curve(setup.choice, everything.frozen, text, places, setup.spec.training.seed)
    return {
        "preview": {key: judged[key] for key in ("n", "correct", "top1", "interval")} | {"folds": len(places)},
        "learning_curve": {"points": rows, "twice": with_twice(judged["top1"], rows)},
    }


def seconds_needed(state: State, parts: Parts, held_out: bool) -> float:
    """About how long the trainings of all parts take that have not been done yet, from the pace of the steps so far."""
    progress = state.progress
    pace = progress.seconds / max(1, progress.step)
    return FIXED * pace * progress.best_step * (len(parts.indices) - held_out)


def every_image(
    setup: Setup, state: State, measured: Measured, everything: Everything, parts: Parts, control: Control
) -> Generator[Event, None, Measured | None]:
    """`measured` with `cross_validated` in its result; None where a person stopped it. The adapters are anybody's afterwards.

    The temperature is that of all images then.
    """
    dataset, steps, held = setup.data.dataset, state.progress.best_step, bool(setup.data.held_out)
    began = time.monotonic()
    logits = dict(zip(setup.data.held_out, measured.logits, strict=True))
    rows = zip(setup.data.held_out, measured.result["held_out"]["images"], strict=True)
    familiar = {i: row["familiar"] for i, row in rows if "familiar" in row}
    rest = parts.indices[held:]
    for number, part in enumerate(rest):
        left_out = set(part)
        train_on = [i for i in everything.indices if i not in left_out]
        fold = on_images(setup, everything, train_on, (), steps)
        watched = dataclasses.replace(fold.spec.training, patience=None)
        fold = dataclasses.replace(fold, spec=dataclasses.replace(fold.spec, training=watched))
        training = train(fold, start_state(fold, state.progress.micro_batch), steps, control)
        while True:
            try:
                event = next(training)
            except StopIteration as ended:
                stopped = bool(ended.value) and steps > 0
                break
            if isinstance(event, Step):
                done = (number + event.step / steps) / len(rest)
                yield Estimating(number + 1 + held, len(parts.indices), done, _left(began, done))
        if stopped:
            fold.close()
            return None
        with control.unheard():
            images = setup.data.eval_set(part, setup.backbone.preprocess)
            features, familiarity = fold.embed(images), familiarity_of(fold)
            found = fold.logits(features, final_class_weights(fold)).numpy()
        fold.close()
        logits.update(zip(part, found, strict=True))
        familiar.update(zip(part, () if familiarity is None else familiarity.scores(features), strict=False))
    order = sorted(logits)
    pooled, labels = np.stack([logits[i] for i in order]), np.array([dataset.items[i].label for i in order])
    temperature = fit_temperature(pooled, labels)
    place = {index: i for i, index in enumerate(order)}
    scores = np.array([familiar[i] for i in order]) if len(familiar) == len(order) else None
    section = section_of(setup, labels, pooled, temperature, [dataset.items[i] for i in order], scores)
    section |= {"folds": len(parts.indices), "seconds": round(time.monotonic() - began, 1)}
    split = [np.array([place[i] for i in part]) for part in parts.indices]
    result = {
        **measured.result,
        "cross_validated": section,
        "calibration": calibration(pooled, labels, split),
        "temperature": temperature,
        "verdict": verdict_of_all(section, measured.result["preview"]),
    }
    return dataclasses.replace(measured, temperature=temperature, result=result)


def _left(began: float, done: float) -> float:
    """Seconds to go, when the share `done` has been done since `began`."""
    return (time.monotonic() - began) * (1 - done) / max(done, 1e-6)


def judge(
    setup: Setup, state: State, measured: Measured, everything: Everything, control: Control
) -> Generator[Event, None, tuple[Measured, bool]]:
    """All that can be said of how good the recipe is on these images: `measured` with it, and whether a person wants an end now."""
    parts = Parts.of(setup)
    if len(parts.indices) < 2:
        return measured, False
    training, held = setup.spec.training, bool(setup.data.held_out)
    with control.unheard():
        more = without_training(setup, everything, parts)
        held_out = calibration(measured.logits, setup.held_out.labels.numpy(), [])
        measured = dataclasses.replace(measured, result={**measured.result, **more, "calibration": held_out})
    needed = seconds_needed(state, parts, held)
    if setup.start is not None or needed > 60 * training.estimate_minutes:
        return measured, False
    judged = yield from every_image(setup, state, measured, everything, parts, control)
    if judged is None:
        yield Note("Stopped before every image was judged: the figure is that of the held-out ones.")
    return (measured, True) if judged is None else (judged, False)
