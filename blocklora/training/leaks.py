"""Test pictures that look like pictures the model learned from: they test memory, so the figure is told without them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from blocklora.projects.dataset import Dataset
from blocklora.projects.near import near_pairs
from blocklora.training.alike import CANDIDATES, LEAST, correlations, small_grey


@dataclass(frozen=True)
class Leak:
    """A pair: index of the test picture, index into the run's images, and the sign that found it: "hash", or "pixels" where cropped,
    mirrored or turned. "seen" is a picture that the run which this one goes on from learned from itself: then `like` is -1."""

    test: int
    like: int
    sign: str


@dataclass(frozen=True)
class Looks:
    """Pictures as the search needs them: normalised features (N, D), and small grey copies (N, 1, 48, 48)."""

    features: torch.Tensor
    greys: torch.Tensor

    @classmethod
    def of(cls, features: torch.Tensor, chunks: Iterator[torch.Tensor]) -> Looks:
        """Of pictures whose model inputs come in `chunks` of (n, 3, S, S), in the order of `features`."""
        parts = [small_grey(chunk) for chunk in chunks]
        return cls(features, torch.cat(parts) if parts else torch.zeros(0, 1, 48, 48))

    def __add__(self, other: Looks) -> Looks:
        return Looks(torch.cat([self.features, other.features]), torch.cat([self.greys, other.greys]))


def find_leaks(test: Dataset, known: Dataset, places: Sequence[int], seen: Looks, looks: Looks, before: Collection[str] = ()) -> list[Leak]:
    """The test pictures that look like one of the run's, at most one pair each.

    Args:
        places: indices into `known.items` of the pictures in `seen`, in its order.
        seen: what the model learned from, held-out pictures included (the file may be trained on them in the end).
        looks: the test pictures.
        before: contents that the runs which this one goes on from learned from.
    """
    hashes = [known.items[place].phash for place in places]
    found = {mine: Leak(mine, places[theirs], "hash") for mine, theirs, _ in near_pairs([item.phash for item in test.items], hashes)}
    found |= {mine: Leak(mine, -1, "seen") for mine, item in enumerate(test.items) if item.sha256 in before}
    with torch.inference_mode():
        for mine in range(len(test.items)) if len(seen.features) else ():
            if mine in found:
                continue
            nearest = (seen.features @ looks.features[mine]).topk(min(CANDIDATES, len(seen.features))).indices
            alike = correlations(looks.greys[mine : mine + 1], seen.greys[nearest])
            best = int(alike.argmax())
            if float(alike[best]) >= LEAST:
                found[mine] = Leak(mine, places[int(nearest[best])], "pixels")
    return [found[mine] for mine in sorted(found)]


def counted_tests(n: int, leaks: Sequence[Leak]) -> list[int]:
    """Which of `n` test pictures the figure counts: those that look like none; all of them where nothing would be left."""
    left = sorted(set(range(n)) - {leak.test for leak in leaks})
    return left or list(range(n))


def words(leaks: Sequence[Leak], test: Dataset) -> str:
    """What to say of them, in one line."""
    one = len(leaks) == 1
    what = f"{len(leaks)} test image{'' if one else 's'} look{'s' if one else ''} like images that training saw"
    if len(leaks) == len(test.items):
        return f"{what}: all there are, so the test figure flatters."
    return f"{what}: the test figure is told without {'it' if one else 'them'}."


def rows(leaks: Sequence[Leak], test: Dataset, known: Dataset) -> list[dict[str, Any]]:
    """The pairs for result.json: class, id and file of both pictures."""

    def side(dataset: Dataset, place: int) -> dict[str, Any]:
        item = dataset.items[place]
        return {"label": item.label, "image_id": item.image_id, "path": item.path}

    return [{"test": side(test, leak.test), "like": None if leak.like < 0 else side(known, leak.like), "sign": leak.sign} for leak in leaks]
