"""How far a run is, and what follows from it: learning rate and image size.

Warm-up, stable, decay (WSD; Hu et al. 2024, arXiv:2404.06395): the stable part does not depend on the length of the
run, so a checkpoint from before the decay can be given a new budget and trained on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from blocklora.errors import TrainingError
from blocklora.pretrain.config import Recipe


@dataclass(frozen=True)
class Budget:
    """How much training there is in all, earlier runs of the same checkpoint included: image passes or seconds."""

    passes: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        given = [value for value in (self.passes, self.seconds) if value is not None]
        if len(given) != 1 or given[0] <= 0:
            raise TrainingError(
                f"A run needs one budget above zero; found passes={self.passes}, seconds={self.seconds}.",
                "Give one of --passes, --minutes and --until, and a time that is still to come.",
            )

    def progress(self, passes: int, seconds: float) -> float:
        """Share of the budget that is used, 0..1."""
        if self.passes is not None:
            return min(1.0, passes / self.passes)
        assert self.seconds is not None  # one of the two is given
        return min(1.0, seconds / self.seconds)


def in_decay(recipe: Recipe, progress: float) -> bool:
    """Whether the learning rate is already falling."""
    return progress >= 1.0 - recipe.decay_fraction


def lr_factor(recipe: Recipe, step: int, progress: float) -> float:
    """What the learning rates are multiplied with at this step, 0..1."""
    warm = min(1.0, (step + 1) / max(1, recipe.warmup_steps))
    return warm * min(1.0, max(0.0, 1.0 - progress) / max(1e-9, recipe.decay_fraction))


def resolution(recipe: Recipe, progress: float, full: int, patch: int, generator: torch.Generator) -> int:
    """Image size of a step: first mostly half of `full` (four times as fast), at last mostly `full`.

    Neither part is pure: a network that ends on one size only is brittle to soft pictures. Some of the last steps are larger
    than `full`: pictures of real use have more detail than the ones trained on, and larger inputs show it.
    """
    drawn = float(torch.rand(1, generator=generator))
    half, middle, more = (max(patch, round(full * share / patch) * patch) for share in (0.5, 0.75, 1.25))
    if progress < 1.0 - recipe.high_resolution_fraction:
        return half if drawn < 0.93 else middle
    if drawn < 0.65:
        return full if drawn < 0.45 else more
    return middle if drawn < 0.85 else half
