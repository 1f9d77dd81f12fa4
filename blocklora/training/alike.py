"""Whether two pictures are one: the same pixels, though mirrored, turned by quarters, cropped a little, or brighter.

A perceptual hash misses crops and copies that were mirrored or turned, and features that lie close together are as often two pictures of
one thing as one picture twice (tests/benchmarks/near.py has the figures). So features only say which pictures to hold against each other,
and the pixels decide: the zero-mean normalised correlation of small grey copies, which brightness and contrast do not change, the best over
some crops of either and all quarter turns.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F

from blocklora.preprocess import TURNS

SIDE = 24
LEAST = 0.94
"""So high a correlation and two pictures count as one."""
CANDIDATES = 5
"""So many pictures, the nearest by features, are held against each picture."""
LUMA = (0.299, 0.587, 0.114)
"""How bright red, green and blue are (ITU-R BT.601), as where a picture is made grey by a program."""
SHARES = (0.95, 0.9, 0.85, 0.8)
"""The crops that are tried, as a share of each side; each in the middle, the corners and the middles of the sides."""


def small_grey(pixels: torch.Tensor) -> torch.Tensor:
    """Pictures (N, 3, H, W) on any scale as (N, 1, 48, 48) grey: what `correlations` cuts its crops from."""
    side, weights = (2 * SIDE, 2 * SIDE), torch.tensor(LUMA, device=pixels.device)
    grey = (pixels.float() * weights.view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    return F.interpolate(grey, side, mode="bilinear", antialias=True, align_corners=False)


@cache
def _cuts() -> torch.Tensor:
    """Affine maps (K, 2, 3) of all crops, each as it is and mirrored; the first two are the whole picture."""
    windows = [(1.0, 0.0, 0.0)]
    windows += [(share, (1 - share) * x, (1 - share) * y) for share in SHARES for x in (-1, 0, 1) for y in (-1, 0, 1)]
    return torch.tensor([[[sign * s, 0.0, x], [0.0, s, y]] for s, x, y in windows for sign in (1.0, -1.0)])


def _cut(grey: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """Crops of pictures (N, 1, 48, 48) as vectors (N, K, 576) of mean 0 and length 1; a picture of one colour gives zeros."""
    n, k = len(grey), len(maps)
    grid = F.affine_grid(maps, [k, 1, 2 * SIDE, 2 * SIDE], align_corners=False)
    large = F.grid_sample(grey.repeat_interleave(k, dim=0), grid.repeat(n, 1, 1, 1), padding_mode="border", align_corners=False)
    flat = F.avg_pool2d(large, 2).view(n, k, -1)
    flat = flat - flat.mean(dim=2, keepdim=True)
    return flat / flat.norm(dim=2, keepdim=True).clamp(min=1e-3)


def correlations(one: torch.Tensor, many: torch.Tensor) -> torch.Tensor:
    """How alike a picture (1, 1, 48, 48) and each of `many` (N, 1, 48, 48) are: (N,), -1..1, the best over crops of either and turns."""
    maps = _cuts()
    ours, theirs = _cut(one, maps)[0], _cut(many, maps)  # (K, V), (N, K, V)
    forward = theirs @ _turns(ours[0]).T  # crops of theirs against our whole: (N, K, 4)
    backward = _turns(theirs[:, 0]) @ ours.T  # crops of ours against their whole: (N, 4, K)
    return torch.maximum(forward.flatten(1).amax(dim=1), backward.flatten(1).amax(dim=1))


def _turns(flat: torch.Tensor) -> torch.Tensor:
    """Pictures as vectors (..., V) -> all four quarter turns of each (..., 4, V)."""
    square = flat.unflatten(-1, (SIDE, SIDE))
    return torch.stack([square.rot90(quarters, (-2, -1)) for quarters in range(TURNS)], dim=-3).flatten(-2)
