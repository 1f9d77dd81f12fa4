"""The network: open_clip's own CLIP, with a faster way through its ViT image tower for training on a CPU.

The parameters are open_clip's and stay so; only the order of operations differs. `encode_image` here equals
the tower's own forward at the stored image size (a test compares them) and also takes images of other sizes.
"""

from __future__ import annotations

import contextlib
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from open_clip.timm_model import TimmModel
from torch import nn

import blocklora.clip.towers  # noqa: F401 - the name of the tower
from blocklora.clip.precision import has_bf16
from blocklora.errors import TrainingError

Clip = Any
"""An open_clip.model.CLIP. Its parts are only known at run time, so types cannot follow them."""
ImageTower = Any
"""Its `visual`: open_clip's VisionTransformer, or a tower of timm that takes any image size."""


def build_model(model_cfg: dict[str, Any]) -> Clip:
    """A freshly initialised open_clip CLIP. Raises TrainingError when open_clip does not accept `model_cfg`."""
    if not {"embed_dim", "vision_cfg", "text_cfg"} <= model_cfg.keys():
        raise TrainingError(f"The model configuration has only {sorted(model_cfg)}.", "It needs embed_dim, vision_cfg and text_cfg.")
    try:
        model = open_clip.model.CLIP(**model_cfg)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise TrainingError(f"open_clip does not accept the model configuration: {error}.") from error
    if isinstance(model.visual, TimmModel):  # convolutions: a third faster this way round on a CPU
        model.visual.to(memory_format=torch.channels_last)
        if hasattr(model.visual.head, "proj"):
            nn.init.orthogonal_(model.visual.head.proj.weight)  # keeps every direction of the pooled features
    return model


def patch_side(visual: ImageTower) -> int:
    """Pixels of a patch's side: image sizes must be multiples of it."""
    side = visual.trunk.patch_embed.patch_size if isinstance(visual, TimmModel) else visual.patch_size
    return int(side if isinstance(side, int) else side[0])


def position_embedding(visual: ImageTower, grid: int) -> torch.Tensor:
    """Class token and grid positions for `grid` x `grid` patches, (1 + grid², D); bicubic where that is not the stored grid.

    Same interpolation as open_clip's `resize_pos_embed`.
    """
    stored: torch.Tensor = visual.positional_embedding
    side: int = visual.grid_size[0]
    if grid == side:
        return stored
    square = stored[1:].view(1, side, side, -1).permute(0, 3, 1, 2)
    square = F.interpolate(square, size=(grid, grid), mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([stored[:1], square.permute(0, 2, 3, 1).reshape(grid * grid, -1)])


def _attention(layer: nn.MultiheadAttention, x: torch.Tensor) -> torch.Tensor:
    """Self-attention as two batched matrix products: (B, L, D) -> (B, L, D).

    On a CPU in bfloat16 its backward pass is about twice as fast as that of scaled_dot_product_attention.
    """
    batch, length, width = x.shape
    heads = layer.num_heads
    qkv = F.linear(x, layer.in_proj_weight, layer.in_proj_bias).view(batch, length, 3, heads, width // heads)
    q, k, v = qkv.permute(2, 0, 3, 1, 4).reshape(3, batch * heads, length, -1).unbind(0)  # (B·nh, L, hs) each
    weights = torch.bmm(q, k.transpose(1, 2)).mul((width // heads) ** -0.5).softmax(-1)
    mixed = torch.bmm(weights.to(v.dtype), v).view(batch, heads, length, -1).transpose(1, 2)
    return F.linear(mixed.reshape(batch, length, width), layer.out_proj.weight, layer.out_proj.bias)


def encode_image(visual: ImageTower, pixels: torch.Tensor) -> torch.Tensor:
    """Normalised pixels (B, 3, R, R), R a multiple of the patch size -> image features (B, D), not normalised."""
    if isinstance(visual, TimmModel):
        features: torch.Tensor = visual(pixels.contiguous(memory_format=torch.channels_last))
        return features
    x = visual.conv1(pixels)
    grid = x.shape[-1]
    x = x.flatten(2).transpose(1, 2)  # (B, grid², D)
    positions = position_embedding(visual, grid).to(x.dtype)
    first = (visual.class_embedding + positions[0]).to(x.dtype).expand(len(x), 1, -1)
    x = visual.ln_pre(torch.cat([first, x + positions[1:]], dim=1))
    for block in visual.transformer.resblocks:
        x = x + block.ls_1(_attention(block.attn, block.ln_1(x)))
        x = x + block.ls_2(block.mlp(block.ln_2(x)))
    pooled, _ = visual._pool(x)  # with the last layer norm
    return pooled @ visual.proj.to(pooled.dtype)


@torch.no_grad()
def centre_text(model: Clip, prompts: torch.Tensor) -> None:
    """Set the bias of the last text layer norm so that the features of `prompts` (N, L) have mean zero.

    A fresh causal tower gives nearly the same vector for every text (cosine above 0.9), so that hundreds of steps
    would be spent on pulling them apart. The offset that they share is known before the first step.
    """
    seen: list[torch.Tensor] = []
    hook = model.ln_final.register_forward_hook(lambda module, inputs, output: seen.append(output))
    for part in prompts.split(512):
        model.encode_text(part)
        seen[-1] = seen[-1][torch.arange(len(part)), part.argmax(-1)]  # at the end token, which has the highest number
    hook.remove()
    model.ln_final.bias.sub_(torch.cat(seen).mean(0))


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    """bfloat16 arithmetic where the hardware has it ("auto"), always ("bf16") or never ("fp32")."""
    if precision == "bf16" or (precision == "auto" and has_bf16(device)):
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()
