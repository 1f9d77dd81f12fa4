"""Products with frozen weights, in float32 on a CPU, through the quicker of the two libraries that torch carries.

torch gives float32 products to Intel's MKL, which on AMD's processors keeps to 256-bit instructions; oneDNN, which torch has for
convolutions and bfloat16, takes 512-bit ones wherever the processor has them: about twice as fast on an AMD EPYC with AVX-512. Both
round as float32 does, in another order. torch knows no backward pass of oneDNN's product; with a frozen weight, it is one more product.
What is called is what torch's own compiler calls (`mkldnn::_linear_pointwise`). Weights that are reordered beforehand, for both ways and in
bfloat16 too, were tried: hardly quicker, and 380 MB more for a ViT-B/32.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch.nn import functional as F

from blocklora.processor import cpu_name, is_amd


def has_product() -> bool:
    """Whether this torch has oneDNN's product."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


@functools.cache
def pays() -> bool:
    """Whether it is the quicker one on this processor."""
    return has_product() and is_amd(cpu_name()) and torch.backends.cpu.get_cpu_capability() == "AVX512"


class FrozenLinear:
    """`F.linear` with a `weight` (d_out, d_in) and `bias` (d_out,) that are not trained. What else is asked of it is left to `F.linear`:
    other types, other devices, autocast, and weights that do take a gradient.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self.weight, self.bias = weight, bias

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """x (..., d_in) -> (..., d_out)."""
        grad = torch.is_grad_enabled()
        frozen = not grad or not (self.weight.requires_grad or (self.bias is not None and self.bias.requires_grad))
        fits = x.device.type == "cpu" and x.dtype == self.weight.dtype == torch.float32 and x.numel() > 0
        if not (frozen and fits and pays()) or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling():
            return F.linear(x, self.weight, self.bias)
        if not (grad and x.requires_grad):
            return _product(x, self.weight, self.bias)
        result: torch.Tensor = _Product.apply(x, self.weight, self.bias)
        return result


def _product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    result: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight, bias, "none", [], "")
    return result


class _Product(torch.autograd.Function):
    """The product, with the gradient of its input."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        ctx.save_for_backward(weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return _product(grads[0], weight.t(), None), None, None
