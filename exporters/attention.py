"""Self-attention written out for export: the same numbers as torch's module, in half the operators.

torch's nn.MultiheadAttention turns the batch to the second place and back around every layer, which the exported graph then does too.
Without that, the built-in backbone's file is about 6 % quicker in onnxruntime, and its half-precision form avoids a pair of operators
(a transpose of the first two axes, then a matrix product) that onnxruntime 1.32 crashes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from blocklora.lora.layers import AdaptedAttention


class PlainAttention(nn.Module):
    """Stands in for an `nn.MultiheadAttention` while a model is traced; whatever is no plain self-attention goes to that module."""

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, base: nn.MultiheadAttention) -> None:
        super().__init__()
        self.base = base
        self.heads = base.num_heads
        width = base.embed_dim
        scale = torch.ones(3 * width, dtype=base.in_proj_weight.dtype, device=base.in_proj_weight.device)
        scale[:width] = (width // self.heads) ** -0.5  # of the logits, folded into the queries
        self.register_buffer("weight", base.in_proj_weight.detach() * scale[:, None])
        self.register_buffer("bias", base.in_proj_bias.detach() * scale)

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, **more: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(N, L, D), thrice the same -> (N, L, D), None."""
        if query is not key or key is not value or more.get("attn_mask") is not None or more.get("key_padding_mask") is not None:
            return self.base(query, key, value, **more)
        n, length, width = query.shape
        packed = F.linear(query, self.weight, self.bias)
        q, k, v = (part.reshape(n, length, self.heads, -1).transpose(1, 2) for part in packed.split(width, dim=-1))  # (N, nh, L, hs)
        mixed = (q @ k.transpose(-2, -1)).softmax(dim=-1) @ v
        return self.base.out_proj(mixed.transpose(1, 2).reshape(n, length, width)), None


@contextmanager
def plain_attention(model: nn.Module) -> Iterator[None]:
    """Put `PlainAttention` in the place of every fitting module below `model`; the model is as before afterwards. What stands in for an
    attention with adapters is left alone: it is plain already, and reads the weights of the module inside it.
    """
    fitting = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.MultiheadAttention) and _fits(child) and not isinstance(parent, AdaptedAttention)
    ]
    for parent, name, child in fitting:
        setattr(parent, name, PlainAttention(child).train(child.training))
    try:
        yield
    finally:
        for parent, name, child in fitting:
            setattr(parent, name, child)


def _fits(attention: nn.MultiheadAttention) -> bool:
    """Packed projections with a bias, batch first, no extra keys, no dropout at work."""
    packed = attention._qkv_same_embed_dim and attention.in_proj_bias is not None
    extra = attention.bias_k is not None or attention.add_zero_attn or (attention.training and attention.dropout > 0)
    return bool(attention.batch_first and packed and not extra)
