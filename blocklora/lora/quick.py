"""A frozen model made quicker on the processor, with or without adapters attached: its linear maps go to the quicker library, its
attention does not turn tokens and images around, and modules that know a quicker way of their own take it (`CrossCovariance`).

nn.MultiheadAttention computes (L, N, d), so its packed projection gets a tensor that is not contiguous. In bfloat16 torch then multiplies
image by image and copies the weights for each, which can take longer than fp32 does.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import nn

from blocklora.lora.frozen_linear import FrozenLinear, pays
from blocklora.lora.layers import AdaptedAttention


def quicken(model: nn.Module) -> None:
    """Change how the modules of a frozen `model` are called, in place; what they are and hold stays.

    A model that is to be traced or exported is better loaded anew.
    """
    for module in list(model.modules()):
        if isinstance(module, nn.MultiheadAttention) and _is_plain(module):
            plain = AdaptedAttention(module, None, None)
            module.forward = functools.partial(_attention, plain, module.forward)  # type: ignore[method-assign]
        elif callable(own := getattr(module, "quicken", None)):  # a module of the product's own that knows a quicker way
            own()
    if pays():
        _through_onednn(model)


def _through_onednn(model: nn.Module) -> None:
    for module in list(model.modules()):
        if isinstance(module, nn.Linear):
            module.forward = FrozenLinear(module.weight, module.bias)  # type: ignore[assignment, method-assign]
        elif isinstance(module, nn.MultiheadAttention) and _is_plain(module):
            module.in_product = FrozenLinear(module.in_proj_weight, module.in_proj_bias)  # type: ignore[assignment]
        elif isinstance(getattr(module, "in_proj_weight", None), nn.Parameter):  # open_clip's own attention
            module.in_product = FrozenLinear(module.in_proj_weight, module.in_proj_bias)  # type: ignore[arg-type,assignment]


def _is_plain(attention: nn.MultiheadAttention) -> bool:
    packed = attention._qkv_same_embed_dim and attention.bias_k is None
    return bool(packed and not attention.add_zero_attn and not attention.dropout)


def _attention(
    plain: AdaptedAttention, before: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *more: Any, **named: Any
) -> Any:
    """Self-attention by the formula that adapted layers use; whatever else is asked for, as `before`."""
    known = key is query and value is query and not more and set(named) <= {"need_weights", "attn_mask"}
    if not known or named.get("need_weights", True):
        return before(query, key, value, *more, **named)
    return plain(query, key, value, need_weights=False, attn_mask=named.get("attn_mask"))
