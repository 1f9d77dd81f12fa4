"""How familiar pictures look to a model: the cosine of their embeddings to its class means (see `blocklora.reject`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from blocklora.reject import Scale
from blocklora.training.setup import Setup

MEANS, SCALE = "class_means", "familiarity"
"""Names of the tensors in the adapter file: class means (C, D), and mean and spread of a `Scale` (2,)."""
NARROWEST = 1e-3


@dataclass(frozen=True)
class Familiarity:
    """Class means (C, D) of length 1, and where the training pictures lie around them."""

    means: torch.Tensor
    scale: Scale

    def scores(self, features: torch.Tensor) -> np.ndarray:
        """Familiarity (N,) of normalised embeddings (N, D), in spreads of the scale."""
        if not len(features):
            return np.zeros(0)
        return self.scale.standard((features.float() @ self.means.T).amax(dim=1).numpy().astype(np.float64))

    def tensors(self) -> dict[str, torch.Tensor]:
        """What the adapter file keeps of it."""
        return {MEANS: self.means.clone(), SCALE: torch.tensor([self.scale.mean, self.scale.spread])}


def familiarity_of(setup: Setup) -> Familiarity | None:
    """That of the version in the model, from the training images of `setup`, seen whole; None where no class has two of them."""
    images = setup.data.eval_set(setup.data.train, setup.backbone.preprocess)
    return from_features(setup.embed(images), images.labels, len(setup.data.dataset.class_names))


def from_features(features: torch.Tensor, labels: torch.Tensor, n_classes: int) -> Familiarity | None:
    """From normalised embeddings (N, D) and labels (N,).

    Each picture is left out of its own class's mean before its cosine to that mean is taken: a mean of few pictures lies nearer to them
    than to any other.
    """
    sums = torch.zeros(n_classes, features.shape[1], dtype=torch.float64).index_add_(0, labels, features.double())
    counts = torch.bincount(labels, minlength=n_classes)
    others = counts[labels] > 1
    if not bool(others.any()) or bool((counts == 0).any()):
        return None
    chosen, own = features.double()[others], labels[others]
    left_out = F.normalize(sums[own] - chosen, dim=1)
    cosines = (chosen * left_out).sum(dim=1)
    spread = float(cosines.std()) if len(cosines) > 1 else 0.0
    return Familiarity(F.normalize(sums, dim=1).float(), Scale(float(cosines.mean()), max(spread, NARROWEST)))
