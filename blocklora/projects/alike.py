"""Pictures that show the same thing: near copies, mirrored and cropped ones too, within a class and across classes.

Two pictures count as alike where their perceptual hashes are almost equal (`near.NEAR_BITS`), or where the hashes are similar, mirrored
or not, and the frozen model says so too: each alone would take bursts of one product for copies, or miss crops. Measured by
`tests/benchmarks/data_check.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blocklora.projects.near import NEAR_BITS

SIMILAR_BITS = 16
SIMILAR_COSINE = 0.92

# A mirrored picture has the same cosine coefficients with the sign of the odd horizontal ones turned, so nearly the same hash with every
# second bit of each row turned (nearly: bits say "above the median", which is close to 0 but not 0).
MIRRORED = np.uint64(0x5555555555555555)


def alike_pairs(hashes: Sequence[str], values: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of pictures that are alike, from 64-bit hashes (16 hex digits) and normalised embeddings (N, D)."""
    bits = np.array([int(h, 16) for h in hashes], dtype=np.uint64)
    found: list[tuple[int, int]] = []
    for i in range(len(bits) - 1):
        differing = bits[i + 1 :] ^ bits[i]
        straight = np.bitwise_count(differing)
        close = np.minimum(straight, np.bitwise_count(differing ^ MIRRORED))
        places = np.nonzero(close <= SIMILAR_BITS)[0]
        if len(places):
            cosines = values[i + 1 + places] @ values[i]
            sure = (straight[places] <= NEAR_BITS) | (cosines >= SIMILAR_COSINE)
            found += [(i, int(i + 1 + j)) for j in places[sure]]
    return found


def alike_groups(hashes: Sequence[str], values: np.ndarray) -> list[list[int]]:
    """Pictures that are alike, in chains: groups of at least two positions, each sorted, in the order of their first ones."""
    parent = list(range(len(hashes)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j in alike_pairs(hashes, values):
        parent[max(root(i), root(j))] = min(root(i), root(j))
    members: dict[int, list[int]] = {}
    for i in range(len(hashes)):
        members.setdefault(root(i), []).append(i)
    return [group for group in members.values() if len(group) > 1]
