"""Whether it matters which side of a picture is up.

An aerial photograph, a surface or a slide under a microscope has no top: turned by a quarter it is one more picture of its class, and worth
learning from. A shoe has one, and learning from turned shoes would cost. The images themselves tell which: a closed-form classifier is made
of images as they are, and others are judged by the mean of what the model makes of their four quarter turns. Where the top says something,
that mean is far worse than the upright picture alone; where it does not, it is as good or better (`tests/benchmarks/rotations.py`).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from itertools import chain

import torch
import torch.nn.functional as F

from blocklora.clip.backbones import Backbone
from blocklora.config import TrainingConfig
from blocklora.jobs.events import Caching, Event
from blocklora.speeds import ROTATED_AT_MOST
from blocklora.training.class_weights import Features, judged_by_others, suited_temperature
from blocklora.training.device import Compute
from blocklora.training.entering import embed
from blocklora.training.image_cache import ImageCache
from blocklora.training.pictures import CHUNK, EvalSet

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


def mean_of_turns(backbone: Backbone, inputs: torch.Tensor, upright: torch.Tensor, compute: Compute) -> torch.Tensor:
    """Normalised mean (N, D) of the embeddings of all four quarter turns of model inputs (N, 3, S, S), whose own are `upright` (N, D)."""
    with torch.inference_mode(), compute.autocast():
        return F.normalize(upright + sum(embed(backbone, torch.rot90(inputs, k, (2, 3)), compute) for k in (1, 2, 3)), dim=1)


def rotations_serve(
    training: TrainingConfig,
    backbone: Backbone,
    compute: Compute,
    cache: ImageCache,
    train: Features,
    held_out: EvalSet,
    held: Features,
) -> Generator[Event, None, bool]:
    """Whether the steps are to learn from quarter turns too: as the recipe says, or as evenly chosen ones of all images say."""
    if training.rotations != "auto":
        return training.rotations == "yes"
    step = -(-(len(train.labels) + len(held.labels)) // ROTATED_AT_MOST)
    upright = Features(torch.cat([train.values[::step], held.values[::step]]), torch.cat([train.labels[::step], held.labels[::step]]))
    count, n_classes = len(upright.labels), int(train.labels.max()) + 1
    if not enough(count, n_classes):
        return False
    turned: list[torch.Tensor] = []
    waiting: list[torch.Tensor] = []
    done = 0
    some = cache.only(range(0, len(cache), step)).inputs(backbone.preprocess)
    for inputs in chain(some, held_out.only(range(0, len(held_out), step)).chunks()):
        waiting.append(inputs)
        ready = sum(len(part) for part in waiting)
        if ready >= CHUNK or done + ready == count:
            turned.append(mean_of_turns(backbone, torch.cat(waiting), upright.values[done : done + ready], compute))
            waiting, done = [], done + ready
            yield Caching(done, count, views=True)
    return evidence(upright, torch.cat(turned), n_classes, backbone.logit_scale).no_top


def rotation_words(rotated: bool, training: TrainingConfig) -> str:
    """What is to be said of quarter turns; '' where images are learned from as they are."""
    if not rotated:
        return ""
    why = "as asked" if training.rotations == "yes" else "which side is up tells nothing here"
    return f"It learns from quarter turns of your images too: {why}."
