"""The modules that stand in for a frozen layer while its adapters are attached. Each keeps the frozen layer untouched inside."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from blocklora.lora.block import AdaptedRows, as_multiplied


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Scaled dot-product attention over (N, heads, L, head_dim), with an additive `mask` that broadcasts to (N, heads, L, L).

    On a CPU the plain formula: PyTorch's fused kernel has a slow backward pass there, and costs 1.2 to 5 times as much in training
    at the lengths of CLIP (10 to 200 tokens). Elsewhere the fused kernel.
    """
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, attn_mask=None if mask is None else mask.to(q.dtype))
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)  # (N, heads, L, L)
    if mask is not None:
        scores = scores + mask.to(scores.dtype)
    return scores.softmax(dim=-1) @ v


class AdaptedLinear(nn.Module):
    """A frozen nn.Linear plus the updates of its rows; `weight` and `bias` are the frozen ones, for code that looks at them."""

    def __init__(self, base: nn.Linear, rows: AdaptedRows) -> None:
        super().__init__()
        self.base = base
        self.rows = rows

    @property
    def weight(self) -> torch.Tensor:
        return self.base.weight

    @property
    def bias(self) -> torch.Tensor | None:
        return self.base.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = as_multiplied(x)
        return self.rows(x, self.base(x))


class AdaptedPointwise(nn.Module):
    """A frozen 1 x 1 convolution, the MLP of convolutional towers: a linear map of the channels of (N, C, H, W)."""

    def __init__(self, base: nn.Conv2d, rows: AdaptedRows) -> None:
        super().__init__()
        self.base = base
        self.rows = rows

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        base = self.base(x).movedim(1, -1).contiguous()  # (N, H, W, C_out)
        return self.rows(x.movedim(1, -1), base).movedim(-1, 1)


class AdaptedAttention(nn.Module):
    """Self-attention in place of a frozen nn.MultiheadAttention: packed q, k, v in one product, and the output projection.

    nn.MultiheadAttention never calls `out_proj.forward`, so an adapter on "o" can only be applied by a module that does the whole
    attention itself. Takes the arguments that open_clip's residual attention blocks pass, and returns (output, None) as they expect.
    """

    def __init__(self, base: nn.MultiheadAttention, packed: AdaptedRows | None, out: AdaptedRows | None) -> None:
        super().__init__()
        self.base: Any = base
        self.packed = packed
        self.out = out
        self.batch_first = base.batch_first

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        need_weights: bool = False,
        attn_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, None]:
        """Attention of `query` (N, L, d) over itself, or (L, N, d) where the frozen module is not batch-first.

        `attn_mask` is additive or boolean (True = not seen), of shape (L, L) or (N * heads, L, L).

        Raises:
            ValueError: key or value is another tensor than query, or weights are asked for; neither happens in a CLIP tower.
        """
        if key is not query or value is not query or need_weights:
            raise ValueError("an adapted attention is self-attention without returned weights")
        x = query if self.batch_first else query.transpose(0, 1)
        q, k, v = self._heads(x)
        y = self._project(_side_by_side(attend(q, k, v, self._mask(attn_mask, x.shape[0]))))
        return (y if self.batch_first else y.transpose(0, 1)), None

    def _heads(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """q, k and v of `x` (N, L, d), each (N, heads, L, head_dim)."""
        x = as_multiplied(x)
        product = getattr(self.base, "in_product", None)  # of a quickened model (`blocklora.lora.quick`)
        packed = F.linear(x, self.base.in_proj_weight, self.base.in_proj_bias) if product is None else product(x)  # (N, L, 3 d)
        if self.packed is not None:
            packed = self.packed(x, packed)
        return packed.view(*x.shape[:2], 3, self.base.num_heads, self.base.head_dim).permute(2, 0, 3, 1, 4).unbind(0)

    def _project(self, mixed: torch.Tensor) -> torch.Tensor:
        """The output projection of `mixed` (N, L, d), with the adapters on "o"."""
        y = self.base.out_proj(mixed)
        return y if self.out is None else self.out(mixed, y)

    def _mask(self, mask: torch.Tensor | None, n: int) -> torch.Tensor | None:
        """The mask as one that is added and broadcasts to (N, heads, L, L)."""
        if mask is None:
            return None
        if mask.dtype == torch.bool:
            mask = torch.zeros_like(mask, dtype=torch.float32).masked_fill_(mask, float("-inf"))
        return mask.view(n, self.base.num_heads, *mask.shape[-2:]) if mask.ndim == 3 else mask


class AdaptedNormedAttention(AdaptedAttention):
    """The same in place of open_clip's own attention module, which can normalise q and k, scale heads and normalise what they mix."""

    def __init__(self, base: Any, packed: AdaptedRows | None, out: AdaptedRows | None) -> None:
        nn.Module.__init__(self)
        self.base = base
        self.packed = packed
        self.out = out

    def forward(self, x: torch.Tensor, attn_mask: torch.Tensor | None = None) -> torch.Tensor:  # type: ignore[override]
        """Attention of `x` (N, L, d) over itself."""
        q, k, v = self._heads(x)
        mixed = attend(self.base.ln_q(q), self.base.ln_k(k), v, self._mask(attn_mask, x.shape[0]))
        if self.base.head_scale is not None:
            mixed = mixed * self.base.head_scale
        return self._project(self.base.ln_inner(_side_by_side(mixed)))


def _side_by_side(heads: torch.Tensor) -> torch.Tensor:
    """(N, heads, L, head_dim) -> (N, L, heads * head_dim)."""
    return heads.transpose(1, 2).flatten(2)
