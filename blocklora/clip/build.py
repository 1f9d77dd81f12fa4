"""A model, a tokenizer and a preprocessing record from open_clip's configuration values, without touching a network."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from open_clip.coca_model import CoCa
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from torch import nn

import blocklora.clip.towers  # noqa: F401 - the name of the built-in backbone's tower
from blocklora.errors import BackboneError, StudioError
from blocklora.preprocess import Preprocess

Tokenizer = Callable[..., torch.Tensor]


def build_model(model_cfg: dict[str, Any]) -> nn.Module:
    """An open_clip CLIP, CustomTextCLIP or CoCa with random weights, fp32, in eval mode, frozen.

    Raises:
        BackboneError: the configuration is not one that open_clip builds, or building it would fetch something from a network.
    """
    cfg = copy.deepcopy(model_cfg)
    vision, text = cfg["vision_cfg"], cfg["text_cfg"]
    if "hf_model_name" in text:
        raise BackboneError(
            f"This backbone's text tower ({text['hf_model_name']}) comes from the transformers library, which is not supported.",
            "Choose a backbone with one of open_clip's own text towers.",
        )
    if ":" in str(vision.get("timm_model_name", "")):
        raise BackboneError(f"The image tower {vision['timm_model_name']!r} would be fetched from a network.", "Choose another backbone.")
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False
    kind = (CoCa if "multimodal_cfg" in cfg else CustomTextCLIP) if cfg.pop("custom_text", False) else CLIP
    try:
        model: nn.Module = kind(**cfg)
    except (TypeError, ValueError, KeyError, RuntimeError, AssertionError, ZeroDivisionError) as error:
        raise BackboneError(f"open_clip cannot build this backbone: {error}.", "Use an unchanged open_clip_config.json.") from error
    return model.eval().requires_grad_(False)


def build_tokenizer(model_cfg: dict[str, Any], folder: Path | None = None) -> Tokenizer:
    """The tokenizer that goes with a model: open_clip's own, or one of transformers read from `folder` (never from a network).

    Raises:
        BackboneError: the model needs a tokenizer of transformers, and the library or the files are not there.
    """
    text = model_cfg["text_cfg"]
    name = text.get("hf_tokenizer_name")
    if not name:
        return SimpleTokenizer(context_length=text.get("context_length", 77))
    if folder is None or not (folder / "tokenizer.json").is_file():
        where = f"{folder} does not hold its tokenizer.json" if folder else "they come only with a folder of its files"
        raise BackboneError(
            f"This backbone reads text with the tokenizer of {name}, and {where}.",
            f"Put tokenizer.json and tokenizer_config.json from huggingface.co/{name} beside its weights.",
        )
    try:
        return HFTokenizer(str(folder), context_length=text.get("context_length", 77), **(text.get("tokenizer_kwargs") or {}))
    except ImportError as error:
        raise BackboneError(
            "This backbone's tokenizer needs the Python package transformers, which is not installed.", "Run: pip install transformers"
        ) from error


def build_preprocess(model_cfg: dict[str, Any], preprocess_cfg: dict[str, Any]) -> Preprocess:
    """The preprocessing record of a model from open_clip's `preprocess_cfg`, which may leave things to its defaults.

    Raises:
        BackboneError: the input is not square, or is prepared in a way that this program does not do.
    """
    size = preprocess_cfg.get("size") or model_cfg["vision_cfg"].get("image_size", 224)
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise BackboneError(f"This backbone takes pictures of {size} pixels; only square inputs are supported.", "Choose another backbone.")
    interpolation = preprocess_cfg.get("interpolation", "bicubic")
    try:
        return Preprocess(
            size=int(sides.pop()),
            mean=tuple(map(float, preprocess_cfg.get("mean") or OPENAI_DATASET_MEAN)),  # type: ignore[arg-type]
            std=tuple(map(float, preprocess_cfg.get("std") or OPENAI_DATASET_STD)),  # type: ignore[arg-type]
            interpolation="bicubic" if interpolation == "random" else interpolation,
            resize_mode=preprocess_cfg.get("resize_mode", "shortest"),
        )
    except StudioError as error:
        raise BackboneError(f"This backbone cannot be used: {error.message}", "Choose another backbone.") from error
