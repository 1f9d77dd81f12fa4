"""What enters the first trained layer for whole pictures: computed once a run, so that measuring never runs the frozen layers again.

Adapters in the last layers leave everything below as it was. A run looks at each picture several times (before training, in checks of the
held-out ones, when it is measured, and again after a second training), and two thirds of each look would give the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F

from blocklora.clip.backbones import Backbone
from blocklora.clip.prompts import image_features
from blocklora.clip.split import Split
from blocklora.clip.turns import mean_of_turns, turned
from blocklora.errors import TrainingError
from blocklora.training.device import Compute, short_of_memory
from blocklora.training.pictures import CHUNK, EvalSet

KEEP_BYTES = 2**28  # 1,700 pictures at ViT-B/32; those beyond run through all layers each time


class Entering:
    """Embeddings of pictures by the model as it is now, with what enters its first trained layer kept by the picture's path.

    Args:
        split: the image tower in two; None where it cannot be parted or all of it is trained, then nothing is kept.
        turns: quarter turns of a picture that are looked at: 1, or all 4, whose mean then is its embedding.
        limit: bytes that are kept at most.
    """

    def __init__(self, split: Split | None, backbone: Backbone, compute: Compute, turns: int = 1, limit: int = KEEP_BYTES) -> None:
        self.split, self.turns = split, turns
        self._backbone, self._compute, self._limit = backbone, compute, limit
        self._kept: dict[Path, torch.Tensor] = {}  # (turns, L, width), float32 on the CPU
        self.n_bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def embed(self, paths: Sequence[Path], inputs: torch.Tensor) -> torch.Tensor:
        """Normalised embeddings (N, D) on the CPU in fp32 of model inputs (N, 3, S, S), which are those of the pictures `paths`."""
        if self.split is None:
            return self._whole(inputs)
        try:
            on_device = inputs.to(self._compute.device)
            hidden = torch.stack([self.split.lower(look).float() for look in self._looks(on_device)], dim=1)  # (N, turns, L, width)
            found = self._upper(hidden)
        except RuntimeError as error:
            if not short_of_memory(error):
                raise
            self._compute.free()
            return self._whole(inputs)
        for path, row in zip(paths, hidden.cpu(), strict=True):
            if path not in self._kept and self.n_bytes + row.nbytes <= self._limit:
                self._kept[path] = row.clone()
                self.n_bytes += row.nbytes
        return found

    def features(self, images: EvalSet) -> torch.Tensor:
        """Normalised embeddings (N, D) of a set of pictures, on the CPU in fp32; only what is not kept is decoded or runs whole."""
        if not images.paths:
            return torch.zeros(0, self._backbone.embed_dim)
        known = [place for place, path in enumerate(images.paths) if path in self._kept]
        rest = [place for place, path in enumerate(images.paths) if path not in self._kept]
        found = torch.zeros(len(images.paths), self._backbone.embed_dim)
        with torch.inference_mode():
            for places in _chunks(known):
                rows = torch.stack([self._kept[images.paths[place]] for place in places])
                found[places] = in_pieces(lambda some: self._upper(some.to(self._compute.device)), rows, self._compute)
            done = 0
            for inputs in images.only(rest).chunks():
                places = rest[done : done + len(inputs)]
                found[places] = self.embed([images.paths[place] for place in places], inputs)
                done += len(inputs)
        return found

    def _looks(self, inputs: torch.Tensor) -> list[torch.Tensor]:
        return [turned(inputs, quarters) for quarters in range(self.turns)]

    def _whole(self, inputs: torch.Tensor) -> torch.Tensor:
        """Through all layers, with nothing kept."""
        return _one([embed(self._backbone, look, self._compute) for look in self._looks(inputs)])

    def _upper(self, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden states (N, turns, L, width) -> normalised embeddings (N, D)."""
        assert self.split is not None  # nothing is kept without it
        return _one([F.normalize(self.split.upper(look).float(), dim=-1).cpu() for look in hidden.unbind(dim=1)])


def _one(looks: list[torch.Tensor]) -> torch.Tensor:
    """The embedding of pictures from those of their turns, each (N, D)."""
    return looks[0] if len(looks) == 1 else mean_of_turns(torch.cat(looks))


def _chunks(places: list[int]) -> list[list[int]]:
    return [places[first : first + CHUNK] for first in range(0, len(places), CHUNK)]


def embed(backbone: Backbone, inputs: torch.Tensor, compute: Compute) -> torch.Tensor:
    """Normalised embeddings (N, D) on the CPU in fp32, in pieces where memory is short.

    Raises:
        TrainingError: it does not hold a single image.
    """
    return in_pieces(lambda some: image_features(backbone.model, some.to(compute.device)).float().cpu(), inputs, compute)


def in_pieces(work: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor, compute: Compute) -> torch.Tensor:
    """What `work` gives for inputs (N, ...), (N, ...) too: of their halves where the device's memory does not hold all at once.

    Raises:
        TrainingError: it does not hold a single image.
    """
    try:
        return work(inputs)
    except RuntimeError as error:
        if not short_of_memory(error):
            raise
        if len(inputs) == 1:
            raise too_small() from error
        compute.free()
    first, second = inputs.split((len(inputs) + 1) // 2)
    return torch.cat([in_pieces(work, first, compute), in_pieces(work, second, compute)])


def embed_all(backbone: Backbone, images: EvalSet, compute: Compute) -> torch.Tensor:
    """Normalised embeddings (N, D) of a set of pictures, on the CPU in fp32."""
    with torch.inference_mode():
        parts = [embed(backbone, chunk, compute) for chunk in images.chunks()]
    return torch.cat(parts) if parts else torch.zeros(0, backbone.embed_dim)


def too_small() -> TrainingError:
    """What to say when not even one image at a time fits."""
    return TrainingError(
        "the device's memory is too small for this model, even one image at a time.",
        "Choose a smaller backbone, adapt fewer layers (Advanced), or train on the CPU.",
    )
