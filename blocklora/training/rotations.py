"""Whether it matters which side of a picture is up.

An aerial photograph, a surface or a slide under a microscope has no top: turned by a quarter it is one more picture of its class, and worth
learning from; and the mean of what a model makes of its four turns is worth more than any one of them. A shoe has a top, and both would
cost. The images themselves tell which: a closed-form classifier of some as they are judges the others as they are, and the means of their
four turns; and one that is made of such means judges means. Where either is no worse, a picture is seen by its turns from there on: in
training, in every measurement, in the file (`tests/benchmarks/rotations.py`).
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

REPEATS = 5
"""Divisions into folds over which losses are averaged: which images happen to lie together outweighs a small difference otherwise."""
FEWEST, FEWEST_A_CLASS = 24, 4
"""Images that it takes to tell; with fewer, a top is taken for granted."""


@dataclass(frozen=True)
class Loss:
    """A mean loss, and the standard error of its difference from that of the same images as they are."""

    mean: float
    error: float


@dataclass(frozen=True)
class Evidence:
    """Losses of images that are judged by a classifier which has not seen them, and the share of right answers of the upright ones.

    `upright` is the mean loss of images as they are; `looked_at` that of the means of their turns by the same classifier, `all_through`
    that of means by a classifier that was made of means.
    """

    upright: float
    looked_at: Loss
    all_through: Loss
    right: float

    @property
    def no_top(self) -> bool:
        """Whether the top means nothing. Where every upright image is judged rightly there is nothing to gain, and nothing to tell by.

        The first way tells best with few images a class, the second where turned images can be told apart as well, but otherwise.
        """
        return self.right < 1 and min(self.looked_at.mean, self.all_through.mean) <= self.upright


def evidence(upright: torch.Tensor, turned: torch.Tensor, labels: torch.Tensor, n_classes: int, scale: float) -> Evidence:
    """How much the top says about images of `labels` (N,).

    Args:
        upright: (N, D) embeddings of the images as they are.
        turned: (N, D) normalised means of those of their quarter turns.
        scale: factor of the cosines in the backbone's logits.
    """
    losses, right = torch.zeros(3, len(labels)), 0
    for number in range(REPEATS):
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(number))
        y, looks = labels[order], torch.stack([upright[order], turned[order]])
        by_upright = judged_by_others(Features(looks[0], y), looks, n_classes)
        by_means = judged_by_others(Features(looks[1], y), looks[1:], n_classes)
        for way, logits in enumerate(torch.cat([by_upright, by_means]) * scale):
            losses[way, order] += F.cross_entropy(logits / suited_temperature(logits, y), y, reduction="none") / REPEATS
        right += int((by_upright[0].argmax(dim=1) == y).sum())
    looked_at, all_through = (Loss(found.mean().item(), (found - losses[0]).std().item() / len(labels) ** 0.5) for found in losses[1:])
    return Evidence(losses[0].mean().item(), looked_at, all_through, right / (REPEATS * len(labels)))


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
        if not evidence(upright[places], found[places], images.labels[places], n_classes, scale).no_top:
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
    return f"It learns from quarter turns of your images and answers from all four of a picture, for four times the work: {why}."
