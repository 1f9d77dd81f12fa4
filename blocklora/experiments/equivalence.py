"""Is Block-LoRA with one block LoRA, and what are n blocks? Two trainings side by side, step by step, from the same first values.

One side is the product's adapters. The other makes each adapted weight dense, W + s B A, from tensors of its own, and calls a copy of the
frozen model with it: LoRA as it is defined, sharing no code with the product. For n > 1 it is LoRA of the blocks' width at n times their
scale, which is what `blocklora.lora.block` says that n blocks are.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from blocklora.clip.backbones import Backbone
from blocklora.config import AdapterConfig
from blocklora.experiments.tables import Row
from blocklora.lora.adapters import Adapters
from blocklora.lora.attach import attach

CLASSES = 5
BATCH = 8
LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class _Twin:
    """LoRA of one projection: rows `place` of `stripes` equal ones of the weight `name`."""

    name: str
    place: int
    stripes: int
    a: torch.Tensor
    b: torch.Tensor

    def add_to(self, weight: torch.Tensor, scale: float) -> torch.Tensor:
        stripes = list(weight.chunk(self.stripes))
        stripes[self.place] = stripes[self.place] + (scale * self.b @ self.a).view_as(stripes[self.place])
        return torch.cat(stripes)


def _twins(adapters: Adapters, names: dict[int, str]) -> list[_Twin]:
    """A twin for every adapted projection, with the same A and a B of zeros."""
    found = []
    for weight, rows in adapters.folds:
        for place, letter in enumerate(rows.rows):
            if letter in rows.deltas:
                part: Any = rows.deltas[letter]
                a = part.A.detach().clone().requires_grad_()
                b = torch.zeros(part.d_out, part.A.shape[0], requires_grad=True)
                found.append(_Twin(names[id(weight)], place, len(rows.rows), a, b))
    return found


def compare(backbone: Backbone, config: AdapterConfig, steps: int, seed: int) -> Iterator[Row]:
    """One row a step: the largest difference of logits, losses and weight updates in this and all earlier steps, and how large the updates
    are. Both sides see the same random images.

    Args:
        backbone: its image tower is adapted, and comes back as it was.
        config: without dropout, whose masks the two sides could not share.
    """
    draw = torch.Generator().manual_seed(seed)
    size, tower = backbone.preprocess.size, cast(nn.Module, backbone.model.visual)
    plain_tower = copy.deepcopy(tower).requires_grad_(False)
    frozen = dict(plain_tower.named_parameters())
    names = {id(tensor): name for name, tensor in tower.named_parameters()}
    heads = F.normalize(torch.randn(CLASSES, backbone.embed_dim, generator=draw), dim=1)
    adapters = attach(backbone.model, config, seed=seed)
    try:
        twins, scale = _twins(adapters, names), config.scale * config.blocks
        mine = torch.optim.AdamW(adapters.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
        theirs = torch.optim.AdamW([tensor for twin in twins for tensor in (twin.a, twin.b)], lr=LEARNING_RATE, weight_decay=0.0)
        worst = {"logits": 0.0, "loss": 0.0, "update": 0.0}
        for step in range(1, steps + 1):
            images = torch.randn(BATCH, 3, size, size, generator=draw)
            labels = torch.randint(CLASSES, (BATCH,), generator=draw)
            weights: dict[str, torch.Tensor] = {}
            for twin in twins:
                weights[twin.name] = twin.add_to(weights.get(twin.name, frozen[twin.name]), scale)
            features = (tower(images), functional_call(plain_tower, weights, (images,)))
            logits, plain = (backbone.logit_scale * F.normalize(value, dim=1) @ heads.T for value in features)
            losses = F.cross_entropy(logits, labels), F.cross_entropy(plain, labels)
            for optimiser, loss in zip((mine, theirs), losses, strict=True):
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            with torch.no_grad():
                updates = [(part.dense(), scale * twin.b @ twin.a) for part, twin in zip(adapters.blocks.values(), twins, strict=True)]
                worst["logits"] = max(worst["logits"], float((logits - plain).abs().max()))
                worst["loss"] = max(worst["loss"], abs(float(losses[0]) - float(losses[1])))
                worst["update"] = max(worst["update"], *(float((one - other).abs().max()) for one, other in updates))
                largest = max(float(other.abs().max()) for _, other in updates)
            yield {"step": step, **{f"worst_{name}": value for name, value in worst.items()}, "largest_update": largest}
    finally:
        adapters.detach()
