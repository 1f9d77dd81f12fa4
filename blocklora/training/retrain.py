"""What follows the version that is kept: it is measured, and where the recipe says so, the file is trained anew on all images.

A held-out figure needs images that training never saw. The file that a person takes away need not do without them: where there are few
images, a fifth more of them is worth more than any setting. So the held-out images choose the kind of class weights and the number
of steps, and say how good that is; then the same is done again with them among the training images. The figure stays that of the first
training, which had fewer images to learn from (as with cross-validation followed by a fit on everything: Hastie et al. 2009, chapter 7.10).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator

import torch

from blocklora.jobs.events import Evaluating, Event, Note, Step
from blocklora.training.control import Control
from blocklora.training.estimate import judge
from blocklora.training.evaluate import Measured, final_class_weights, measure_held_out, with_test
from blocklora.training.familiarity import Familiarity, familiarity_of
from blocklora.training.loop import train
from blocklora.training.others import with_others
from blocklora.training.setup import Setup
from blocklora.training.state import State, start_state
from blocklora.training.subset import Everything, on_images


def finish(setup: Setup, state: State, control: Control, go_on: bool = True) -> Generator[Event, None, Measured]:
    """Measure the version that is kept, judge all images where there is time, then train anew on all of them where the recipe asks for it;
    closes `setup`.

    Args:
        go_on: False where a person wants the run to end here.

    Returns:
        What is to be published: class weights of the last version (its adapters are in the model), held-out figures and temperature of
        the first one, and figures on the person's test images, which neither was trained on, of the last one.
    """
    yield Evaluating(state.progress.best_step)
    with control.unheard():
        measured = measure_held_out(setup)
    kept = {name: parameter.detach().cpu().clone() for name, parameter in state.named.items()}
    measured = dataclasses.replace(measured, kept={**kept, "class_weights": measured.class_weights})
    if go_on and not control.stopping:
        measured = yield from _further(setup, state, measured, control)
    setup.close()
    with control.unheard():
        return with_others(with_test(measured, setup), setup)


def _further(setup: Setup, state: State, measured: Measured, control: Control) -> Generator[Event, None, Measured]:
    """What comes after the first measurement; the adapters of the version to publish are in the model afterwards."""
    with control.unheard():
        everything = Everything.of(setup)
    measured, ended = yield from judge(setup, state, measured, everything, control)
    published = None
    if setup.spec.training.retrain == "yes" and len(setup.held_out) and not ended:
        published = yield from _anew(setup, state, everything, control)
    if published is not None:
        return _since_trained_on(measured, *published)
    with torch.no_grad():
        for name, parameter in state.named.items():
            parameter.copy_(measured.kept[name])
    return measured


def _anew(
    setup: Setup, state: State, everything: Everything, control: Control
) -> Generator[Event, None, tuple[torch.Tensor, Familiarity | None] | None]:
    """Class weights (C, D) of the second training, and how familiar pictures look to it; None where a person stopped it."""
    steps, done = state.progress.best_step, state.progress.step
    larger = on_images(setup, everything, everything.indices, (), steps)
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
        with control.unheard():
            return final_class_weights(larger), familiarity_of(larger)
    yield Note("Stopped, as asked: the version that was measured is the one that is kept.")
    return None


def _since_trained_on(measured: Measured, weights: torch.Tensor, familiarity: Familiarity | None) -> Measured:
    """`measured` for a version that has learned from the held-out images too, and that says so."""
    held = {**measured.result["held_out"], "since_trained_on": True}
    ending = "learned from all of them." if "cross_validated" in measured.result else "was then trained anew on all images, these included."
    result = {**measured.result, "held_out": held, "verdict": f"{measured.result['verdict']} The file {ending}"}
    return dataclasses.replace(measured, class_weights=weights, familiarity=familiarity, result=result)
