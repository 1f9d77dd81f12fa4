"""Attention written out for export: the same numbers as the modules give, in fewer operators and fewer passes over memory.

torch's nn.MultiheadAttention turns the batch to the second place and back around every layer, which the exported graph then does too.
Without that, the half-precision form also avoids a pair of operators (a transpose of the first two axes, then a matrix product) that
onnxruntime 1.32 crashes on. The built-in backbone's two kinds of attention are rearranged so that less is done for each token:
`tests/benchmarks/precision.py` says what that is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from timm.models.cait import ClassAttn
from torch import nn
from torch.nn import functional as F

from blocklora.clip.attention import EPSILON, CrossCovariance
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


class PlainCrossCovariance(nn.Module):
    """Stands in for a `CrossCovariance` while a model is traced.

    Channels of a head are mixed and then projected, both linear: the small products of both are made first, so that no value is taken
    apart into heads and put together again, and lengths are divided out of cosines instead of every token.
    """

    SCALE = 2.0**-4
    """Factor of queries and keys, which cosines do not see: products of long ones over many tokens stay within half precision."""

    projection: torch.Tensor
    bias: torch.Tensor

    def __init__(self, base: CrossCovariance) -> None:
        super().__init__()
        width, self.heads, self.temperature = base.proj.out_features, base.num_heads, base.temperature
        self.qk, self.v = _rows(base.qkv, 0, 2 * width, self.SCALE), _rows(base.qkv, 2 * width, 3 * width)
        self.register_buffer("projection", base.proj.weight.detach().T.reshape(self.heads, -1, width).contiguous())  # (nh, hs, D)
        self.register_buffer("bias", base.proj.bias.detach())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens (N, L, D) -> (N, L, D)."""
        n, length, width = x.shape
        channels = self.qk(x).transpose(1, 2).reshape(n, 2, self.heads, -1, length)  # (N, 2, nh, hs, L)
        lengths = torch.linalg.vector_norm(channels, dim=-1, keepdim=True).clamp_min(EPSILON)
        products = channels[:, 0] @ channels[:, 1].transpose(-2, -1)  # (N, nh, hs, hs)
        cosines = products / (lengths[:, 0] * lengths[:, 1].transpose(-2, -1))
        attention = (cosines * self.temperature).softmax(dim=-1)
        mixing = (attention.transpose(-2, -1) @ self.projection).reshape(n, width, width)
        return self.v(x) @ mixing + self.bias


class PlainClassAttention(nn.Module):
    """Stands in for timm's ClassAttn: no key and no value is made of any token, as in `blocklora.clip.attention.attend_for_class`, but in
    plain products, since files of this product hold no Einsum.
    """

    of_k: torch.Tensor
    of_v: torch.Tensor

    def __init__(self, base: ClassAttn) -> None:
        super().__init__()
        self.heads, self.scale, self.q, self.proj = base.num_heads, base.scale, base.q, base.proj
        width = base.k.in_features
        self.register_buffer("of_k", base.k.weight.detach().reshape(self.heads, -1, width).contiguous())  # (nh, hs, D)
        self.register_buffer("of_v", base.v.weight.detach().reshape(self.heads, -1, width).transpose(1, 2).contiguous())  # (nh, D, hs)
        self.bias_v = base.v.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Class token and patches (N, 1 + L, D) -> (N, 1, D)."""
        n, _, width = x.shape
        q = (self.q(x[:, 0]) * self.scale).reshape(n, self.heads, 1, -1)
        scores = (q @ self.of_k).reshape(n, self.heads, width) @ x.transpose(1, 2)  # (N, nh, 1 + L)
        mixed = scores.softmax(dim=-1) @ x
        values = (mixed.reshape(n, self.heads, 1, width) @ self.of_v).reshape(n, 1, width)
        return self.proj(values if self.bias_v is None else values + self.bias_v)


@contextmanager
def plain_attention(model: nn.Module) -> Iterator[None]:
    """Put a stand-in in the place of every fitting module below `model`; the model is as before afterwards. What stands in for an
    attention with adapters is left alone: it is plain already, and reads the weights of the module inside it.
    """
    fitting = [
        (parent, name, child, form)
        for parent in model.modules()
        for name, child in parent.named_children()
        if not isinstance(parent, AdaptedAttention) and (form := _form_of(child)) is not None
    ]
    for parent, name, child, form in fitting:
        setattr(parent, name, form(child).train(child.training))
    try:
        yield
    finally:
        for parent, name, child, _ in fitting:
            setattr(parent, name, child)


def _form_of(module: nn.Module) -> Callable[[Any], nn.Module] | None:
    """What stands in for this module, if anything does."""
    if isinstance(module, nn.MultiheadAttention):
        return PlainAttention if _fits(module) else None
    if isinstance(module, CrossCovariance):
        return PlainCrossCovariance if _linear(module.qkv, module.proj) else None
    if isinstance(module, ClassAttn):
        return PlainClassAttention if _linear(module.q, module.k, module.v, module.proj) and not module.training else None
    return None


def _rows(linear: nn.Linear, first: int, last: int, factor: float = 1.0) -> nn.Linear:
    """Some outputs of a linear layer, as a layer of their own."""
    part = nn.Linear(linear.in_features, last - first, linear.bias is not None).requires_grad_(False)
    part.weight = nn.Parameter(linear.weight.detach()[first:last] * factor, requires_grad=False)
    if linear.bias is not None:
        part.bias = nn.Parameter(linear.bias.detach()[first:last] * factor, requires_grad=False)
    return part


def _linear(*parts: nn.Module) -> bool:
    """Nothing but torch's own: no adapters on any of them."""
    return all(type(part) is nn.Linear for part in parts)


def _fits(attention: nn.MultiheadAttention) -> bool:
    """Packed projections with a bias, batch first, no extra keys, no dropout at work."""
    packed = attention._qkv_same_embed_dim and attention.in_proj_bias is not None
    extra = attention.bias_k is not None or attention.add_zero_attn or (attention.training and attention.dropout > 0)
    return bool(attention.batch_first and packed and not extra)
