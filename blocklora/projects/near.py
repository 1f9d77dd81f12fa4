"""Near-identical pictures: a 64-bit perceptual hash, and which hashes lie close together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

SIDE, KEPT = 32, 8
NEAR_BITS = 6
"""Two pictures whose hashes differ in at most this many of 64 bits count as near-identical (re-encoded, rescaled, burst frames)."""


@cache
def _cosines() -> np.ndarray:
    """Rows of the type-II discrete cosine transform, the KEPT lowest of SIDE: (8, 32) float64."""
    n, k = np.arange(SIDE), np.arange(KEPT)[:, None]
    return 2.0 * np.cos(np.pi * k * (2 * n + 1) / (2 * SIDE))


def perceptual_hash(picture: Image.Image) -> str:
    """pHash of a picture as 16 hex digits: 32 x 32 grey, cosine transform, 8 x 8 lowest frequencies above their median or not.

    The same bits as `imagehash.phash` (hackerfactor.com, "Looks Like It"), without its scipy import, which would
    more than double the start-up time of the decoding child. Rounded so that ties fall the same way everywhere.
    """
    from PIL import Image

    grey = picture.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    cosines = _cosines()
    low = np.round(cosines @ np.asarray(grey, dtype=np.float64) @ cosines.T, 6)
    bits = (low > np.median(low)).astype(np.uint8)
    return np.packbits(bits).tobytes().hex()


def near_groups(hashes: Sequence[str], max_bits: int = NEAR_BITS) -> list[int]:
    """For each 64-bit hash (16 hex digits) the number of its group; hashes at most `max_bits` apart share one, and so on in chains.

    Groups are numbered in order of first appearance. Each hash is held against all others at once, a row of the distance matrix at a
    time: 5,000 hashes take a fraction of a second and no memory to speak of, also where all of them are alike.
    """
    values = np.array([int(h, 16) for h in hashes], dtype=np.uint64)
    labels = np.arange(len(values))
    for value in values:
        found = np.unique(labels[np.bitwise_count(values ^ value) <= max_bits])
        if len(found) > 1:
            labels[np.isin(labels, found)] = found[0]
    numbers: dict[int, int] = {}
    return [numbers.setdefault(label, len(numbers)) for label in labels.tolist()]


def near_pairs(these: Sequence[str], those: Sequence[str], max_bits: int = NEAR_BITS) -> list[tuple[int, int, int]]:
    """For each of `these` hashes that lies near one of `those`: (its index, the index of the nearest, their distance in bits)."""
    if not those:
        return []
    others = np.array([int(h, 16) for h in those], dtype=np.uint64)
    found = []
    for place, text in enumerate(these):
        bits = np.bitwise_count(others ^ np.uint64(int(text, 16)))
        nearest = int(bits.argmin())
        if bits[nearest] <= max_bits:
            found.append((place, nearest, int(bits[nearest])))
    return found
