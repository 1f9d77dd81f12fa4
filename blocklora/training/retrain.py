"""What follows the version that is kept: it is measured, and where the recipe says so, the file is trained anew on all images.

A held-out figure needs images that training never saw. The file that a person takes away need not do without them: where there are few
images, a fifth more of them is worth more than any setting. So the held-out images choose the kind of class weights and the number
of steps, and say how good that is; then the same is done again with them among the training images. The figure stays that of the first
training, which had fewer images to learn from (as with cross-validation followed by a fit on everything: Hastie et al. 2009, chapter 7.10).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from pathlib import Path

import torch

from blocklora.jobs.events import Evaluating, Event, Note, Step
from blocklora.training.class_weights import ClassWeights, Features
from blocklora.training.control import Control
from blocklora.training.evaluate import Measured, final_class_weights, measure_held_out, with_test
from blocklora.training.loop import train
from blocklora.training.others import with_others
from blocklora.training.pictures import decoded
from blocklora.training.setup import Data, Setup, views_of
from blocklora.training.state import State, start_state


def finish(
    setup: Setup, state: State, control: Control, folder: Path | None = None, go_on: bool = True
) -> Generator[Event, None, Measured]:
    """Measure the version that is kept, then train anew on all images where the recipe asks for it; closes `setup`.

    Args:
        folder: where views are kept that memory does not hold.
        go_on: False where a person wants the run to end here.

    Returns:
        What is to be published: class weights of the last version (its adapters are in the model), held-out figures and temperature of
        the first one, and figures on the person's test images, which neither was trained on, of the last one.
    """
    yield Evaluating(state.progress.best_step)
    with control.unheard():
        measured = measure_held_out(setup)
    if setup.spec.training.retrain == "yes" and len(setup.held_out) and go_on and not control.stopping:
        weights = yield from _anew(setup, state, control, folder)
        if weights is not None:
            measured = _since_trained_on(measured, weights)
    setup.close()
    with control.unheard():
        return with_others(with_test(measured, setup), setup)


def _anew(setup: Setup, state: State, control: Control, folder: Path | None) -> Generator[Event, None, torch.Tensor | None]:
    """Class weights (C, D) of the second training; None, and the adapters of the first, where a person stopped it."""
    first = {name: parameter.detach().clone() for name, parameter in state.named.items()}
    steps, done = state.progress.best_step, state.progress.step
    larger = with_held_out(setup, steps, folder)
    yield Note(
        f"Trained anew on all {len(larger.cache)} images, for {steps} steps, since the held-out ones have been measured. "
        "The held-out figure is that of the training before."
    )
    training = train(larger, start_state(larger, state.progress.micro_batch), steps, control)
    while True:
        try:
            event = next(training)
        except StopIteration as ended:
            stopped = bool(ended.value)
            break
        if isinstance(event, Step):
            yield dataclasses.replace(event, step=done + event.step, steps=done + steps)
    larger.close()
    if not stopped:
        return final_class_weights(larger)
    with torch.no_grad():
        for name, parameter in state.named.items():
            parameter.copy_(first[name])
    yield Note("Stopped, as asked: the version that was measured is the one that is kept.")
    return None


def with_held_out(setup: Setup, steps: int, folder: Path | None = None) -> Setup:
    """`setup` as before its first step, with the held-out images among those to learn from and none held out, for `steps` steps.

    The adapters are the same modules, set back to their start. The kind of class weights stays; they are made of all images.
    """
    data, backbone = setup.data, setup.backbone
    setup.close()
    cache = setup.cache.copy()
    for image in decoded([Path(data.dataset.items[i].path) for i in data.held_out]):
        cache.add(image)
    with torch.no_grad():
        for name, parameter in setup.adapters.named_parameters():
            parameter.copy_(setup.untrained[name])
    parts = (setup.frozen, setup.frozen_held)
    frozen = Features(torch.cat([part.values for part in parts]), torch.cat([part.labels for part in parts]))
    training = dataclasses.replace(setup.spec.training, steps=max(1, steps))
    return dataclasses.replace(
        setup,
        spec=dataclasses.replace(setup.spec, training=training),
        data=Data(data.dataset, (*data.train, *data.held_out), (), data.test, data.divided),
        cache=cache,
        frozen=frozen,
        labels=frozen.labels.clone(),
        held_out=data.eval_set((), backbone.preprocess),
        class_weights=ClassWeights(setup.choice, frozen, setup.class_weights.text.cpu().clone()).to(setup.compute.device),
        views=views_of(setup.image_split, cache, backbone, setup.compute, training, folder),
        _held_hidden=None,
    )


def _since_trained_on(measured: Measured, weights: torch.Tensor) -> Measured:
    """`measured` for a version that has learned from the held-out images too, and that says so."""
    held = {**measured.result["held_out"], "since_trained_on": True}
    words = f"{measured.result['verdict']} The file was then trained anew on all images, these included."
    return Measured(weights, measured.temperature, {**measured.result, "held_out": held, "verdict": words})
