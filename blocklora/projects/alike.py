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


def alike_groups(hashes: Sequence[str], values: np.ndarray) -> list[list[int]]:
    """Pictures that are alike, in chains: groups of at least two positions, each sorted, in the order of their first ones.

    Args:
        hashes: 64 bits each, as 16 hex digits.
        values: normalised embeddings (N, D), in the same order.

    A picture is only held against those that it is not in one group with yet, so frames of a film, which are all alike, cost no more than
    pictures that are not.
    """
    bits = np.array([int(h, 16) for h in hashes], dtype=np.uint64)
    group_of = np.arange(len(bits))
    for i in range(len(bits) - 1):
        differing = bits[i + 1 :] ^ bits[i]
        straight = np.bitwise_count(differing)
        close = np.minimum(straight, np.bitwise_count(differing ^ MIRRORED))
        others = np.nonzero((close <= SIMILAR_BITS) & (group_of[i + 1 :] != group_of[i]))[0]
        if len(others):
            cosines = values[i + 1 + others] @ values[i]
            sure = (straight[others] <= NEAR_BITS) | (cosines >= SIMILAR_COSINE)
            joined = np.unique(group_of[[i, *(i + 1 + others[sure])]])
            group_of[np.isin(group_of, joined)] = joined[0]
    members: dict[int, list[int]] = {}
    for i, group in enumerate(group_of.tolist()):
        members.setdefault(group, []).append(i)
    return [group for group in members.values() if len(group) > 1]
