"""The pictures of a run as the model sees them: decoded once, outside this process, then kept as small as each use allows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from blocklora.clip.pixels import to_model_input
from blocklora.errors import ImageError, TrainingError
from blocklora.preprocess import Preprocess
from blocklora.projects.decoding import MANY, WORKERS, decode_many

KEEP_BYTES = 3 * 2**29  # 1.5 GB of model inputs; beyond that they are decoded again for each pass
CHUNK = 32
FEW = 200  # pictures that are decoded sooner than more children are started


def decoded(paths: Sequence[Path]) -> Iterator[np.ndarray]:
    """Each picture as uint8 (H, W, 3), in order.

    Raises:
        TrainingError: a picture that the project holds cannot be read any more.
    """
    for path, image in decode_many(paths, workers=MANY if len(paths) > FEW else WORKERS):
        if isinstance(image, ImageError):
            raise TrainingError(
                f"the picture {Path(path).name} cannot be read any more: {image.message}", "Delete it from the project, then train again."
            )
        yield np.array(image)  # a copy of its own: torch wants to be able to write


@dataclass
class EvalSet:
    """Pictures to measure with: `labels` (N,), and their model inputs (N, 3, S, S) where they fit into memory."""

    paths: list[Path]
    labels: torch.Tensor
    preprocess: Preprocess
    _kept: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def fits(self) -> bool:
        return len(self.paths) * 3 * self.preprocess.size**2 * 4 <= KEEP_BYTES

    def fill(self) -> Iterator[int]:
        """Decode the pictures; yields how many are done. Without it, or when they do not fit, every pass decodes again."""
        size = self.preprocess.size
        kept = torch.empty(len(self.paths), 3, size, size) if self.fits else None
        if kept is None:
            yield len(self.paths)
            return
        for i, image in enumerate(decoded(self.paths)):
            kept[i] = to_model_input(torch.from_numpy(image)[None], self.preprocess)[0]
            yield i + 1
        self._kept = kept

    def only(self, places: Sequence[int]) -> EvalSet:
        """A set of some of the pictures, in the order of `places`; what is filled stays filled."""
        kept = None if self._kept is None else self._kept if len(places) == len(self) else self._kept[list(places)]
        return EvalSet([self.paths[place] for place in places], self.labels[list(places)], self.preprocess, kept)

    def chunks(self) -> Iterator[torch.Tensor]:
        """Model inputs (n, 3, S, S) in order, at least one and at most CHUNK at a time."""
        if not self.paths:
            return
        if self._kept is not None:
            yield from self._kept.split(CHUNK)
            return
        waiting: list[torch.Tensor] = []
        for image in decoded(self.paths):
            waiting.append(to_model_input(torch.from_numpy(image)[None], self.preprocess))
            if len(waiting) == CHUNK:
                yield torch.cat(waiting)
                waiting = []
        if waiting:
            yield torch.cat(waiting)
