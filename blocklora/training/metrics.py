"""What a set of predictions is worth: counts, per-class figures, confusion, calibration. NumPy only; no model in sight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from blocklora.intervals import wilson as wilson

TOP = 3
FINE = 1e-6  # of log T: how closely the temperature is found


def softmax(logits: np.ndarray) -> np.ndarray:
    """Row-wise softmax of (N, C) in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    powers = np.exp(shifted)
    return powers / powers.sum(axis=1, keepdims=True)


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean of -log p(label) over N rows, in nats."""
    probabilities = softmax(logits)[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(probabilities, 1e-12)).mean())


def fit_temperature(logits: np.ndarray, labels: np.ndarray, prior: float = 4.0) -> float:
    """The temperature T that minimises the negative log-likelihood of logits / T on held-out images.

    Guo et al. 2017 (arXiv 1706.04599), with a weak pull towards T = 1 worth `prior` images, because a handful of images that are
    all right would otherwise ask for T = 0. The order of the classes never changes.
    """
    if len(labels) == 0:
        return 1.0

    def cost(log_t: float) -> float:
        return negative_log_likelihood(logits / math.exp(log_t), labels) * len(labels) + prior * 0.5 * log_t**2

    low, high = math.log(0.2), math.log(20.0)
    golden = (math.sqrt(5) - 1) / 2
    # Golden-section search; the cost has one valley in log T for all practical logits. Of the two places that are looked at, one is one of
    # the two before.
    left, right = high - golden * (high - low), low + golden * (high - low)
    at_left, at_right = cost(left), cost(right)
    while high - low > FINE:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - golden * (high - low)
            at_left = cost(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + golden * (high - low)
            at_right = cost(right)
    return math.exp((low + high) / 2)


def confusion(labels: np.ndarray, predicted: np.ndarray, n_classes: int) -> np.ndarray:
    """Counts (C, C): rows are the true class, columns the predicted one."""
    table = np.zeros((n_classes, n_classes), dtype=np.int64)
    np.add.at(table, (labels, predicted), 1)
    return table


def per_class(table: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """Recall and precision of each class from its confusion table; None where there is nothing to divide by."""
    rows = []
    for i, name in enumerate(names):
        n, predicted, correct = int(table[i].sum()), int(table[:, i].sum()), int(table[i, i])
        rows.append(
            {
                "name": name,
                "n": n,
                "correct": correct,
                "predicted": predicted,
                "recall": correct / n if n else None,
                "precision": correct / predicted if predicted else None,
            }
        )
    return rows


def report(probabilities: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Everything about (N, C) probabilities against N labels that a person may want to see, as JSON values."""
    predicted = probabilities.argmax(axis=1) if len(labels) else np.zeros(0, dtype=np.int64)
    table = confusion(labels, predicted, len(names))
    correct, n = int((predicted == labels).sum()), len(labels)
    low, high = wilson(correct, n)
    images = []
    for row, label, guess in zip(probabilities, labels, predicted, strict=True):
        best = np.argsort(-row, kind="stable")[:TOP]
        images.append(
            {
                "label": int(label),
                "predicted": int(guess),
                "probability": float(row[guess]),
                "top": [[int(i), float(row[i])] for i in best],
            }
        )
    return {
        "n": n,
        "correct": correct,
        "top1": correct / n if n else None,
        "interval": [low, high],
        "per_class": per_class(table, names),
        "confusion": table.tolist(),
        "images": images,
    }


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = 8) -> list[dict[str, Any]]:
    """How often answers of about equal confidence are right: (N, C) probabilities against N labels, in bins of about equally many images
    (so that none of them is empty; Nguyen and O'Connor 2015, arXiv 1508.05154), least sure first.
    """
    if not len(labels):
        return []
    sure = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    order = np.argsort(sure, kind="stable")
    parts = np.array_split(order, min(bins, max(1, len(order) // 5)))
    return [{"n": len(part), "confidence": float(sure[part].mean()), "right": float(right[part].mean())} for part in parts]


def calibration_error(rows: Sequence[dict[str, Any]]) -> float | None:
    """Expected calibration error 0..1: the distance of confidence and share of right answers, averaged over the images of `reliability`'s
    bins (Naeini et al. 2015). None without images.
    """
    n = sum(row["n"] for row in rows)
    return sum(row["n"] * abs(row["confidence"] - row["right"]) for row in rows) / n if n else None


def calibration(logits: np.ndarray, labels: np.ndarray, parts: Sequence[np.ndarray]) -> dict[str, Any] | None:
    """Calibration before and after the temperature, as JSON values; None where there are too few images to say anything (under 10).

    "After" is honest: each part of the images (index arrays) is scaled by the temperature that the other parts ask for. A single part is
    halved for that.
    """
    if len(labels) < 10:
        return None
    if len(parts) < 2:
        parts = [np.arange(0, len(labels), 2), np.arange(1, len(labels), 2)]
    scaled = np.zeros_like(logits, dtype=np.float64)
    for part in parts:
        rest = np.setdiff1d(np.arange(len(labels)), part)
        scaled[part] = logits[part] / fit_temperature(logits[rest], labels[rest])
    before, after = reliability(softmax(logits), labels), reliability(softmax(scaled), labels)
    return {
        "n": len(labels),
        "before": before,
        "after": after,
        "ece_before": calibration_error(before),
        "ece_after": calibration_error(after),
    }
