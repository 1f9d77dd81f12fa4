"""Tiny pictures and a tiny network, so that a whole run takes a second."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from blocklora.pretrain.config import SMALL_MODEL_CFG

COLOURS = {"n1": (200, 40, 40), "n2": (40, 190, 60), "n3": (50, 60, 210)}
NAMES = {"n1": ["red thing", "scarlet object"], "n2": ["green thing"], "n3": ["blue thing", "azure object"]}

TINY_CFG: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "patch_size": 4, "width": 16, "layers": 2, "head_width": 8, "pool_type": "avg"},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}

# the smallest tower of its kind that timm has a name for
SMALL_TIMM_CFG: dict[str, Any] = {
    **TINY_CFG,
    "vision_cfg": {**SMALL_MODEL_CFG["vision_cfg"], "image_size": 32},
}


def picture(class_id: str, number: int, size: tuple[int, int] = (16, 16)) -> bytes:
    """A noisy picture in the colour of its class, as PNG."""
    draw = np.random.default_rng((int(class_id[1:]), number))
    pixels = np.asarray(COLOURS[class_id]) + draw.normal(0, 25, (size[1], size[0], 3))
    stream = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(stream, format="PNG")
    return stream.getvalue()


def write_shard(path: Path, numbers: range) -> Path:
    """A tar shard with one picture of every class for each number."""
    with tarfile.open(path, "w") as tar:
        for number in numbers:
            for class_id in COLOURS:
                content = picture(class_id, number)
                member = tarfile.TarInfo(f"{class_id}/{number}.png")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path
