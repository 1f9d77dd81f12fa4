"""Attach Block-LoRA adapters to a CLIP model.

The model is frozen. While adapters are attached, the adapted layers are replaced by stand-ins that hold the frozen layer inside
(`blocklora.lora.layers`); the frozen weights are never written to before `Adapters.merge`. Nothing below the first adapted layer
requires a gradient, so with `last_layers` autograd keeps nothing for it.
"""

from __future__ import annotations

import torch
from torch import nn

from blocklora.config import AdapterConfig
from blocklora.errors import NothingToAdapt
from blocklora.lora.adapters import Adapters
from blocklora.lora.block import AdaptedRows, BlockLoRA
from blocklora.lora.layers import AdaptedAttention, AdaptedLinear, AdaptedNormedAttention, AdaptedPointwise
from blocklora.lora.layout import Layer, find_layers

__all__ = ["Adapters", "attach"]

QKV = ("q", "k", "v")


def attach(model: nn.Module, config: AdapterConfig, seed: int | None = None) -> Adapters:
    """Freeze `model` and attach adapters to it in place; they start in eval mode, and `Adapters.train()` turns their dropout on.

    The start depends on `seed` alone: A is drawn from a generator of its own, and B is zero, so the model's output does not change yet.
    A tower with fewer layers than `config.last_layers` is adapted whole.

    Raises:
        NothingToAdapt: a tower that is to be adapted has no layer of a kind that is known, or not the projections asked for.
        RuntimeError: the model carries adapters already.
    """
    if any(isinstance(module, AdaptedRows) for module in model.modules()):
        raise RuntimeError("this model carries adapters already; merge or detach them first")
    found = {tower: find_layers(model, tower) for tower in config.towers}
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    adapters = Adapters(config)
    for tower, layers in found.items():
        adapters.n_layers[tower] = len(layers)
        adapters.first_layer[tower] = max(0, len(layers) - (config.last_layers or len(layers)))
        for layer in layers[adapters.first_layer[tower] :]:
            _LayerAdapter(adapters, layer, generator).adapt()
    if not adapters.blocks:
        if adapters.swaps:
            adapters.detach()
        raise NothingToAdapt(
            f"None of the projections asked for ({', '.join(config.targets)}) exists in this model's layers.", "Adapt q, k and v instead."
        )
    freeze(model, adapters)
    return adapters


def freeze(model: nn.Module, adapters: Adapters) -> None:
    """Turn gradients off for everything but the adapters, remembering what was on."""
    trainable = {id(parameter) for parameter in adapters.parameters()}
    adapters.frozen = [p for p in model.parameters() if p.requires_grad and id(p) not in trainable]
    for parameter in adapters.frozen:
        parameter.requires_grad_(False)


class _LayerAdapter:
    """Makes the adapters of one transformer layer and puts the stand-ins into the model."""

    def __init__(self, adapters: Adapters, layer: Layer, generator: torch.Generator) -> None:
        self.adapters = adapters
        self.config = adapters.config
        self.layer = layer
        self.generator = generator

    def adapt(self) -> None:
        if self.layer.kind in ("multihead", "normed"):
            self._in_one_module()
        else:
            self._timm()
        if "mlp" in self.config.targets and self.layer.mlp is not None:
            for name in self.layer.mlp_names:
                self._wrap(self.layer.mlp, name, ("mlp",), suffix=f".{name}")

    def _in_one_module(self) -> None:
        """Attention that does everything itself, so that its stand-in has to."""
        attention = self.layer.attention
        stand_in = AdaptedAttention if self.layer.kind == "multihead" else AdaptedNormedAttention
        packed = self._rows(attention.in_proj_weight, QKV)
        out = self._rows(attention.out_proj.weight, ("o",))
        if packed is not None or out is not None:
            self.adapters.swap(self.layer.parent, self.layer.name, stand_in(attention, packed, out).train(False))

    def _timm(self) -> None:
        attention = self.layer.attention
        if self.layer.kind == "packed":
            self._wrap(attention, "qkv", QKV)
        else:
            for letter in QKV:
                self._wrap(attention, f"{letter}_proj", (letter,))
        self._wrap(attention, "proj", ("o",))
        if getattr(attention, "qkv_bias_separate", None) is False:
            self.adapters.swap(attention, "qkv_bias_separate", True)  # EVA-01 otherwise reads qkv.weight and never calls the module
        if getattr(attention, "fused_attn", False) and next(attention.parameters()).device.type == "cpu":
            self.adapters.swap(attention, "fused_attn", False)  # the plain formula of `layers.attend`, for the same reason

    def _rows(self, weight: torch.Tensor, rows: tuple[str, ...], suffix: str = "") -> AdaptedRows | None:
        """New adapters for those projections stacked in `weight` that the configuration names, or None where it names none."""
        deltas = {}
        for row in rows:
            if row in self.config.targets:
                block = BlockLoRA(weight.shape[1], weight.shape[0] // len(rows), self.config, self.generator)
                self.adapters.blocks[f"{self.layer.tower}.{self.layer.index}.{row}{suffix}"] = deltas[row] = block
        if not deltas:
            return None
        made = AdaptedRows(deltas, rows, self.config.dropout).to(weight.device)
        made.train(False)
        self.adapters.folds.append((weight, made))
        return made

    def _wrap(self, owner: nn.Module, name: str, rows: tuple[str, ...], suffix: str = "") -> None:
        """Put a stand-in with adapters in place of the linear map `owner.name`, where the configuration names any of its rows."""
        base = getattr(owner, name)
        made = self._rows(base.weight, rows, suffix)
        if made is not None:
            stand_in = AdaptedLinear(base, made) if isinstance(base, nn.Linear) else AdaptedPointwise(base, made)
            self.adapters.swap(owner, name, stand_in.train(False))
