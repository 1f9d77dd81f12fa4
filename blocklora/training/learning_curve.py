"""Would more images help? Measured on parts of the images that are there, with the closed-form head on the frozen model's features.

The head takes milliseconds, so it can be made of 1, 2, 4, ... images a class over and over; training could not. What it says is the
slope: how much of the error goes away when the images double.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from blocklora.training.class_weights import Choice, Features, blend, class_means, discriminant_weights

DRAWS = 5
MANY = 5_000  # images; from here on one draw of each size is enough, and all that time allows
FITTED = 3  # largest sizes that the slope is taken from
STEEPEST = 1.0  # error ~ 1 / images: faster than this is luck, not a law


def head_of(choice: Choice, features: Features, text: torch.Tensor) -> torch.Tensor:
    """Class weights (C, D) in closed form, of the kind that was chosen for a run, without scale and temperature."""
    if choice.discriminant:
        return choice.discriminant * discriminant_weights(features, len(text))
    return blend(text, class_means(features, len(text)), choice.text_share)


def head_logits(choice: Choice, features: Features, text: torch.Tensor, parts: Sequence[Sequence[int]], scale: float) -> torch.Tensor:
    """Logits (N, C) of every image by the closed-form head of the images in the other parts (positions in `features`)."""
    logits = torch.zeros(len(features.labels), len(text))
    for part in parts:
        mask = torch.ones(len(features.labels), dtype=torch.bool)
        mask[list(part)] = False
        head = head_of(choice, features.of(mask), text)
        logits[list(part)] = features.values[list(part)] @ head.T * scale
    return logits


def _drawn(labels: torch.Tensor, allowed: torch.Tensor, shots: int, random: np.random.Generator) -> list[int]:
    """Positions of at most `shots` images of each class among those that are allowed."""
    chosen: list[int] = []
    for label in labels.unique().tolist():
        own = torch.nonzero(allowed & (labels == label))[:, 0].numpy()
        chosen += random.permutation(own)[:shots].tolist()
    return chosen


def learning_curve(
    choice: Choice, features: Features, text: torch.Tensor, parts: Sequence[Sequence[int]], seed: int
) -> list[dict[str, float | int]]:
    """Share of right answers by images a class to learn from: 1, 2, 4, ... up to what the parts leave; mean and extremes over draws.

    Each image is judged by a head of images from the other parts, as in `head_logits`.
    """
    labels = features.labels
    everything = torch.bincount(labels)
    most = min(int((everything - torch.bincount(labels[list(part)], minlength=len(everything))).max()) for part in parts)
    sizes = [2**power for power in range(int(math.log2(max(1, most))) + 1)]
    draws = DRAWS if len(labels) < MANY else 1
    rows: list[dict[str, float | int]] = []
    for shots in sizes:
        shares = []
        for number in range(draws):
            random = np.random.default_rng((seed, shots, number))
            right = 0
            for part in parts:
                allowed = torch.ones(len(labels), dtype=torch.bool)
                allowed[list(part)] = False
                chosen = _drawn(labels, allowed, shots, random)
                head = head_of(choice, features.of(chosen), text)
                right += int(((features.values[list(part)] @ head.T).argmax(dim=1) == labels[list(part)]).sum())
            shares.append(right / sum(len(part) for part in parts))
        rows.append({"shots": shots, "top1": sum(shares) / draws, "low": min(shares), "high": max(shares)})
    return rows


def slope(rows: Sequence[dict[str, Any]]) -> float | None:
    """The c of error = b * shots^-c, over the largest sizes (power laws of learning: Cortes et al. 1994, Hestness et al. 2017,
    arXiv 1712.00409); between 0 and `STEEPEST`. None where fewer than three sizes were measured, or nothing is left to learn.
    """
    used = [(row["shots"], 1 - row["top1"]) for row in rows][-FITTED:]
    if len(used) < FITTED or min(error for _, error in used) <= 0:
        return None
    x, y = np.log([shots for shots, _ in used]), np.log([error for _, error in used])
    return float(min(STEEPEST, max(0.0, -np.polyfit(x, y, 1)[0])))


def with_twice(top1: float, rows: Sequence[dict[str, Any]]) -> float | None:
    """The share of right answers to expect with twice the images, of a model that has `top1` right with these; None where nobody knows."""
    found = slope(rows)
    return None if found is None else 1 - (1 - top1) * 2**-found
