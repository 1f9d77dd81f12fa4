"""The built-in backbone's own image tower, under a name that timm, and so open_clip, can build.

XCiT (El-Nouby et al. 2021, arXiv:2106.09681) ends in a class token: what it was trained to tell apart, and little else. Mean and
maximum of its patches say more of colour, texture and scene, which classes that it has never seen are told apart by. So all
three are its features, each brought to the same size so that none drowns the others.

Importing this module is what makes the name known.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.xcit import Xcit

POOLING = "token_mean_max"


class PooledXcit(Xcit):
    """timm's XCiT with three poolings at once: features (B, 3 · width) of class token, mean and maximum of the patches."""

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Take the classifier away and set the pooling. Raises ValueError for what this tower is not made for."""
        if num_classes or global_pool not in (None, POOLING):
            raise ValueError(
                f"This tower gives features, pooled as {POOLING!r}; asked for {num_classes} classes, pooled as {global_pool!r}"
            )
        self.num_classes, self.global_pool = 0, POOLING
        self.head = torch.nn.Identity()
        self.num_features = self.head_hidden_size = 3 * self.embed_dim

    def forward_head(self, x: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Class token and patches (B, 1 + L, width) -> (B, 3 · width)."""
        patches = x[:, self.num_prefix_tokens :]
        parts = (x[:, 0], patches.mean(dim=1), patches.amax(dim=1))
        return torch.cat([F.layer_norm(part, part.shape[-1:]) for part in parts], dim=-1)


default_cfgs = generate_default_cfgs({"studio_xcit_nano_12_p8.untrained": {"input_size": (3, 224, 224), "num_classes": 0}})


@register_model
def studio_xcit_nano_12_p8(pretrained: bool = False, **kwargs: Any) -> PooledXcit:
    """XCiT nano (12 layers, patches of 8) with three poolings; it has no published weights."""
    arguments = {"patch_size": 8, "embed_dim": 128, "depth": 12, "num_heads": 4, "eta": 1.0, "tokens_norm": False}
    model: PooledXcit = build_model_with_cfg(PooledXcit, "studio_xcit_nano_12_p8", pretrained, **{**arguments, **kwargs})
    return model
