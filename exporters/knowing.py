"""The rule for pictures of none of the classes, from a run's adapter file and what was chosen for it to the constants of its ONNX file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from blocklora import reject
from blocklora.jobs.run_folder import RunFolder
from blocklora.lora.adapter_file import CLASS_WEIGHTS
from blocklora.reject import Scale, Wish
from blocklora.services.rejecting import scores_of
from blocklora.training.familiarity import MEANS, SCALE
from exporters.known_graph import Knowing

RULE_NAME = "familiar and sure"


def knowing_of(tensors: Mapping[str, torch.Tensor], wish: Wish) -> Knowing | None:
    """The rule's constants for the model in an adapter file; None where the file is from before there were rules."""
    if MEANS not in tensors or SCALE not in tensors or tensors[MEANS].shape != tensors[CLASS_WEIGHTS].shape or tensors[SCALE].shape != (2,):
        return None
    return Knowing(tensors[MEANS].float().numpy(), *thresholds(tensors, wish))


def thresholds(tensors: Mapping[str, torch.Tensor], wish: Wish) -> tuple[float, float]:
    """Least familiarity as a cosine of this model, and least sureness."""
    mean, spread = (float(value) for value in tensors[SCALE])
    return reject.EVERYTHING if wish.familiar is None else Scale(mean, spread).cosine(wish.familiar), wish.sure


def record_of(run: RunFolder, knowing: Knowing, wish: Wish) -> dict[str, Any]:
    """What the file's metadata say of its rule: name, thresholds, how they were chosen and what that does on held-out pictures."""
    scores, others, every = scores_of(run.result() or {})
    done = reject.outcome(wish, scores, others)
    measured = {"n": done.n, "answered": done.answered, "right": done.right, "others": done.others, "refused": done.refused}
    return {
        "rule": RULE_NAME,
        "least_familiar": knowing.least_familiar,
        "least_sure": knowing.least_sure,
        "how": wish.how,
        "precision": wish.precision,
        "measured": {**measured, "on": "cross-validation" if every else "held-out"},
    }
