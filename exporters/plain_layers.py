"""Layers written out for export: the same numbers as the modules give, in fewer operators and fewer passes over memory.

torch's nn.MultiheadAttention turns the batch to the second place and back around every layer, which the exported graph then does too.
Without that, the half-precision form also avoids a pair of operators (a transpose of the first two axes, then a matrix product) that
onnxruntime 1.32 crashes on. The layers of the built-in backbone are rearranged so that less is done for each token:
`tests/benchmarks/precision.py` says what that is worth.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from timm.models.cait import ClassAttn
from timm.models.xcit import XCABlock
from torch import nn
from torch.nn import functional as F

from blocklora.clip.attention import EPSILON, CrossCovariance
from blocklora.lora.layers import AdaptedAttention

Form = Callable[[Any], nn.Module]
Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


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
    """Stands in for a `CrossCovariance` while a model is traced, times a `factor` for each channel that comes out.

    Values are made, channels of a head mixed, and what comes out projected, all linear: the small products of the three are made first, so
    that a token is multiplied with one matrix instead of three. Lengths are divided out of cosines instead of every token.
    """

    SCALE = 2.0**-4
    """Factor of queries and keys, which cosines do not see: products of long ones over many tokens stay within half precision."""

    projection: torch.Tensor
    bias: torch.Tensor
    of_v: torch.Tensor
    bias_v: torch.Tensor | None

    def __init__(self, base: CrossCovariance, factor: torch.Tensor | None = None) -> None:
        super().__init__()
        width, self.heads, self.temperature = base.proj.out_features, base.num_heads, base.temperature
        factor = torch.ones(width) if factor is None else factor.detach()
        self.q, self.k = (_rows(base.qkv, first, first + width, self.SCALE) for first in (0, width))
        v = _rows(base.qkv, 2 * width, 3 * width)
        self.register_buffer("of_v", v.weight.detach())
        self.register_buffer("bias_v", None if v.bias is None else v.bias.detach()[None])
        projection = (base.proj.weight.detach().T * factor).reshape(self.heads, -1, width)  # (nh, hs, D)
        self.register_buffer("projection", projection.contiguous())
        self.register_buffer("bias", base.proj.bias.detach() * factor)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens (N, L, D) -> (N, L, D)."""
        n, length, width = x.shape
        q, k = (part(x).transpose(1, 2).reshape(n, self.heads, -1, length) for part in (self.q, self.k))  # (N, nh, hs, L)
        of_q, of_k = (torch.linalg.vector_norm(part, dim=-1, keepdim=True).clamp_min(EPSILON) for part in (q, k))  # (N, nh, hs, 1)
        cosines = (q @ k.transpose(-2, -1)) / (of_q * of_k.transpose(-2, -1))
        attention = (cosines * self.temperature).softmax(dim=-1)
        mixing = (attention.transpose(-2, -1) @ self.projection).reshape(n, width, width)  # of values, one out of all heads
        bias = self.bias if self.bias_v is None else self.bias + self.bias_v @ mixing
        # Turned around so that the weights stand on the right, where they can be kept in 8 bits.
        return x @ (mixing.transpose(1, 2) @ self.of_v).transpose(1, 2) + bias


class PlainXcitBlock(nn.Module):
    """Stands in for a layer of XCiT while a model is traced: what scales a branch goes into the branch's last weights, and the patches
    are turned where onnxruntime does it together with the order of channels that its convolutions want anyway.
    """

    def __init__(self, base: XCABlock) -> None:
        super().__init__()
        attention, local, mlp = (getattr(base, name) for name in ("attn", "local_mp", "mlp"))
        self.norm1, self.norm2, self.norm3 = base.norm1, base.norm2, base.norm3
        self.attention = PlainCrossCovariance(attention, base.gamma1)
        self.local = nn.Sequential(local.conv1, local.act, local.bn, _scaled(local.conv2, base.gamma3))
        self.mlp = nn.Sequential(mlp.fc1, mlp.act, _scaled(mlp.fc2, base.gamma2))

    def forward(self, x: torch.Tensor, high: int, wide: int) -> torch.Tensor:
        """Tokens (N, L, D) of a picture of `high` times `wide` patches -> (N, L, D)."""
        n, length, width = x.shape
        x = x + self.attention(self.norm1(x))
        picture = self.norm3(x).reshape(n, high, wide, width).permute(0, 3, 1, 2)
        x = x + self.local(picture).permute(0, 2, 3, 1).reshape(n, length, width)
        result: torch.Tensor = x + self.mlp(self.norm2(x))
        return result


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
def plain_layers(model: nn.Module) -> Iterator[None]:
    """Put a stand-in in the place of every fitting module below `model`; the model is as before afterwards. What stands in for an
    attention with adapters is left alone: it is plain already, and reads the weights of the module inside it.
    """
    fitting = list(_fitting(model))
    for parent, name, child, form in fitting:
        setattr(parent, name, form(child).train(child.training))
    try:
        yield
    finally:
        for parent, name, child, _ in fitting:
            setattr(parent, name, child)


def _fitting(parent: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module, Form]]:
    """Every outermost module that something can stand in for: the module that holds it, its name there, itself, and what stands in."""
    if isinstance(parent, AdaptedAttention):
        return
    for name, child in parent.named_children():
        form = _form_of(child)
        if form is None:
            yield from _fitting(child)
        else:
            yield parent, name, child, form


def _form_of(module: nn.Module) -> Form | None:
    """What stands in for this module, if anything does."""
    if isinstance(module, nn.MultiheadAttention):
        return PlainAttention if _fits(module) else None
    if isinstance(module, CrossCovariance):
        return PlainCrossCovariance if _linear(module.qkv, module.proj) else None
    if isinstance(module, ClassAttn):
        return PlainClassAttention if _linear(module.q, module.k, module.v, module.proj) and not module.training else None
    if isinstance(module, XCABlock):
        attention, mlp = module.attn, module.mlp
        plain = isinstance(attention, CrossCovariance) and _linear(attention.qkv, attention.proj, mlp.fc1, mlp.fc2)
        return PlainXcitBlock if plain and not module.training else None
    return None


def _scaled(layer: Layer, factor: torch.Tensor) -> Layer:
    """A linear layer or a convolution whose outputs are multiplied with `factor`, one number for each."""
    made = copy.copy(layer)
    made._parameters = dict(layer._parameters)
    shape = (-1,) + (1,) * (layer.weight.dim() - 1)
    made.weight = nn.Parameter(layer.weight.detach() * factor.detach().reshape(shape), requires_grad=False)
    if layer.bias is not None:
        made.bias = nn.Parameter(layer.bias.detach() * factor.detach(), requires_grad=False)
    return made


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
