"""Configurations of tiny CLIP models with open_clip's own vocabulary, one for each kind of text tower."""

from __future__ import annotations

from typing import Any

VISION = {"layers": 2, "width": 32, "head_width": 16, "patch_size": 16, "image_size": 32}


def _text(**more: Any) -> dict[str, Any]:
    return {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2, **more}


CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": _text()},
    "own text module": {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": _text(proj_bias=True), "custom_text": True},
    "end of text by id": {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": _text(pool_type="eos", eos_id=49407)},
    "no projection": {"embed_dim": 32, "vision_cfg": VISION, "text_cfg": _text(proj_type="none"), "custom_text": True},
    "bidirectional": {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": _text(no_causal_mask=True), "custom_text": True},
    "siglip": {
        "embed_dim": 24,
        "vision_cfg": VISION,
        "text_cfg": _text(no_causal_mask=True, pool_type="last", context_length=64),
        "custom_text": True,
    },
    "coca": {
        "embed_dim": 24,
        "vision_cfg": {**VISION, "attentional_pool": True, "attn_pooler_heads": 4, "output_tokens": True},
        "text_cfg": _text(embed_cls=True, output_tokens=True, context_length=76),
        "multimodal_cfg": _text(attn_pooler_heads=4, context_length=76),
        "custom_text": True,
    },
}
