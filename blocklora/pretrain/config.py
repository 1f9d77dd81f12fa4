"""What a pre-training run is made of: the network and the numbers of the recipe."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

MAX_LOGIT_SCALE = math.log(100.0)  # as CLIP

# CLIP's own normalisation, so that every tool's default preprocessing is also right for this model.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

# XCiT nano with three poolings (`clip/towers.py`): its convolutions (the stem and one in every block) know what neighbouring
# pixels are for, which a plain ViT must learn from far more pictures than these.
# The text tower is narrow because its 49,408-row vocabulary would otherwise be most of the file, and few rows are ever trained.
SMALL_MODEL_CFG: dict[str, Any] = {
    "embed_dim": 384,
    "vision_cfg": {
        "image_size": 64,
        "timm_model_name": "studio_xcit_nano_12_p8",
        "timm_model_pretrained": False,
        "timm_pool": "token_mean_max",
        "timm_proj": "linear",
    },
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 3},
}


def preprocess_cfg(model_cfg: dict[str, Any]) -> dict[str, Any]:
    """The `preprocess_cfg` of an `open_clip_config.json` for this network."""
    return {
        "size": model_cfg["vision_cfg"]["image_size"],
        "mode": "RGB",
        "mean": list(CLIP_MEAN),
        "std": list(CLIP_STD),
        "interpolation": "bicubic",
        "resize_mode": "shortest",
        "fill_color": 0,
    }


@dataclass(frozen=True)
class Recipe:
    """The numbers of a run. They travel in the checkpoint; a resumed run must have the same."""

    seed: int = 1
    """Decides the first weights, the order of images and every random crop."""
    batch_size: int = 256
    """Images a step."""
    muon_lr: float = 0.02
    """Learning rate of Muon, for the matrices inside the transformer blocks."""
    adamw_lr: float = 1e-3
    """Learning rate of AdamW, for everything else."""
    text_lr: float = 3e-3
    """Learning rate of AdamW for the text tower: it makes fewer updates, and a word is in few of them."""
    weight_decay: float = 0.05
    """Decoupled weight decay of both optimisers; vectors and embeddings have none."""
    warmup_steps: int = 150
    """Steps in which the learning rate rises linearly to its full value."""
    decay_fraction: float = 0.25
    """Last part of the budget, in which the learning rate falls linearly to zero."""
    high_resolution_fraction: float = 0.3
    """Last part of the budget, in which most steps are at the full image size instead of half of it."""
    text_every: int = 2
    """The text tower runs once in so many steps: these share its output, and it learns from all of them at once."""
    label_smoothing: float = 0.1
    """Share of the target spread evenly over all classes."""
    superclass_weight: float = 0.3
    """Weight of the loss on superclass names (dog, car, food)."""
    head_weight: float = 0.5
    """Weight of the loss of the linear head that is thrown away at the end."""
    mix_fraction: float = 0.1
    """Share of steps with mixup or CutMix."""
    whole_fraction: float = 0.25
    """Last part of the budget, in which nothing is mixed, so that it ends on whole pictures."""
    crop_scale: float = 0.35
    """Smallest area of a random crop, as a share of the image."""
    colour_strength: float = 0.5
    """How far colours are changed: at 1, light and contrast by up to 40 %, saturation by 50 %, and a tenth of the images are grey."""
    ema_decay: float = 0.99
    """Weight of the old value in the running average of the weights, renewed with each run of the text tower."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint or the metadata."""
        return asdict(self)
