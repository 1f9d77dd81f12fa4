"""How much each picture's label is to be doubted, before any training: what heads say of it that were made without it.

Two closed-form heads on the frozen features judge every picture from the others' labels: class means (with the class names, where these
mean something), which hardly follow a single wrong label, and discriminant analysis, which tells fine differences. The geometric mean of
their calibrated probabilities finds planted wrong labels better than either (`tests/benchmarks/data_check.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from blocklora.training.class_weights import Choice, Features, discriminant_weights, left_out_logits
from blocklora.training.metrics import fit_temperature, softmax

FOLDS = 10
FIT_ROWS = 4_000  # images that a temperature is fitted on


def left_out_probabilities(
    features: Features, text: torch.Tensor, choice: Choice, scale: float, parts: Sequence[Sequence[int]]
) -> np.ndarray:
    """Probabilities (N, C) of each picture's classes by heads that it had no part in.

    Args:
        features: of all pictures; every class has one.
        text: (C, D) normalised class weights of the names; used as far as `choice` found them to mean something.
        parts: the pictures in parts (positions), near copies in one part; the discriminant judges a part from the others.
    """
    share = choice.text_share if choice.names_known else 0.0
    labels = features.labels.numpy()
    means = left_out_logits(features, text, len(text), share).numpy() * scale
    apart = _apart(features, len(text), parts).numpy() * scale
    joint = np.sqrt(_calibrated(means, labels) * _calibrated(apart, labels))
    return joint / np.maximum(joint.sum(axis=1, keepdims=True), 1e-12)


def _apart(features: Features, n_classes: int, parts: Sequence[Sequence[int]]) -> torch.Tensor:
    """Logits (N, C) of discriminant weights, each part's from the pictures of the other parts."""
    logits = torch.zeros(len(features.labels), n_classes)
    for part in parts:
        rest = torch.ones(len(features.labels), dtype=torch.bool)
        rest[list(part)] = False
        others = features.of(rest)
        found = features.values[list(part)] @ discriminant_weights(others, n_classes).T
        unseen = torch.bincount(others.labels, minlength=n_classes) == 0  # of which nothing is left is nobody's answer
        logits[list(part)] = torch.where(unseen, found.min() - 1, found)
    return logits


def _calibrated(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    step = max(1, len(labels) // FIT_ROWS)
    return softmax(logits / fit_temperature(logits[::step], labels[::step]))


def nearness(features: Features, n_classes: int) -> np.ndarray:
    """Cosine (N,) of each picture to the class mean that it is nearest to, itself left out of its own."""
    return left_out_logits(features, None, n_classes, 0.0).max(dim=1).values.numpy()
