"""The data check of a set of pictures, from what the frozen model says of each: run where pictures are embedded, never by the window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from blocklora.errors import ImageError
from blocklora.files import read_json, write_json
from blocklora.projects.alike import alike_groups
from blocklora.projects.dataset import Dataset, Item
from blocklora.projects.decoding import decode_many
from blocklora.projects.folds import folds
from blocklora.projects.quality import SOURCE_SIDE, Quality, measure, poor
from blocklora.services.findings import Check, doubts, far_from_all, record

if TYPE_CHECKING:
    import numpy as np
    import torch

    from blocklora.training.class_weights import Choice

SEED = 1  # of the parts in which pictures judge each other


def check(
    mark: str, dataset: Dataset, values: np.ndarray, text: torch.Tensor, choice: Choice, scale: float, qualities: list[Quality | None]
) -> Check:
    """Everything that is wrong with the pictures of a dataset, as far as anybody can tell without a training.

    Args:
        mark: what the record is said to be of.
        dataset: pictures that were embedded, all of them.
        values: their normalised embeddings (N, D) by the frozen model, in the same order.
        text: (C, D) class weights of the names; `choice` says whether they mean something.
        scale: factor of the cosines in the backbone's logits.
        qualities: of each picture, None where it could not be measured.
    """
    import torch

    from blocklora.training.class_weights import Features
    from blocklora.training.doubt import FOLDS, left_out_probabilities, nearness

    items = dataset.items
    features = Features(torch.from_numpy(values), torch.tensor([item.label for item in items]))
    parts = folds(dataset, (), FOLDS, SEED)
    probabilities = left_out_probabilities(features, text, choice, scale, parts)
    found = {
        "doubts": doubts(items, dataset.class_ids, probabilities),
        "far": far_from_all(items, nearness(features, len(dataset.class_names))),
        "groups": alike_groups([item.phash for item in items], values),
        "kinds": poor(qualities),
    }
    return record(mark, items, found)


class Qualities:
    """Qualities by content, kept in a file, so that each picture is measured once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, Quality | None] | None = None

    def of(self, items: Iterable[Item], small: Mapping[str, Path]) -> list[Quality | None]:
        """Of each item. `small` names by content a small copy to look at instead of the original, where there is one."""
        items = list(items)
        if self._known is None:
            self._known = self._load()
        new = {item.sha256: small.get(item.sha256, Path(item.path)) for item in items if item.sha256 not in self._known}
        for sha256, quality in zip(new, look(new.values()), strict=True):
            self._known[sha256] = quality
        living = {item.sha256 for item in items}
        if new:
            self._known = {key: value for key, value in self._known.items() if key in living}
            write_json(self.path, {key: None if value is None else list(asdict(value).values()) for key, value in self._known.items()})
        return [self._known[item.sha256] for item in items]

    def _load(self) -> dict[str, Quality | None]:
        try:
            return {str(key): None if row is None else Quality(*row) for key, row in (read_json(self.path) or {}).items()}
        except (AttributeError, TypeError, ValueError):  # another version's, or damaged
            return {}


def look(paths: Iterable[Path]) -> Iterator[Quality | None]:
    """The quality of each file, decoded in a child process; None where it cannot be read."""
    for _, pixels in decode_many(paths, short_side=SOURCE_SIDE):
        yield None if isinstance(pixels, ImageError) else measure(pixels)
