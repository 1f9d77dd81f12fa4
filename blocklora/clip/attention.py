"""The two kinds of attention in the built-in backbone (El-Nouby et al. 2021, arXiv:2106.09681), each with a quicker way.

The quicker ways give the same numbers up to rounding, are for frozen weights, and are not to be exported: files have forms of their own
(`exporters.plain_layers`).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.models.cait import ClassAttn
from timm.models.xcit import XCA
from torch import nn

EPSILON = 1e-12  # least length that a channel is divided by, as in F.normalize


class CrossCovariance(nn.Module):
    """Channels attend to channels: timm's XCA on the same weights, with the tokens last from the start.

    The products then need no reordering of five dimensions: the same numbers up to rounding, and a good deal faster once exported to ONNX.
    """

    def __init__(self, attention: XCA) -> None:
        super().__init__()
        self.num_heads, self.temperature = attention.num_heads, attention.temperature
        self.qkv, self.proj = attention.qkv, attention.proj
        self.quick = False

    def quicken(self) -> None:
        """From now on by `mix_of_packed`."""
        self.quick = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens (B, L, width) -> (B, L, width)."""
        packed = self.qkv(x)
        mixed = mix_of_packed(packed, self.temperature) if self.quick else self._mix(packed)
        result: torch.Tensor = self.proj(mixed)
        return result

    def _mix(self, packed: torch.Tensor) -> torch.Tensor:
        """Queries, keys and values side by side (B, L, 3 · width) -> (B, L, width)."""
        count, length, width = packed.shape[0], packed.shape[1], packed.shape[2] // 3
        heads = packed.transpose(1, 2).reshape(count, 3, self.num_heads, width // self.num_heads, length)
        q, k, v = heads[:, 0], heads[:, 1], heads[:, 2]  # (B, H, width / H, L)
        attention = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)) * self.temperature
        return (attention.softmax(dim=-1) @ v).reshape(count, width, length).transpose(1, 2)


def mix_of_packed(packed: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    """What `CrossCovariance` makes of queries, keys and values, in few passes over memory: (B, L, 3 · width) -> (B, L, width).

    Lengths are divided out of the products of channels instead of the channels themselves, and the products are of all heads at once
    (what lies between heads is thrown away): nothing of L tokens is normalised, turned around or put together again. The gradient is
    written out, for a `temperature` (H, 1, 1) that is not trained.
    """
    result: torch.Tensor = _Mix.apply(packed, temperature.detach())
    return result


class _Mix(torch.autograd.Function):
    """For a head with channels q_i, k_j, v_j of L tokens: a = softmax_j(t · cos(q_i, k_j)), mixed_i = sum_j a_ij v_j."""

    @staticmethod
    def forward(ctx: Any, packed: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
        heads, width = len(temperature), packed.shape[2] // 3
        q, k, v = packed.split(width, dim=2)
        # by hand: torch does not vectorise linalg.vector_norm over a dimension that is not the last
        lengths = packed[..., : 2 * width].square().sum(dim=1, dtype=torch.float32).sqrt().clamp_min(EPSILON)  # (B, 2 · width)
        cosines = _heads_of(torch.bmm(q.transpose(1, 2), k), heads).float() / _outer(lengths, heads)  # (B, H, d, d)
        attention = (temperature * cosines).softmax(dim=-1)
        across = _all_of(attention.to(packed.dtype))  # (B, width, width)
        ctx.save_for_backward(packed, temperature, lengths, cosines, attention, across)
        return torch.bmm(v, across.transpose(1, 2))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        packed, temperature, lengths, cosines, attention, across = ctx.saved_tensors
        (mixed,) = gradients
        heads, width = len(temperature), mixed.shape[2]
        q, k, v = packed.split(width, dim=2)
        of_attention = _heads_of(torch.bmm(mixed.transpose(1, 2), v), heads).float()
        of_cosines = temperature * attention * (of_attention - (of_attention * attention).sum(dim=-1, keepdim=True))
        products = _all_of((of_cosines / _outer(lengths, heads)).to(packed.dtype))
        # A longer channel has the same cosines: what the gradient has along the channel itself is taken away.
        turned = of_cosines * cosines
        along = -torch.cat((turned.sum(dim=3).flatten(1), turned.sum(dim=2).flatten(1)), dim=1) / lengths.square()  # (B, 2 · width)
        along_q, along_k = along.unsqueeze(1).to(packed.dtype).split(width, dim=2)
        of_q = torch.addcmul(torch.bmm(k, products.transpose(1, 2)), q, along_q)
        of_k = torch.addcmul(torch.bmm(q, products), k, along_k)
        return torch.cat((of_q, of_k, torch.bmm(mixed, across)), dim=2), None


def _outer(lengths: torch.Tensor, heads: int) -> torch.Tensor:
    """Lengths (B, 2 · width) of all q and then all k -> their products (B, H, d, d)."""
    of_q, of_k = lengths.view(len(lengths), 2, heads, -1).unbind(dim=1)
    return of_q.unsqueeze(3) * of_k.unsqueeze(2)


def _heads_of(products: torch.Tensor, heads: int) -> torch.Tensor:
    """Each head with itself, (B, H, d, d), out of products of all channels (B, width, width)."""
    count, width, _ = products.shape
    return products.view(count, heads, width // heads, heads, width // heads).diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)


def _all_of(heads: torch.Tensor) -> torch.Tensor:
    """The other way round, with zeros between heads."""
    count, number, side, _ = heads.shape
    products = heads.new_zeros(count, number, side, number, side)
    products.diagonal(dim1=1, dim2=3).copy_(heads.permute(0, 2, 3, 1))
    return products.view(count, number * side, number * side)


def attend_for_class(attention: ClassAttn, x: torch.Tensor) -> torch.Tensor:
    """What timm's ClassAttn (Touvron et al. 2021, arXiv:2103.17239) makes of class token and patches: (B, 1 + L, width) -> (B, 1, width).

    Only the class token asks. So for each head the question's product with a key is the token's with one vector, and the mixture of values
    is the value of a mixture of tokens: no key and no value is made of any token. What the keys' bias adds is the same for all tokens,
    so softmax does not see it.
    """
    count, _, width = x.shape
    of_k, of_v = (part.weight.view(attention.num_heads, -1, width) for part in (attention.k, attention.v))  # (H, d, width)
    q = (attention.q(x[:, 0]) * attention.scale).view(count, attention.num_heads, -1)
    scores = torch.einsum("bhd,hdc->bhc", q, of_k) @ x.transpose(1, 2)  # (B, H, 1 + L)
    mixed = scores.softmax(dim=-1) @ x
    values = torch.einsum("bhc,hdc->bhd", mixed, of_v).flatten(1)
    if attention.v.bias is not None:
        values = values + attention.v.bias
    result: torch.Tensor = attention.proj(values.unsqueeze(1))
    return result
