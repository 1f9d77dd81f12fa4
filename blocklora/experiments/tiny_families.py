"""Models beyond CLIP's plain ViT with random weights, as small as their code allows: the families that the `towers` experiment tries.

timm's entry points take their size from Python arguments that open_clip's configuration has no place for, so small ones are registered
with timm under names of their own: the same classes and switches as the real models, with less of everything.
"""

from __future__ import annotations

from typing import Any

from timm.models import eva, fastvit, register_model, vision_transformer
from torch import nn

SIDE = 32
WORDS = 120  # vocabulary; its last word is the end of a text
LENGTH = 12  # tokens of a text
SMALL = {"img_size": SIDE, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 4}


@register_model
def studio_small_siglip(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    return vision_transformer.vit_base_patch32_siglip_256(**SMALL, **kwargs)


@register_model
def studio_small_eva02(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    return eva.eva02_base_patch16_clip_224(**SMALL, ref_feat_shape=(4, 4), **kwargs)


@register_model
def studio_small_mobileclip(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    return fastvit.fastvit_mci0(layers=(1, 1, 1, 2), embed_dims=(8, 16, 32, 64), **kwargs)


def _text(**more: Any) -> dict[str, Any]:
    return {"context_length": LENGTH, "vocab_size": WORDS, "width": 32, "heads": 2, "layers": 3, **more}


def _timm(name: str, pool: str, proj: str | None, text: dict[str, Any], side: int = SIDE) -> dict[str, Any]:
    vision = {"timm_model_name": name, "timm_pool": pool, "timm_proj": proj, "image_size": side}
    return {"embed_dim": 48 if proj == "none" else 32, "vision_cfg": vision, "text_cfg": text, "custom_text": True}


VISION = {"layers": 3, "width": 48, "head_width": 12, "patch_size": 8, "image_size": SIDE}

FAMILIES: dict[str, dict[str, Any]] = {
    "ViT": {"embed_dim": 32, "vision_cfg": VISION, "text_cfg": _text()},
    "SigLIP2": _timm("studio_small_siglip", "map", "none", _text(no_causal_mask=True, proj_bias=True, pool_type="last")),
    "CoCa": {
        "embed_dim": 32,
        "vision_cfg": {**VISION, "attentional_pool": True, "attn_pooler_heads": 4, "output_tokens": True},
        "text_cfg": _text(embed_cls=True, output_tokens=True),
        "multimodal_cfg": _text(attn_pooler_heads=4),
        "custom_text": True,
    },
    # Side 64: its attention then sees 2 x 2 places, and not one alone.
    "MobileCLIP2": _timm("studio_small_mobileclip", "avg", None, _text(no_causal_mask=True), side=64),
    "EVA-02": _timm("studio_small_eva02", "token", None, _text()),
}
