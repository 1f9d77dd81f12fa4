"""Which backbones the transformers library can build too, as its CLIPModel: told by what open_clip's configuration switches on.

CLIPModel is the original CLIP: an image tower that pools its class token, a causal text tower that reads the end-of-text token, plain
attention in both. Whatever open_clip has beside that (other towers, other pooling, normalised attention, tokens of its own) has a
switch in its configuration whose default is "off", so a twin exists where everything but the sizes stands at its default.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from open_clip.model import CLIPTextCfg, CLIPVisionCfg

_SIZES = {
    "image": {"layers", "width", "head_width", "mlp_ratio", "patch_size", "image_size"},
    "text": {"layers", "width", "heads", "mlp_ratio", "context_length", "vocab_size"},
}
# Without effect on what a model in evaluation mode computes, or without effect where another switch is off.
_IDLE = {
    "image": {"patch_dropout", "attn_pooler_queries", "attn_pooler_heads"},
    "text": {"pad_id", "eos_id", "pool_type", "hf_model_pretrained", "hf_proj_type", "hf_pooler_type"},
}
_WHOLE = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "custom_text", "init_logit_scale"}
_END_OF_TEXT_BEFORE = 2  # what transformers takes for "the highest id" instead of an id


def why_no_twin(model_cfg: dict[str, Any]) -> str:
    """What keeps transformers' CLIPModel from computing what this open_clip configuration does, in words; '' where nothing does."""
    vision, text = model_cfg["vision_cfg"], model_cfg["text_cfg"]
    if "multimodal_cfg" in model_cfg:
        return "it is a CoCa, with a decoder beside its towers"
    if vision.get("timm_model_name"):
        return f"its image tower, {vision['timm_model_name']}, is not one of open_clip's own"
    if text.get("hf_model_name"):
        return f"its text tower, {text['hf_model_name']}, is not one of open_clip's own"
    if not isinstance(vision.get("layers", 12), int):
        return "its image tower is a ResNet"
    if text.get("no_causal_mask"):
        return "its text tower is not causal"
    pool, end = text.get("pool_type", "argmax"), text.get("eos_id", _END_OF_TEXT_BEFORE)
    if pool not in ("argmax", "eos") or (pool == "eos" and end == _END_OF_TEXT_BEFORE):
        return f"its text tower pools by {pool!r}"
    other = [f"{key} in its configuration" for key, value in model_cfg.items() if key not in _WHOLE and value]
    other += _switched_on("image", CLIPVisionCfg, vision) + _switched_on("text", CLIPTextCfg, text)
    return f"it has {other[0]}" if other else ""


def _switched_on(tower: str, kind: type[Any], values: dict[str, Any]) -> list[str]:
    """What of a tower's configuration is not at open_clip's default, beside sizes."""
    defaults = {spec.name: spec.default for spec in dataclasses.fields(kind)}
    free = _SIZES[tower] | _IDLE[tower] | {name for name in defaults if name.startswith("timm_")}
    return [f"{key} = {value!r} in its {tower} tower" for key, value in values.items() if key not in free and value != defaults.get(key)]


def twin_config(model_cfg: dict[str, Any]) -> dict[str, Any]:
    """The values of transformers' CLIPConfig that describe the same model; only for configurations that `why_no_twin` accepts."""
    vision, text = CLIPVisionCfg(**model_cfg["vision_cfg"]), CLIPTextCfg(**model_cfg["text_cfg"])
    act = "quick_gelu" if model_cfg.get("quick_gelu") else "gelu"
    size = vision.image_size if isinstance(vision.image_size, int) else vision.image_size[0]
    shared = {"hidden_act": act, "layer_norm_eps": 1e-5, "attention_dropout": 0.0, "projection_dim": model_cfg["embed_dim"]}
    return {
        "model_type": "clip",
        "architectures": ["CLIPModel"],
        "projection_dim": model_cfg["embed_dim"],
        "vision_config": {
            "model_type": "clip_vision_model",
            "hidden_size": vision.width,
            "intermediate_size": int(vision.width * vision.mlp_ratio),
            "num_hidden_layers": vision.layers,
            "num_attention_heads": vision.width // vision.head_width,
            "image_size": size,
            "patch_size": vision.patch_size,
            **shared,
        },
        "text_config": {
            "model_type": "clip_text_model",
            "hidden_size": text.width,
            "intermediate_size": int(text.width * text.mlp_ratio),
            "num_hidden_layers": text.layers,
            "num_attention_heads": text.heads,
            "max_position_embeddings": text.context_length,
            "vocab_size": text.vocab_size,
            "bos_token_id": text.vocab_size - 2,
            "eos_token_id": text.eos_id if text.pool_type == "eos" else text.vocab_size - 1,  # CLIP's end of text is the highest id
            **shared,
        },
    }
