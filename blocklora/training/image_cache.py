"""Training pictures, decoded once and kept small: uint8, short side just above what random crops need.

A training step then touches no file and no decoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from PIL import Image

from blocklora.clip.pixels import to_model_input
from blocklora.preprocess import Preprocess
from blocklora.training.augment import crop_resize_flip, draw_crops

EDGE = 2  # the border repeated this far, so that the filter never mixes in the black of the padding
LONGEST = 2.0  # pictures longer than this many short sides keep their middle


def cache_side(size: int) -> int:
    """Short side of a cached picture for a model that sees `size` pixels.

    A quarter more than the model's input, as is usual, and at least 192 pixels: a crop of 8 % of the area has about 28 % of the
    side, and should not be a blow-up of a few pixels for models with a small input.
    """
    return min(max(192, round(size * 1.25)), 640)


def shrink(image: np.ndarray, side: int) -> np.ndarray:
    """A picture (H, W, 3) uint8 with its middle kept (at most LONGEST : 1) and its short side at most `side`."""
    height, width = image.shape[:2]
    keep_h, keep_w = min(height, int(width * LONGEST) or 1), min(width, int(height * LONGEST) or 1)
    top, left = (height - keep_h) // 2, (width - keep_w) // 2
    kept = image[top : top + keep_h, left : left + keep_w]
    ratio = side / min(keep_h, keep_w)
    if ratio >= 1:
        return np.ascontiguousarray(kept)
    size = (max(1, round(keep_w * ratio)), max(1, round(keep_h * ratio)))
    return np.asarray(Image.fromarray(kept).resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0))


class ImageCache:
    """Decoded training pictures and the augmented batches made of them."""

    def __init__(self, size: int, crop_scale: float) -> None:
        self.size = size
        self.crop_scale = crop_scale
        self._side = cache_side(size)
        self._images: list[torch.Tensor] = []

    def add(self, image: np.ndarray) -> None:
        """Keep one picture, uint8 (H, W, 3)."""
        self._images.append(torch.from_numpy(shrink(image, self._side).copy()))

    def copy(self) -> ImageCache:
        """A cache of its own with the same pictures."""
        other = ImageCache(self.size, self.crop_scale)
        other._images = list(self._images)
        return other

    def only(self, places: Sequence[int]) -> ImageCache:
        """A cache of its own with some of the pictures, in the order of `places`."""
        other = ImageCache(self.size, self.crop_scale)
        other._images = [self._images[place] for place in places]
        return other

    def __len__(self) -> int:
        return len(self._images)

    def inputs(self, preprocess: Preprocess) -> Iterator[torch.Tensor]:
        """The pictures as they are, as model inputs (1, 3, S, S), in the order in which they came."""
        for image in self._images:
            yield to_model_input(image[None], preprocess)

    @property
    def n_bytes(self) -> int:
        return sum(image.nbytes for image in self._images)

    def batch(self, indices: Sequence[int], generator: torch.Generator, device: torch.device) -> torch.Tensor:
        """Augmented pictures, float (N, 3, size, size) on 0..255, on `device`.

        All random numbers come from `generator` (on the CPU), so a batch is the same on every device.
        """
        chosen = [self._images[i] for i in indices]
        sizes = torch.tensor([image.shape[:2] for image in chosen])
        boxes = draw_crops(sizes, self.crop_scale, generator)
        flips = torch.rand(len(chosen), generator=generator) < 0.5
        height, width = (sizes.amax(dim=0) + EDGE).tolist()
        padded = torch.zeros(len(chosen), height, width, 3, dtype=torch.uint8)
        for row, image in zip(padded, chosen, strict=True):
            high, wide = image.shape[:2]
            row[:high, :wide] = image
            row[high : high + EDGE, :wide] = image[-1:]
            row[: high + EDGE, wide : wide + EDGE] = row[: high + EDGE, wide - 1 : wide]
        pixels = padded.to(device, non_blocking=True).permute(0, 3, 1, 2).float()  # (N, 3, H, W)
        return crop_resize_flip(pixels, boxes, flips, self.size)
