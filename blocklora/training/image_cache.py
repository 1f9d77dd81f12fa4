"""Training pictures, decoded once and kept small: uint8, short side just above what random crops need.

A training step then touches no decoder, and no file unless there are more pictures than memory is to hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from blocklora.clip.pixels import to_model_input
from blocklora.preprocess import Preprocess
from blocklora.speeds import CACHE_BYTES
from blocklora.training.augment import crop_resize_flip, draw_crops, quarter_turns
from blocklora.training.overflow import Overflow, Place

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
    """Decoded training pictures and the augmented batches made of them.

    Args:
        size: side of the model's input.
        crop_scale: smallest share of a picture's area that a crop keeps.
        folder: where pictures beyond `limit` bytes go, into a file that is gone with this process; None keeps all in memory.
    """

    def __init__(self, size: int, crop_scale: float, folder: Path | None = None, limit: int = CACHE_BYTES) -> None:
        self.size = size
        self.crop_scale = crop_scale
        self.rotated = False  # whether batches are turned by quarter turns too
        self._side = cache_side(size)
        self._images: list[torch.Tensor | Place] = []
        self._folder, self._limit = folder, limit
        self._overflow: Overflow | None = None
        self._held = 0  # bytes in memory

    def add(self, image: np.ndarray) -> None:
        """Keep one picture, uint8 (H, W, 3).

        Raises:
            TrainingError: neither memory nor disk has room for it.
        """
        small = shrink(image, self._side)
        if self._folder is None or self._held + small.nbytes <= self._limit:
            self._images.append(torch.from_numpy(small.copy()))
            self._held += small.nbytes
            return
        if self._overflow is None:
            self._overflow = Overflow(self._folder)
        self._images.append(self._overflow.add(small))

    def _image(self, index: int) -> torch.Tensor:
        """A picture, uint8 (H, W, 3)."""
        image = self._images[index]
        if isinstance(image, torch.Tensor):
            return image
        assert self._overflow is not None  # it made the place
        return torch.from_numpy(self._overflow.read(image))

    def copy(self) -> ImageCache:
        """A cache of its own with the same pictures."""
        return self.only(range(len(self)))

    def only(self, places: Sequence[int]) -> ImageCache:
        """A cache of its own with some of the pictures, in the order of `places`."""
        other = ImageCache(self.size, self.crop_scale, self._folder, self._limit)
        other.rotated = self.rotated
        other._images = [self._images[place] for place in places]
        other._overflow, other._held = self._overflow, self._held
        return other

    def __len__(self) -> int:
        return len(self._images)

    def inputs(self, preprocess: Preprocess) -> Iterator[torch.Tensor]:
        """The pictures as they are, as model inputs (1, 3, S, S), in the order in which they came."""
        for index in range(len(self)):
            yield to_model_input(self._image(index)[None], preprocess)

    def batch(
        self, indices: Sequence[int], generator: torch.Generator, device: torch.device, crop_scale: float | None = None
    ) -> torch.Tensor:
        """Augmented pictures, float (N, 3, size, size) on 0..255, on `device`. `crop_scale`: another one than the cache's.

        All random numbers come from `generator` (on the CPU), so a batch is the same on every device.
        """
        chosen = [self._image(i) for i in indices]
        sizes = torch.tensor([image.shape[:2] for image in chosen])
        boxes = draw_crops(sizes, self.crop_scale if crop_scale is None else crop_scale, generator)
        flips = torch.rand(len(chosen), generator=generator) < 0.5
        height, width = (sizes.amax(dim=0) + EDGE).tolist()
        padded = torch.zeros(len(chosen), height, width, 3, dtype=torch.uint8)
        for row, image in zip(padded, chosen, strict=True):
            high, wide = image.shape[:2]
            row[:high, :wide] = image
            row[high : high + EDGE, :wide] = image[-1:]
            row[: high + EDGE, wide : wide + EDGE] = row[: high + EDGE, wide - 1 : wide]
        pixels = padded.to(device).permute(0, 3, 1, 2).float()  # (N, 3, H, W)
        cut = crop_resize_flip(pixels, boxes, flips, self.size)
        # Drawn last and only where it is wanted: without it everything is as it would be if there were no such thing.
        return quarter_turns(cut, torch.randint(0, 4, (len(chosen),), generator=generator)) if self.rotated else cut
