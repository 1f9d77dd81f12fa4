"""Loading a backbone: a frozen open_clip model in fp32 with its tokenizer, its preprocessing record and the hash of its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.factory import load_checkpoint
from safetensors import SafetensorError
from torch import nn

from blocklora.clip.build import Tokenizer, build_model, build_preprocess, build_tokenizer
from blocklora.clip.catalog import KNOWN, WEIGHTS_FILE, config_of, folder_of, is_present, known
from blocklora.clip.download import DownloadProgress, download
from blocklora.clip.text_tower import reads_end_of_text
from blocklora.errors import BackboneError
from blocklora.files import sha256_file
from blocklora.preprocess import Preprocess
from blocklora.presets import BUILTIN, BUILTIN_SMALL, is_builtin

__all__ = ["Backbone", "DownloadProgress", "from_config", "load_backbone", "random_backbone"]

MOST_LOGIT_SCALE = 100.0


@dataclass
class Backbone:
    """A frozen CLIP model in eval mode and what belongs to it.

    `weights_hash` is the SHA-256 of the weights file; `causal_text` says whether prompts can be cut to the longest real one
    (`blocklora.clip.prompts`); `model_cfg` is open_clip's configuration, from which the same model can be built again.
    """

    name: str
    model: nn.Module
    tokenizer: Tokenizer
    preprocess: Preprocess
    weights_hash: str
    embed_dim: int
    context_length: int
    causal_text: bool
    model_cfg: dict[str, Any]
    logit_scale: float
    """What the model learned to multiply its cosines with, 100 at most: CLIP's own limit, which the large ones reach."""


def load_backbone(name: str, home: Path, progress: Callable[[DownloadProgress], None] | None = None) -> Backbone:
    """The backbone `name`: "builtin" or "builtin-72", a known name, the name of a folder in `<home>/backbones`, or a path to a folder.

    A known one that is not on this machine is downloaded into `<home>/backbones`. Nothing is ever unpickled.

    Raises:
        BackboneError: the name is not known; or the files are missing and cannot be fetched, are damaged or do not fit each other.
    """
    folder = folder_of(name, home)
    if not is_present(folder):
        info = known(name)
        if info is None:
            raise _missing(name, folder)
        download(info, folder, progress)
    config = config_of(name, home)
    weights = folder / WEIGHTS_FILE
    model = build_model(config["model_cfg"])
    preprocess = build_preprocess(config["model_cfg"], config.get("preprocess_cfg", {}))
    tokenizer = build_tokenizer(config["model_cfg"], folder)
    try:
        load_checkpoint(model, str(weights), strict=True)  # a .safetensors file: open_clip reads it with safetensors, never with pickle
    except (SafetensorError, RuntimeError, ValueError, KeyError, AttributeError, OSError) as error:
        reason = str(error).splitlines()[0][:200]
        raise BackboneError(
            f"The weights in {weights} are damaged or belong to another model ({reason}).", "Get the file again."
        ) from error
    return _backbone(name, model, tokenizer, preprocess, sha256_file(weights), config["model_cfg"])


def from_config(
    model_cfg: dict[str, Any],
    name: str = "random",
    seed: int = 0,
    preprocess_cfg: dict[str, Any] | None = None,
    tokenizer: Tokenizer | None = None,
) -> Backbone:
    """A backbone with random weights that depend on `seed` alone, for tests and benchmarks.

    Raises:
        BackboneError: open_clip cannot build a model from `model_cfg`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_model(model_cfg)
    preprocess = build_preprocess(model_cfg, preprocess_cfg or {})
    return _backbone(name, model, tokenizer or build_tokenizer(model_cfg), preprocess, f"random-{seed}", model_cfg)


def random_backbone(model: str, seed: int = 0) -> Backbone:
    """One of open_clip's own models by its name, with random weights, for measuring what does not depend on them.

    Raises:
        BackboneError: open_clip knows no such model, or it cannot be built without a network.
    """
    cfg = open_clip.get_model_config(model)
    if cfg is None:
        raise BackboneError(f"open_clip knows no model {model!r}.", "Use one of its names, such as ViT-B-32 or ViT-B-16.")
    return from_config(cfg, f"{model} (random)", seed)


def _backbone(
    name: str, model: nn.Module, tokenizer: Tokenizer, preprocess: Preprocess, weights_hash: str, model_cfg: dict[str, Any]
) -> Backbone:
    return Backbone(
        name=name,
        model=model,
        tokenizer=tokenizer,
        preprocess=preprocess,
        weights_hash=weights_hash,
        embed_dim=int(model_cfg["embed_dim"]),
        context_length=int(model_cfg["text_cfg"].get("context_length", 77)),
        causal_text=reads_end_of_text(model),
        model_cfg=model_cfg,
        logit_scale=_logit_scale(model),
    )


def _logit_scale(model: nn.Module) -> float:
    learned = getattr(model, "logit_scale", None)
    return MOST_LOGIT_SCALE if learned is None else min(float(learned.detach().exp()), MOST_LOGIT_SCALE)


def _missing(name: str, folder: Path) -> BackboneError:
    if is_builtin(name):
        return BackboneError(f"The built-in backbone is missing from {folder}.", "Install the program again.")
    choices = ", ".join([BUILTIN, BUILTIN_SMALL, *(info.name for info in KNOWN)])
    return BackboneError(
        f"There is no backbone {name!r}: {folder} does not hold open_clip_config.json and {WEIGHTS_FILE}.",
        f"Choose one of {choices}, or put the two files into that folder.",
    )
