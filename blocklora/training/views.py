"""Augmented views of the training images as they enter the first adapted layer: computed once, kept in half precision.

With adapters in the last layers only, everything below them gives the same for the same view in every step. So each image gets a
fixed number of random views; which one a step sees follows from how often it has seen the image. What has been computed is kept in
memory, or in a file where there is too much of it. A run trains more than once, on some of its images and then on all of them: each of
these trainings sees the same views.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch

from blocklora.clip.backbones import Backbone
from blocklora.clip.pixels import normalise
from blocklora.clip.split import Half, Split
from blocklora.config import TrainingConfig
from blocklora.errors import TrainingError
from blocklora.plan import views_wanted
from blocklora.preprocess import Preprocess
from blocklora.training.device import Compute
from blocklora.training.entering import in_pieces
from blocklora.training.image_cache import ImageCache
from blocklora.training.sampling import PIXELS, generator_of

MOST = 10  # views of an image; more cost a forward pass each and bring less and less
GROUP = 32  # images that go through the lower layers together, always the same ones: a resumed run repeats the same arithmetic
MEMORY_SHARE = 0.25  # of the memory that is free when training starts
DISK_SHARE = 0.25  # of the free disk, beyond that memory
FILE = "views.f16"


@dataclass(frozen=True)
class Below:
    """How pictures become hidden states: the frozen part of the image tower, what it takes, and where it computes."""

    lower: Half
    preprocess: Preprocess
    compute: Compute

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels (N, 3, S, S), 0..255 on the device -> hidden states (N, L, width)."""
        with torch.no_grad(), self.compute.autocast():
            return self.lower(normalise(pixels, self.preprocess))


class Views:
    """The hidden states (L, width) of `count` views of each image of `cache`.

    Args:
        seed: decides the views, together with their numbers.
        count: views of each image that are wanted; fewer where neither memory nor disk holds them.
        folder: where the file goes when memory is too small; None keeps to memory.
        capacity: images that there will be once the cache has grown (`grow`); no fewer than it has now.
    """

    def __init__(
        self,
        cache: ImageCache,
        below: Below,
        seed: int,
        count: int,
        folder: Path | None,
        capacity: int = 0,
    ) -> None:
        self.count = max(1, min(count, MOST))
        self._capacity = max(capacity, len(cache))
        self._cache, self._below, self._seed, self._folder = cache, below, seed, folder
        size = below.preprocess.size
        shape = below(torch.zeros(1, 3, size, size, device=below.compute.device)).shape[1:]
        self._kept: torch.Tensor | None = self._room(shape)  # (count, N, L, width)
        self._known = torch.zeros(self.count, -(-self._capacity // GROUP), dtype=torch.bool)

    def grow(self, cache: ImageCache) -> None:
        """Go on with a cache that has the same images and more behind them, at most `capacity`. What is known of full groups stays."""
        before, self._cache = len(self._cache), cache
        assert before <= len(cache) <= self._capacity
        if len(cache) > before and before % GROUP:
            self._known[:, before // GROUP] = False

    def part(self, places: Sequence[int], count: int) -> PartOfViews:
        """At most `count` views of some of the images, as if they were all there are."""
        return PartOfViews(self, tuple(places), max(1, min(count, self.count)))

    def batch(self, chosen: Sequence[tuple[int, int]]) -> torch.Tensor:
        """Hidden states (B, L, width), float32 on the device, of pairs of (how often the image was seen before, its index)."""
        assert self._kept is not None  # it is not closed
        pairs = [(seen % self.count, index) for seen, index in chosen]
        for view, group in sorted({(view, index // GROUP) for view, index in pairs}):
            if not self._known[view, group]:
                self._compute_group(self._kept, view, group)
        rows = torch.stack([self._kept[view, index] for view, index in pairs])
        return rows.to(self._below.compute.device).float()

    def _compute_group(self, kept: torch.Tensor, view: int, group: int) -> None:
        first = group * GROUP
        indices = range(first, min(first + GROUP, len(self._cache)))
        pixels = self._cache.batch(indices, generator_of(self._seed, PIXELS, group * MOST + view), self._below.compute.device)
        hidden = in_pieces(lambda some: self._below(some).to("cpu", torch.float16), pixels, self._below.compute)
        kept[view, first : first + len(hidden)] = hidden
        self._known[view, group] = True

    def _room(self, shape: torch.Size) -> torch.Tensor:
        """A place for as many views as fit, in memory or in the file; lowers `count` to what fits.

        Raises:
            TrainingError: neither holds a single view of every image.
        """
        images = self._capacity
        one = images * shape.numel() * 2  # bytes of a view of every image
        memory = int(MEMORY_SHARE * psutil.virtual_memory().available)
        room = 0 if self._folder is None else int(DISK_SHARE * shutil.disk_usage(self._folder).free)
        self.count = min(self.count, max(memory, room) // one)
        if self.count < 1:
            raise TrainingError(
                f"what the frozen layers give for {images:,} images needs {one / 2**30:.1f} GB of memory or disk.",
                "Free some disk, or adapt all layers (Advanced): that keeps nothing.",
            )
        if one * self.count <= memory or self._folder is None:
            return torch.empty(self.count, images, *shape, dtype=torch.float16)
        array = np.memmap(self._folder / FILE, dtype=np.float16, mode="w+", shape=(self.count, images, *shape))
        return torch.from_numpy(array)

    def close(self) -> None:
        """Forget everything, and remove the file."""
        self._kept = None
        if self._folder is not None:
            (self._folder / FILE).unlink(missing_ok=True)


@dataclass(frozen=True)
class PartOfViews:
    """`count` views of the images at `places` of `views`, which keeps them; one image's index is its position in `places`."""

    views: Views
    places: tuple[int, ...]
    count: int

    def batch(self, chosen: Sequence[tuple[int, int]]) -> torch.Tensor:
        """As `Views.batch`."""
        return self.views.batch([(seen % self.count, self.places[index]) for seen, index in chosen])

    def close(self) -> None:
        """Nothing: what is kept is for others too."""


def views_of(
    part: Split | None,
    cache: ImageCache,
    backbone: Backbone,
    compute: Compute,
    training: TrainingConfig,
    folder: Path | None,
    capacity: int = 0,
) -> Views | None:
    """Room for the views that the steps of `training` will ask for; None where no layer lies below the first adapted one.

    Args:
        capacity: images that later trainings of the run will have, where these are more.
    """
    if part is None:
        return None
    wanted = views_wanted(training, len(cache))
    return Views(cache, Below(part.lower, backbone.preprocess, compute), training.seed, wanted, folder, capacity)
