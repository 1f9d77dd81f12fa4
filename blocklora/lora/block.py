"""Block-LoRA: one shared down-projection, n up-projections that are summed before a single product.

The method (arXiv 2501.16720), for a frozen weight W of shape (d_out, d_in):

    W' = W + s * (B_1 + ... + B_n) A_s        A_s: (w, d_in), B_i: (d_out, w), w = max(1, r // n)

where s is alpha/sqrt(r) or alpha/r. Every B_i starts at zero and A_s is Kaiming-uniform, so an untrained adapter changes nothing.
The sum is taken first, then one product: the cost of n is one small sum, whatever n is, and no (d_out, d_in) matrix is ever made
while training. With n = 1 this is LoRA (arXiv 2106.09685).

What n does, and what it does not. The output depends on the arms only through their sum, so every B_i receives the same gradient
and, from equal starts, all of them stay equal. The sum is therefore an ordinary LoRA of rank w whose up-projection learns n times
as fast: with AdamW, Block(r, n) at s = alpha/r equals LoRA(rank r/n) at scale alpha/(r/n), step for step, and at s = alpha/sqrt(r)
it equals LoRA(rank r/n) at scale sqrt(n) * alpha/sqrt(r/n) (up to AdamW's epsilon). So w sets the capacity, and n trades the size
of the adapter against the size of its steps. It is smaller and faster than LoRA of rank r; it is not a richer model than LoRA of rank w.

PEFT's "BD-LoRA" (block-diagonal) is a different method with a similar name.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F

from blocklora.config import AdapterConfig


class BlockLoRA(nn.Module):
    """The low-rank update of one projection: `A` (w, d_in) and the n arms `B` (n, d_out, w), stacked in one parameter.

    Both are float32 whatever the model is in: the optimiser needs the fine steps, and they are tiny.
    """

    def __init__(self, d_in: int, d_out: int, config: AdapterConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.d_in, self.d_out, self.scale = d_in, d_out, config.scale
        self.A = nn.Parameter(torch.empty(config.width, d_in, dtype=torch.float32, device="cpu"))
        self.B = nn.Parameter(torch.zeros(config.blocks, d_out, config.width, dtype=torch.float32, device="cpu"))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5), generator=generator)

    def up(self) -> torch.Tensor:
        """s * (B_1 + ... + B_n), of shape (d_out, w): the arms become one matrix before any product."""
        return self.B.sum(0) * self.scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The update alone, (..., d_in) -> (..., d_out); dropout is the caller's."""
        return F.linear(F.linear(x, self.A.to(x.dtype)), self.up().to(x.dtype))

    def dense(self) -> torch.Tensor:
        """s * (sum B_i) A_s as a (d_out, d_in) float32 matrix; for merging, never for training."""
        return self.up() @ self.A

    def extra_repr(self) -> str:
        return f"d_in={self.d_in}, d_out={self.d_out}, width={self.A.shape[0]}, blocks={self.B.shape[0]}, scale={self.scale:g}"


def drop(x: torch.Tensor, share: float) -> tuple[torch.Tensor, float]:
    """`x` with a random `share` of its entries set to zero, and the factor that keeps its expectation.

    Dropout (Srivastava et al. 2014), with the factor left to the caller, who has smaller matrices to multiply. On a CPU torch's own
    draws a number for each entry, a tenth of a step's time; here one draw of 64 bits serves eight entries, and the share is a
    multiple of 1/256.
    """
    if x.device.type != "cpu":
        return F.dropout(x, share), 1.0
    sharp, n = max(1, min(255, round(share * 256))), x.numel()
    draws = torch.empty((n + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
    kept = draws.view(torch.uint8)[:n].view(x.shape).clamp(sharp - 1, sharp).sub_(sharp - 1)
    result: torch.Tensor = _Kept.apply(x, kept)
    return result, 256 / (256 - sharp)


class _Kept(torch.autograd.Function):
    """`x` where the mask `kept` of bytes is one, zero where it is zero.

    A mask of bytes is brought to the type of `x` by vector instructions; comparing and multiplying with booleans is not. Only the bytes
    are kept for the way back.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(kept)
        return x * kept.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (kept,) = ctx.saved_tensors
        return gradients[0] * kept.to(gradients[0].dtype), None


def as_multiplied(x: torch.Tensor) -> torch.Tensor:
    """`x` in the type that autocast multiplies it in: once, for all products that it goes into."""
    return x.to(torch.get_autocast_dtype(x.device.type)) if torch.is_autocast_enabled(x.device.type) else x


class AdaptedRows(nn.Module):
    """The updates of one weight matrix whose rows hold one projection or several of equal height (q, k and v packed).

    Adapted projections share one dropped-out input, one down product and one up product that adds onto the frozen result in place of
    an extra pass over memory. CLIP-LoRA drops each projection's input with a mask of its own; here q, k and v of a layer see the same
    mask. Each of them sees exactly the same distribution as there; only the correlation between the three masks differs, and two
    masks fewer are drawn.
    """

    def __init__(self, deltas: dict[str, BlockLoRA], rows: tuple[str, ...], dropout: float) -> None:
        """`rows` names the projections in the order in which they are stacked; `deltas` holds those that are adapted."""
        super().__init__()
        self.deltas = nn.ModuleDict(deltas)
        self.rows = rows
        self.dropout = dropout

    def forward(self, x: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        """`base` (..., d_out), the frozen result for `x` (..., d_in), plus the updates."""
        down, up = self._factors()
        if self.training and self.dropout:
            x, gain = drop(x, self.dropout)
            down = down * gain
        hidden = F.linear(x, down.to(x.dtype))  # (..., m * w)
        total = torch.addmm(base.flatten(0, -2), hidden.flatten(0, -2), up.t().to(hidden.dtype))
        return total.view(base.shape)

    def _factors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Down (m * w, d_in) and up (d_out, m * w) for the m adapted projections; up is block-diagonal, with empty rows for the rest."""
        parts = self._parts()
        present = [part for part in parts if part is not None]
        if len(parts) == 1:
            return present[0].A, present[0].up()
        absent = present[0].A.new_zeros(present[0].d_out, 0)
        up = torch.block_diag(*[absent if part is None else part.up() for part in parts])
        return torch.cat([part.A for part in present]), up

    def _parts(self) -> list[BlockLoRA | None]:
        """The update of each projection in stacking order, None for those that are not adapted."""
        return [cast("BlockLoRA", self.deltas[name]) if name in self.deltas else None for name in self.rows]

    @torch.no_grad()
    def fold_into(self, weight: torch.Tensor) -> None:
        """Add the updates to `weight` (d_out, d_in, and 1 x 1 for a pointwise convolution) in place, computed in float32."""
        for part, stripe in zip(self._parts(), weight.chunk(len(self.rows)), strict=True):
            if part is not None:
                stripe.copy_(stripe.float() + part.dense().to(weight.device).view_as(stripe))
