"""Pictures that can hardly teach anything: blurred, too dark, washed out, tiny. Cheap statistics at one fixed size.

The bounds were set by measurement (`tests/benchmarks/data_check.py`): on real photographs of objects, textures, clothes, groceries and
landscapes, beside copies of them that were blurred, darkened and overexposed on purpose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SIDE = 128
"""Short side in pixels at which pictures are compared."""
SOURCE_SIDE = 200
"""Short side to decode at: that of a thumbnail. Sharpness depends on it a little, so it is one for all."""
TINY = 64
"""A picture with a shorter side than this has too little in it; sharpness is not judged below `SIDE`."""

SHARP_EDGE = 0.35
LOST_BY_BLUR = 0.50
DARK = 70.0
WHITE, WHITE_SHARE, LIGHTEST_DARK = 250, 0.4, 110.0

KINDS = ("blurry", "dark", "washed out", "tiny")
NORMAL_SHARE = 0.2
"""Where more pictures than this share are of a kind, the kind is what these pictures are like (night cameras, thumbnails), no mistake."""


@dataclass(frozen=True)
class Quality:
    """What was measured of a picture. Brightness is 0..255.

    `edge` is the sharpest bend (99.5 % quantile of the Laplacian) relative to the strongest contrast over 8 pixels; `lost` the share of
    the variation between neighbours that one more blur takes away, in the direction that loses least: a blurred picture has little left
    to lose (Crete et al. 2007, "The blur effect"). `bright` and `darkest` are the 95 % and the 2 % quantile, `white` the share of pixels
    that are white. `short` is the short side of the picture, up to `SOURCE_SIDE`.
    """

    edge: float
    lost: float
    bright: float
    darkest: float
    white: float
    short: int


def measure(pixels: np.ndarray) -> Quality:
    """Measure a picture (H, W, 3) uint8, best decoded at `SOURCE_SIDE`."""
    from PIL import Image

    picture = Image.fromarray(pixels).convert("L")
    short = min(picture.size)
    if short < TINY:  # nothing else is to be told of it
        return Quality(edge=1.0, lost=1.0, bright=255.0, darkest=0.0, white=0.0, short=short)
    scale = SIDE / short
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    grey = np.asarray(picture.resize(size, Image.Resampling.BILINEAR), dtype=np.float32)
    bend = np.abs(-4 * grey[1:-1, 1:-1] + grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:])
    across = max(float(np.quantile(np.abs(grey[:, 8:] - grey[:, :-8]), 0.995)), float(np.quantile(np.abs(grey[8:] - grey[:-8]), 0.995)))
    return Quality(
        edge=round(float(np.quantile(bend, 0.995)) / (across + 1), 4),
        lost=round(min(_lost(grey), _lost(grey.T)), 4),
        bright=round(float(np.quantile(grey, 0.95)), 1),
        darkest=round(float(np.quantile(grey, 0.02)), 1),
        white=round(float((grey >= WHITE).mean()), 3),
        short=short,
    )


def _lost(grey: np.ndarray, width: int = 9) -> float:
    """The share of the differences between rows that a running mean over `width` rows takes away."""
    padded = np.pad(grey, [(width // 2 + 1, width // 2), (0, 0)], mode="edge").cumsum(axis=0, dtype=np.float64)
    blurred = (padded[width:] - padded[:-width]) / width
    before, after = np.abs(np.diff(grey, axis=0)), np.abs(np.diff(blurred, axis=0))
    return float(np.maximum(0, before - after).sum() / max(1e-6, float(before.sum())))


def kind_of(quality: Quality) -> str:
    """What is the matter with a picture, one of `KINDS`, or ''."""
    if quality.short < TINY:
        return "tiny"
    if quality.bright < DARK:
        return "dark"
    if quality.white > WHITE_SHARE and quality.darkest > LIGHTEST_DARK:
        return "washed out"
    if quality.short >= SIDE and quality.bright - quality.darkest > 16 and (quality.edge < SHARP_EDGE or quality.lost < LOST_BY_BLUR):
        return "blurry"
    return ""


def poor(qualities: list[Quality | None]) -> list[str]:
    """`kind_of` each picture, without the kinds that are common among them; '' also where nothing was measured."""
    kinds = ["" if quality is None else kind_of(quality) for quality in qualities]
    common = {kind for kind in KINDS if kinds.count(kind) > NORMAL_SHARE * len(kinds)}
    return ["" if kind in common else kind for kind in kinds]
