"""Whether it matters which side of a picture is up.

An aerial photograph, a surface or a slide under a microscope has no top: turned by a quarter it is one more picture of its class, and worth
learning from; and the mean of what a model makes of its four turns is worth more than any one of them. A shoe has a top, and both would
cost. The images themselves tell which: a closed-form classifier is made of images as they are, and others are judged by the mean of their
four turns. Where the top says something, that mean is far worse than the upright picture alone; where it does not, it is as good or better
(`tests/benchmarks/rotations.py`). Where it serves, a picture is seen so from there on: in training, in every measurement, in the file.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from blocklora.config import TrainingConfig
from blocklora.jobs.events import Caching, Event
from blocklora.speeds import ROTATED_AT_MOST
from blocklora.training.class_weights import Features, judged_by_others, suited_temperature
from blocklora.training.entering import Entering
from blocklora.training.pictures import EvalSet

WORSE = 0.1
"""The share by which the loss may rise, one standard error counted against it, with the top still taken to mean nothing."""
FEWEST, FEWEST_A_CLASS = 24, 4
"""Images that it takes to tell; with fewer, a top is taken for granted."""


@dataclass(frozen=True)
class Evidence:
    """Mean loss of images judged upright and by the mean of their quarter turns, the standard error of the difference, and the upright
    ones' share of right answers.
    """

    upright: float
    turned: float
    error: float
    right: float

    @property
    def no_top(self) -> bool:
        """Whether the top means nothing. Where every upright image is judged rightly there is nothing to gain, and nothing to tell by."""
        return self.right < 1 and self.turned - self.upright + self.error <= WORSE * self.upright


def evidence(images: Features, turned: torch.Tensor, n_classes: int, scale: float) -> Evidence:
    """How much the top says about these images.

    Args:
        turned: (N, D) what the images become where all four quarter turns are looked at, normalised.
        scale: factor of the cosines in the backbone's logits.
    """
    y = images.labels
    losses, logits = [], judged_by_others(images, torch.stack([images.values, turned]), n_classes) * scale  # (2, N, C)
    for found in logits:
        losses.append(F.cross_entropy(found / suited_temperature(found, y), y, reduction="none"))
    upright, more = losses[0].mean().item(), losses[1] - losses[0]
    right = (logits[0].argmax(dim=1) == y).double().mean().item()
    return Evidence(upright, losses[1].mean().item(), more.std().item() / len(y) ** 0.5, right)


def enough(images: int, n_classes: int) -> bool:
    """Whether so many images can tell."""
    return images >= max(FEWEST, FEWEST_A_CLASS * n_classes)


def turned_embeddings(
    wish: str, entering: Entering, images: EvalSet, upright: torch.Tensor, scale: float
) -> Generator[Event, None, torch.Tensor | None]:
    """Embeddings (N, D) of all images, by all turns of each, where quarter turns serve; None where images are to stay as they are.

    Args:
        wish: "yes", "no", or "auto": whether it serves is found out on the images, evenly chosen ones where there are many.
        entering: looks at all turns.
        images: all of a run.
        upright: (N, D) what they are as they are.
        scale: factor of the cosines in the backbone's logits.
    """
    count, n_classes = len(images), int(images.labels.max()) + 1
    first = range(0, count, -(-count // ROTATED_AT_MOST))
    if wish == "no" or (wish == "auto" and not enough(len(first), n_classes)):
        return None
    found = torch.zeros_like(upright)
    if wish == "auto":
        yield from _look(entering, images, first, found)
        places = list(first)
        if not evidence(Features(upright[places], images.labels[places]), found[places], n_classes, scale).no_top:
            return None
    yield from _look(entering, images, range(count) if wish == "yes" else [i for i in range(count) if i not in first], found)
    return found


def _look(entering: Entering, images: EvalSet, places: Sequence[int], found: torch.Tensor) -> Generator[Event, None, None]:
    """Embeddings of the images at `places`, into `found`."""
    some, done = images.only(places), 0
    with torch.inference_mode():
        for inputs in some.chunks():
            part = slice(done, done + len(inputs))
            found[list(places[part])] = entering.embed(some.paths[part], inputs)
            done += len(inputs)
            yield Caching(done, len(places), views=True)


def rotation_words(rotated: bool, training: TrainingConfig) -> str:
    """What is to be said of quarter turns; '' where images are learned from as they are."""
    if not rotated:
        return ""
    why = "as asked" if training.rotations == "yes" else "which side is up tells nothing here"
    return f"It learns from quarter turns of your images and answers from all four of a picture, which takes four times the work: {why}."
