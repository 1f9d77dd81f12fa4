"""The arithmetic of `blocklora.preprocess.Preprocess` in torch: 8-bit pictures in, the model's normalised input out.

Training, held-out measurement and the exported graph all take this one path. Values stay in floating point from the first
multiplication on: Pillow rounds to 8 bits after resizing, this does not (the difference is at most half a grey level), because
rounding would put a step into a function that two runtimes must agree on. The bicubic filter may overshoot; values are held in
0..255 as Pillow does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from blocklora.preprocess import Preprocess, central_square

if TYPE_CHECKING:
    import numpy as np


def to_model_input(images: torch.Tensor, preprocess: Preprocess) -> torch.Tensor:
    """The model's input for pictures of one size.

    Args:
        images: uint8 (N, H, W, 3), RGB, any H and W from 1 on, on any device.
        preprocess: what the model expects.

    Returns:
        float32 (N, 3, size, size), normalised, on the same device.
    """
    pixels = images.permute(0, 3, 1, 2).float()  # (N, 3, H, W), 0..255
    if preprocess.resize_mode == "shortest":
        top, left, side = central_square(pixels.shape[2], pixels.shape[3])
        pixels = pixels[:, :, top : top + side, left : left + side]
    return normalise(resize(pixels, preprocess), preprocess)


def to_model_inputs(images: Sequence[np.ndarray | torch.Tensor], preprocess: Preprocess) -> torch.Tensor:
    """The model's input for pictures of any sizes: each uint8 (H, W, 3); returns float32 (N, 3, size, size) in the given order."""
    tensors = [image if isinstance(image, torch.Tensor) else torch.tensor(image) for image in images]  # copies: some are read-only
    return torch.cat([to_model_input(tensor[None], preprocess) for tensor in tensors])


def resize(pixels: torch.Tensor, preprocess: Preprocess) -> torch.Tensor:
    """Float (N, 3, H, W) on the 0..255 scale, made (N, 3, size, size) by the antialiased filter and held in 0..255."""
    size = (preprocess.size, preprocess.size)
    resized = F.interpolate(pixels, size=size, mode=preprocess.interpolation, align_corners=False, antialias=True)
    return resized.clamp(0.0, 255.0)


def normalise(pixels: torch.Tensor, preprocess: Preprocess) -> torch.Tensor:
    """Float (N, 3, S, S) on the 0..255 scale, as (pixels / 255 - mean) / std per channel."""
    mean = pixels.new_tensor(preprocess.mean).view(1, 3, 1, 1)
    std = pixels.new_tensor(preprocess.std).view(1, 3, 1, 1)
    return (pixels / 255.0 - mean) / std
