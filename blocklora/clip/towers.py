"""The built-in backbone's own image tower, under a name that timm, and so open_clip, can build.

XCiT (El-Nouby et al. 2021, arXiv:2106.09681) ends in a class token: what it was trained to tell apart, and little else. Mean and
maximum of its patches say more of colour, texture and scene, which classes that it has never seen are told apart by. Layers further
down say still other things of them: features of inner layers beside the last ones help where the new task is unlike the one that was
trained for (Evci et al. 2022, arXiv:2201.03529). Each part is brought to the same size, so that none drowns the others.

Importing this module is what makes the name known.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.xcit import Xcit

from blocklora.clip.attention import CrossCovariance, attend_for_class

POOLING = "token_mean_max"
INNER_POOLING = "token_mean_max_inner"
"""The same, and mean and maximum of the patches after a quarter, a half and three quarters of the layers."""

Side = tuple[int, int]


def _pooled(patches: torch.Tensor) -> torch.Tensor:
    """Patches (B, L, width) -> mean and maximum, (B, 2, width)."""
    return torch.stack((patches.mean(dim=1), patches.amax(dim=1)), dim=1)


class PooledXcit(Xcit):
    """timm's XCiT with several poolings at once: class token, mean and maximum of the patches, and with `INNER_POOLING` mean and maximum
    after inner layers too. Features are (B, 3 · width) or (B, 9 · width).
    """

    def __init__(self, num_classes: int = 0, global_pool: str = POOLING, **kwargs: Any) -> None:
        super().__init__(num_classes=0, global_pool="token", **kwargs)
        block: Any
        for block in self.blocks:
            block.attn = CrossCovariance(block.attn)
        self.reset_classifier(num_classes, global_pool)

    def quicken(self) -> None:
        """Let the class token attend in the quicker way from now on; layers have a `quicken` of their own."""
        block: Any
        for block in self.cls_attn_blocks:
            block.attn.forward = functools.partial(attend_for_class, block.attn)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Set the pooling; there is no classifier. Raises ValueError for what this tower is not made for."""
        if num_classes or global_pool not in (None, POOLING, INNER_POOLING):
            raise ValueError(
                f"This tower gives features, pooled as {POOLING!r} or {INNER_POOLING!r}; "
                f"asked for {num_classes} classes, pooled as {global_pool!r}"
            )
        self.num_classes, self.global_pool = 0, global_pool or POOLING
        depth = len(self.blocks)
        self.inner = tuple(depth * part // 4 for part in (1, 2, 3)) if self.global_pool == INNER_POOLING else ()
        """How many layers lie below each inner pooling."""
        self.head = torch.nn.Identity()
        self.num_features = self.head_hidden_size = (3 + 2 * len(self.inner)) * self.embed_dim

    def stem(self, images: torch.Tensor) -> tuple[torch.Tensor, Side]:
        """Images (B, 3, S, S) -> patches with their positions (B, L, width), and how many there are on each side."""
        x, (high, wide) = self.patch_embed(images)
        if self.pos_embed is not None:
            x = x + self.pos_embed(len(x), high, wide).reshape(len(x), -1, x.shape[1]).permute(0, 2, 1)
        return self.pos_drop(x), (high, wide)

    def layers(self, x: torch.Tensor, side: Side, first: int, last: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Patches (B, L, width) through the layers from `first` up to `last`; also what is pooled between them, each (B, 2, width)."""
        inner = []
        for number in range(first, last):
            x = self.blocks[number](x, *side)
            if number + 1 in self.inner:
                inner.append(_pooled(x))
        return x, inner

    def last_states(self, x: torch.Tensor, inner: list[torch.Tensor]) -> torch.Tensor:
        """What `forward_head` takes: patches after all layers, with class token before them and inner poolings behind."""
        return torch.cat([self.norm(self.forward_cls(x)), *inner], dim=1)

    def forward_cls(self, x: torch.Tensor) -> torch.Tensor:
        """Patches (B, L, width) -> class token and patches (B, 1 + L, width), through the layers of class attention."""
        x = torch.cat((self.cls_token.expand(len(x), -1, -1), x), dim=1)
        for block in self.cls_attn_blocks:
            x = block(x)
        return x

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        """Images (B, 3, S, S) -> class token, patches and inner poolings (B, 1 + L + 2 · inner, width)."""
        x, side = self.stem(x)
        return self.last_states(*self.layers(x, side, 0, len(self.blocks)))

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """What `forward_features` gives -> features (B, (3 + 2 · inner) · width)."""
        end = x.shape[1] - 2 * len(self.inner)
        parts = torch.cat((x[:, :1], _pooled(x[:, self.num_prefix_tokens : end]), x[:, end:]), dim=1)
        return F.layer_norm(parts, parts.shape[-1:]).flatten(1)


default_cfgs = generate_default_cfgs({"studio_xcit_nano_12_p8.untrained": {"input_size": (3, 224, 224), "num_classes": 0}})


@register_model
def studio_xcit_nano_12_p8(pretrained: bool = False, **kwargs: Any) -> PooledXcit:
    """XCiT nano (12 layers, patches of 8) with several poolings; it has no published weights."""
    arguments = {"patch_size": 8, "embed_dim": 128, "depth": 12, "num_heads": 4, "eta": 1.0, "tokens_norm": False}
    model: PooledXcit = build_model_with_cfg(PooledXcit, "studio_xcit_nano_12_p8", pretrained, **{**arguments, **kwargs})
    return model
