"""What the network learns from: class texts, superclass texts and a linear head that is thrown away."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from blocklora.pretrain.augment import Mixed
from blocklora.pretrain.config import Recipe
from blocklora.pretrain.network import ImageTower, encode_image


class Learner(nn.Module):
    """The parts that see images: image tower, throw-away head and logit scale (in log, as CLIP)."""

    def __init__(self, visual: ImageTower, head: nn.Linear, logit_scale: nn.Parameter) -> None:
        super().__init__()
        self.visual: ImageTower = visual
        self.head = head
        self.logit_scale = logit_scale


@dataclass(frozen=True)
class Targets:
    """Texts to compare images with, of length one, and which superclasses each class has."""

    classes: torch.Tensor
    """(C, D)."""
    superclasses: torch.Tensor
    """(S, D); S may be 0."""
    truth: torch.Tensor
    """bool (C, S)."""


def class_loss(logits: torch.Tensor, mixed: Mixed, smoothing: float) -> torch.Tensor:
    """Cross entropy (B, C) against both labels of a mixed batch."""
    loss = F.cross_entropy(logits, mixed.a, label_smoothing=smoothing)
    if mixed.share < 1.0:
        loss = mixed.share * loss + (1 - mixed.share) * F.cross_entropy(logits, mixed.b, label_smoothing=smoothing)
    return loss


def superclass_loss(logits: torch.Tensor, labels: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Each true superclass against all untrue ones, mean over the true ones and the batch.

    A dog is also a mammal and an animal, so a plain softmax over superclasses would call right answers wrong.

    Args:
        logits: (B, S) image against superclass text.
        labels: (B,) class of each image.
        truth: bool (C, S).
    """
    true = truth[labels]  # (B, S)
    against = logits.masked_fill(true, float("-inf")).logsumexp(1, keepdim=True)  # (B, 1)
    each = F.softplus(against - logits).masked_fill(~true, 0.0)
    return (each.sum(1) / true.sum(1).clamp(min=1)).mean()


def total_loss(learner: Learner, mixed: Mixed, targets: Targets, recipe: Recipe) -> tuple[torch.Tensor, float]:
    """The weighted sum of the three losses on a batch, and the class-text loss alone as a number."""
    features = encode_image(learner.visual, mixed.pixels).float()  # (B, D)
    unit, scale = F.normalize(features, dim=-1), learner.logit_scale.exp()
    text_loss = class_loss(scale * unit @ targets.classes.T, mixed, recipe.label_smoothing)
    loss = text_loss + recipe.head_weight * class_loss(learner.head(features), mixed, recipe.label_smoothing)
    if len(targets.superclasses):
        logits = scale * unit @ targets.superclasses.T
        extra = mixed.share * superclass_loss(logits, mixed.a, targets.truth)
        if mixed.share < 1.0:
            extra = extra + (1 - mixed.share) * superclass_loss(logits, mixed.b, targets.truth)
        loss = loss + recipe.superclass_weight * extra
    return loss, float(text_loss.detach())
