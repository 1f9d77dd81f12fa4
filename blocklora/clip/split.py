"""A tower in two: what lies below its first adapted layer, and the rest.

Nothing below that layer changes in training, so what it gives can be kept and need not be computed again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.timm_model import TimmModel
from open_clip.transformer import Transformer, VisionTransformer, text_global_pool
from timm.models import vision_transformer, xcit
from torch import nn

from blocklora.clip.text_tower import reads_end_of_text, text_parts
from blocklora.clip.towers import PooledXcit

Half = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Split:
    """`upper(lower(inputs))` is what the whole tower gives for its inputs: features (N, D), not normalised.

    `lower` gives the hidden state that enters the first adapted layer: (N, L, width).
    """

    lower: Half
    upper: Half


def split_image_tower(model: nn.Module, first: int) -> Split | None:
    """The image tower before and from layer `first` on, or None for a kind of tower that cannot be parted.

    Known kinds: open_clip's ViT, and timm's ViT and XCiT inside open_clip's wrapper.
    """
    tower: Any = model.visual if type(model) in (CLIP, CustomTextCLIP) else None
    if type(tower) is VisionTransformer and type(tower.transformer) is Transformer and not tower.output_tokens:
        return _open_clip(tower, first)
    if type(tower) is TimmModel and type(tower.trunk) is vision_transformer.VisionTransformer:
        return _timm_vit(tower, first)
    if type(tower) is TimmModel and type(tower.trunk) is xcit.Xcit:
        return _xcit(tower, first)
    if type(tower) is TimmModel and type(tower.trunk) is PooledXcit:
        return _pooled_xcit(tower, first)
    return None


def _open_clip(tower: VisionTransformer, first: int) -> Split:
    blocks: Any = tower.transformer.resblocks

    def order(x: torch.Tensor) -> torch.Tensor:
        return x if tower.transformer.batch_first else x.transpose(0, 1)

    def lower(images: torch.Tensor) -> torch.Tensor:
        x = order(tower._embeds(images))
        for block in blocks[:first]:
            x = block(x)
        return order(x)

    def upper(hidden: torch.Tensor) -> torch.Tensor:
        x = order(hidden)
        for block in blocks[first:]:
            x = block(x)
        pooled, _ = tower._pool(order(x))
        return pooled if tower.proj is None else pooled @ tower.proj.to(pooled.dtype)

    return Split(lower, upper)


def _timm_vit(tower: TimmModel, first: int) -> Split:
    trunk: Any = tower.trunk

    def lower(images: torch.Tensor) -> torch.Tensor:
        x = trunk.norm_pre(trunk.patch_drop(trunk._pos_embed(trunk.patch_embed(images))))
        for block in trunk.blocks[:first]:
            x = block(x)
        result: torch.Tensor = x
        return result

    def upper(hidden: torch.Tensor) -> torch.Tensor:
        x = hidden
        for block in trunk.blocks[first:]:
            x = block(x)
        features: torch.Tensor = tower.head(trunk.forward_head(trunk.norm(x)))
        return features

    return Split(lower, upper)


def _xcit(tower: TimmModel, first: int) -> Split:
    trunk: Any = tower.trunk

    def run(x: torch.Tensor, blocks: Any) -> torch.Tensor:
        side = round(x.shape[1] ** 0.5)  # inputs are square
        for block in blocks:
            x = block(x, side, side)
        return x

    def lower(images: torch.Tensor) -> torch.Tensor:
        x, (high, wide) = trunk.patch_embed(images)
        if trunk.pos_embed is not None:
            x = x + trunk.pos_embed(len(x), high, wide).reshape(len(x), -1, x.shape[1]).permute(0, 2, 1)
        return run(trunk.pos_drop(x), trunk.blocks[:first])

    def upper(hidden: torch.Tensor) -> torch.Tensor:
        x = trunk.norm(trunk.forward_cls(run(hidden, trunk.blocks[first:])))
        features: torch.Tensor = tower.head(trunk.forward_head(x))
        return features

    return Split(lower, upper)


def _pooled_xcit(tower: TimmModel, first: int) -> Split:
    trunk: Any = tower.trunk
    below = 2 * sum(depth <= first for depth in trunk.inner)  # rows that are pooled before layer `first`: they travel in front

    def lower(images: torch.Tensor) -> torch.Tensor:
        x, inner = trunk.layers(*trunk.stem(images), 0, first)
        return torch.cat([*inner, x], dim=1)

    def upper(hidden: torch.Tensor) -> torch.Tensor:
        side = round((hidden.shape[1] - below) ** 0.5)  # inputs are square
        x, inner = trunk.layers(hidden[:, below:], (side, side), first, len(trunk.blocks))
        states = trunk.last_states(x, [hidden[:, :below], *inner])
        features: torch.Tensor = tower.head(trunk.forward_head(states))
        return features

    return Split(lower, upper)


def split_text_tower(model: nn.Module, tokens: torch.Tensor, first: int) -> Split | None:
    """The text tower for prompts `tokens` (P, L) before and from layer `first` on; `lower` takes the tokens.

    None for towers that are not causal with the feature at the end of the text.
    """
    if not reads_end_of_text(model):
        return None
    text = text_parts(model)
    if type(text.transformer) is not Transformer:
        return None
    blocks, length = text.transformer.resblocks, tokens.shape[1]
    mask = text.attn_mask[:length, :length]

    def order(x: torch.Tensor) -> torch.Tensor:
        return x if text.transformer.batch_first else x.transpose(0, 1)

    def lower(chosen: torch.Tensor) -> torch.Tensor:
        x = order(text.token_embedding(chosen) + text.positional_embedding[:length])
        for block in blocks[:first]:
            x = block(x, attn_mask=mask)
        return order(x)

    def upper(hidden: torch.Tensor) -> torch.Tensor:
        x = order(hidden)
        for block in blocks[first:]:
            x = block(x, attn_mask=mask)
        pool = getattr(text, "text_pool_type", None) or text.pool_type
        end = getattr(text, "text_eos_id", None) or getattr(text, "eos_id", None)
        x = text_global_pool(text.ln_final(order(x)), tokens, pool, eos_token_id=end)
        if text.text_projection is None:
            return x
        return text.text_projection(x) if isinstance(text.text_projection, nn.Linear) else x @ text.text_projection.to(x.dtype)

    return Split(lower, upper)
