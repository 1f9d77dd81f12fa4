"""What the version that is kept says of pictures of none of its classes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from blocklora.training.evaluate import Measured
from blocklora.training.metrics import TOP, softmax
from blocklora.training.setup import Setup


def with_others(measured: Measured, setup: Setup) -> Measured:
    """`measured` with a section on the pictures of something else, where there are some: the adapters as they are now.

    None of its answers is right; how sure they are, and how familiar they look, says where "none of these" should begin.
    """
    if setup.others is None:
        return measured
    features = setup.embed(setup.others)
    logits = setup.logits(features, measured.class_weights).numpy()
    rows = [_row(row, item) for row, item in zip(softmax(logits / measured.temperature), setup.data.others, strict=True)]
    for row, score in zip(rows, () if measured.familiarity is None else measured.familiarity.scores(features), strict=False):
        row["familiar"] = float(score)
    return replace(measured, result={**measured.result, "others": {"n": len(rows), "images": rows}})


def _row(probabilities: np.ndarray, item: Any) -> dict[str, Any]:
    """One picture, in the form of `metrics.report`, without a label."""
    best = np.argsort(-probabilities, kind="stable")[:TOP]
    return {
        "predicted": int(best[0]),
        "probability": float(probabilities[best[0]]),
        "top": [[int(i), float(probabilities[i])] for i in best],
        "path": item.path,
        "image_id": item.image_id,
    }
