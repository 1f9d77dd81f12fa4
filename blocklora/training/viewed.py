"""What the frozen model makes of random views of the training images: what a class weight should not mind.

Sixteen pictures of a class say little about how pictures of it differ. Part of that can be had without more pictures: another crop of one
is a picture of the same class. The discriminant (`class_weights.discriminant_weights`) takes both. Where the lower layers are frozen the
views are the first ones that the steps will see, computed once for both; else they are gentle ones of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from blocklora.clip.backbones import Backbone
from blocklora.clip.pixels import normalise
from blocklora.clip.split import Split
from blocklora.training.device import Compute
from blocklora.training.entering import embed
from blocklora.training.image_cache import ImageCache
from blocklora.training.sampling import PIXELS, generator_of
from blocklora.training.views import GROUP, MOST, Views

CROP_SCALE = 0.35  # of views that are not the steps' own: by folds a little better than hard crops (docs/experiments.md)


@dataclass(frozen=True)
class Viewer:
    """How views of images become embeddings: those that are kept, of a run whose lower layers are frozen (`split` and `views` are its own),
    else `count` of each.
    """

    backbone: Backbone
    compute: Compute
    seed: int
    count: int
    split: Split | None = None
    views: Views | None = None

    def embeddings(self, cache: ImageCache, known: int = 0) -> Iterator[torch.Tensor]:
        """Normalised embeddings (n, V, D), on the CPU in fp32, of the images of `cache` group by group, without `known` full groups; the
        cache is that of `views`.

        Adapters, where the model has some, are to do nothing (B = 0).
        """
        count = self.count if self.views is None else self.views.count
        for first in range(known * GROUP, len(cache), GROUP):
            places = range(first, min(first + GROUP, len(cache)))
            yield torch.stack([self._view(cache, places, view) for view in range(count)], dim=1)

    def grown(self, before: torch.Tensor, cache: ImageCache) -> torch.Tensor:
        """Embeddings (N, V, D) of all images of a `cache` that has grown, from those of the images that it had. A group that was not full
        has other views than before, as it has for the steps.
        """
        full = len(before) // GROUP
        return torch.cat([before[: full * GROUP], *self.embeddings(cache, full)])

    def _view(self, cache: ImageCache, places: range, view: int) -> torch.Tensor:
        """Embeddings (n, D) of one view of a group of images."""
        if self.views is not None and self.split is not None:
            entering = self.views.batch([(view, place) for place in places])
            with torch.inference_mode(), self.compute.autocast():  # as they were computed below
                hidden = self.split.upper(entering)
            return F.normalize(hidden.float(), dim=-1).cpu()
        generator = generator_of(self.seed, PIXELS, places.start // GROUP * MOST + view)
        pixels = cache.batch(places, generator, self.compute.device, CROP_SCALE)
        with torch.inference_mode():
            return embed(self.backbone, normalise(pixels, self.backbone.preprocess), self.compute)
