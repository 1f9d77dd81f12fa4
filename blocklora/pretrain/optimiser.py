"""Two optimisers: Muon for the matrices inside the blocks, AdamW for everything else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import torch
from torch import nn

from blocklora.pretrain.config import Recipe
from blocklora.pretrain.muon import Muon

TEXT_PARAMETERS = ("token_embedding", "positional_embedding", "transformer.", "ln_final", "text_projection")  # open_clip.CLIP's names


NARROW = 16  # a matrix with fewer rows or columns (one filter per channel) has no directions to make equal


def _is_hidden_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Matrices of transformer blocks, and the filters of a timm tower's convolutions: one row a filter."""
    if "visual.trunk." not in name:
        return parameter.ndim == 2 and "resblocks." in name
    return parameter.ndim in (2, 4) and min(parameter.shape[0], parameter[0].numel()) >= NARROW


class Optimisers:
    """Muon and AdamW over one network and its throw-away head.

    Muon makes every update a nearly orthogonal matrix. It is meant for hidden matrices only: embeddings, projections,
    gains and biases go to AdamW.
    """

    def __init__(self, model: nn.Module, head: nn.Module, recipe: Recipe) -> None:
        groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
        hidden = []
        for name, parameter in [*model.named_parameters(), *head.named_parameters()]:
            if _is_hidden_matrix(name, parameter):
                hidden.append(parameter)
                continue
            rate = recipe.text_lr if name.startswith(TEXT_PARAMETERS) else recipe.adamw_lr
            decays = parameter.ndim > 1 and "embedding" not in name
            groups[rate, recipe.weight_decay if decays else 0.0].append(parameter)
        self.muon = Muon(hidden, lr=recipe.muon_lr, weight_decay=recipe.weight_decay)
        self.adamw = torch.optim.AdamW(
            [{"params": members, "lr": rate, "weight_decay": decay} for (rate, decay), members in groups.items()], betas=(0.9, 0.98)
        )
        self._base = [group["lr"] for optimiser in self for group in optimiser.param_groups]

    def __iter__(self) -> Iterator[torch.optim.Optimizer]:
        return iter((self.muon, self.adamw))

    def step(self, factor: float) -> None:
        """One update with all learning rates times `factor`; then forgets the gradients.

        Gradients become None, so that the text tower is left alone in the steps that did not run it.
        """
        groups = [group for optimiser in self for group in optimiser.param_groups]
        for group, base in zip(groups, self._base, strict=True):
            group["lr"] = base * factor
        for optimiser in self:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, dict]:
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state: dict[str, dict]) -> None:
        self.muon.load_state_dict(state["muon"])
        self.adamw.load_state_dict(state["adamw"])
