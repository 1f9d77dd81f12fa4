"""Every family of tower that open_clip ships, with random weights and as small as its configuration allows.

timm's entry points take their size from Python arguments that open_clip's configuration has no place for, so the small ones are
registered with timm under names of their own: the same classes and switches as the real models, with less of everything.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.models import eva, fastvit, register_model, vision_transformer, xcit
from torch import nn

from blocklora.clip import towers

SIDE = 32
WORDS = 120  # vocabulary


@register_model
def tiny_siglip(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    return vision_transformer.vit_base_patch32_siglip_256(img_size=SIDE, patch_size=8, embed_dim=48, depth=3, num_heads=4, **kwargs)


@register_model
def tiny_eva02(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    size = {"img_size": SIDE, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 4, "ref_feat_shape": (4, 4)}
    return eva.eva02_base_patch16_clip_224(**size, **kwargs)


@register_model
def tiny_eva01(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    return eva.eva_giant_patch14_clip_224(img_size=SIDE, patch_size=8, embed_dim=48, depth=3, num_heads=4, mlp_ratio=2, **kwargs)


@register_model
def tiny_pe(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    size = {"img_size": SIDE, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 4, "ref_feat_shape": (4, 4)}
    return eva.vit_pe_core_tiny_patch16_384(**size, **kwargs)


@register_model
def tiny_xcit(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    return xcit.xcit_nano_12_p8_224(embed_dim=48, depth=3, num_heads=4, **kwargs)


@register_model
def tiny_pooled_xcit(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    return towers.studio_xcit_nano_12_p8(embed_dim=48, depth=3, num_heads=4, **kwargs)


@register_model
def tiny_inner_xcit(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    return towers.studio_xcit_nano_12_p8(embed_dim=16, depth=4, num_heads=4, **kwargs)


@register_model
def tiny_mobileclip(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    return fastvit.fastvit_mci0(layers=(1, 1, 1, 2), embed_dims=(8, 16, 32, 64), **kwargs)


def _text(**more: Any) -> dict[str, Any]:
    return {"context_length": 12, "vocab_size": WORDS, "width": 32, "heads": 2, "layers": 3, **more}


def _timm(name: str, pool: str, proj: str | None, text: dict[str, Any] | None = None, side: int = SIDE) -> dict[str, Any]:
    vision = {"timm_model_name": name, "timm_pool": pool, "timm_proj": proj, "image_size": side}
    return {"embed_dim": 48 if proj == "none" else 32, "vision_cfg": vision, "text_cfg": text or _text(), "custom_text": True}


VISION = {"layers": 3, "width": 48, "head_width": 12, "patch_size": 8, "image_size": SIDE}
NORMED = {"qk_norm": True, "scale_heads": True, "scale_attn_inner": True, "scale_attn": True, "scale_fc": True}
SIGLIP_TEXT = _text(no_causal_mask=True, proj_bias=True, pool_type="last", norm_kwargs={"eps": 1e-6}, act_kwargs={"approximate": "tanh"})

# Side 64 for MobileCLIP: its attention then sees 2 x 2 places, and not one alone.
FAMILIES: dict[str, dict[str, Any]] = {
    "vit": {"embed_dim": 32, "vision_cfg": VISION, "text_cfg": _text()},
    "vit-quickgelu": {"embed_dim": 32, "vision_cfg": VISION, "text_cfg": _text(), "quick_gelu": True},
    "vit-normed": {"embed_dim": 32, "vision_cfg": {**VISION, **NORMED}, "text_cfg": _text(**NORMED)},
    "coca": {
        "embed_dim": 32,
        "vision_cfg": {**VISION, "attentional_pool": True, "attn_pooler_heads": 4, "output_tokens": True},
        "text_cfg": _text(embed_cls=True, output_tokens=True),
        "multimodal_cfg": _text(attn_pooler_heads=4),
        "custom_text": True,
    },
    "siglip2": _timm("tiny_siglip", "map", "none", SIGLIP_TEXT),
    "eva02": _timm("tiny_eva02", "token", None),
    "eva01": _timm("tiny_eva01", "token", None),
    "pe": _timm("tiny_pe", "map", None),
    "xcit": {**_timm("tiny_xcit", "token", "linear"), "custom_text": False},
    "xcit-pooled": {**_timm("tiny_pooled_xcit", towers.POOLING, "linear"), "custom_text": False},
    "xcit-inner": {**_timm("tiny_inner_xcit", towers.INNER_POOLING, "none"), "embed_dim": 9 * 16, "custom_text": False},
    "mobileclip2": _timm("tiny_mobileclip", "avg", None, _text(no_causal_mask=True), side=64),
}

IMAGE_LAYERS = {name: {"mobileclip2": 2, "xcit-inner": 4}.get(name, 3) for name in FAMILIES}


def images(family: str, n: int = 3) -> torch.Tensor:
    side = FAMILIES[family]["vision_cfg"]["image_size"]
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(1))


def tokens(n: int = 4) -> torch.Tensor:
    """Token ids (n, 12): words, the end of text (the highest id), padding."""
    ids = torch.randint(1, WORDS - 1, (n, 12), generator=torch.Generator().manual_seed(2))
    for row, end in enumerate((4, 7, 11, 2)[:n]):
        ids[row, end] = WORDS - 1
        ids[row, end + 1 :] = 0
    return ids
