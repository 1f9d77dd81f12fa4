"""Why an answer was given, as the window and the command line see it, and as a picture. What computes it is injected with the predictor."""

from __future__ import annotations

import io
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

FLAT = 0.05  # log-odds: where no window changes the odds by more than a twentieth, there is nothing to show
LONG_SIDE = 320  # pixels of a drawn map
MARGIN = (128, 128, 128)
KEPT = 24


@dataclass(frozen=True)
class Reason:
    """Where the reason for one label lies.

    `heat` (S, S) float32 over what the file sees: the mean fall of the label's log-odds when the place is covered, below 0 where covering
    helps it. `probability` is that of the whole picture, `covered` that with the one window covered that takes most from it.
    """

    label: str
    probability: float
    covered: float
    heat: np.ndarray
    flat: bool


@dataclass(frozen=True)
class HeatMap:
    """The reasons for one or more labels, in the order asked for.

    `answer` is the file's, of the whole picture. `box` is what the file sees of the picture (`height`, `width`): top, left, height, width
    in pixels. `passes` pictures went through the file in `seconds`.
    """

    reasons: tuple[Reason, ...]
    answer: str
    height: int
    width: int
    box: tuple[int, int, int, int]
    passes: int
    seconds: float


class HeatMaps:
    """The last few maps, so that one that was computed is not computed again."""

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, HeatMap] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], HeatMap]) -> HeatMap:
        """The map of that key (a model and a picture), made where it is not known."""
        with self._lock:
            found = self._known.get(key)
        found = make() if found is None else found
        with self._lock:
            self._known[key] = found
            self._known.move_to_end(key)
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        return found


# ---- as a picture


def ramp(values: np.ndarray) -> np.ndarray:
    """Colours (..., 3) uint8 of values 0..1: from dark violet by red to light yellow.

    Lightness rises evenly, so that the order can be read without seeing hues; made in OKLab (Ottosson 2020,
    bottosson.github.io/posts/oklab), whose lightness is what it says.
    """
    import numpy as np

    t = np.clip(np.asarray(values, dtype=np.float64), 0.0, 1.0)
    lightness = 0.20 + 0.74 * t
    chroma = 0.07 + 0.11 * np.sin(math.pi * np.clip(0.05 + 0.9 * t, 0, 1))
    hue = np.radians(295.0 + 165.0 * t)  # 295 is violet, 360 + 100 yellow
    a, b = chroma * np.cos(hue), chroma * np.sin(hue)
    cones = np.stack(
        [
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ],
        axis=-1,
    )
    to_rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip(cones**3 @ to_rgb.T, 0.0, 1.0)
    coded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * coded).astype(np.uint8)


def css_ramp(stops: int = 9) -> str:
    """The ramp as a CSS gradient, for a legend."""
    import numpy as np

    colours = ramp(np.linspace(0, 1, stops))
    return "linear-gradient(90deg," + ",".join(f"#{r:02x}{g:02x}{b:02x}" for r, g, b in colours.tolist()) + ")"


def shades(reason: Reason) -> np.ndarray:
    """The map as shares of its warmest place (S, S), 0..1; what speaks against the label counts as nothing, and a flat map is cold."""
    import numpy as np

    if reason.flat:
        return np.zeros_like(reason.heat)
    return np.clip(reason.heat / max(float(reason.heat.max()), 1e-9), 0.0, 1.0)


def layer(found: HeatMap, reason: Reason, long_side: int = LONG_SIDE) -> np.ndarray:
    """The map in colours over the whole picture, (h, w, 3) uint8 with the picture's proportions; grey where the file does not look."""
    import numpy as np
    from PIL import Image

    scale = long_side / max(found.height, found.width)
    height, width = max(1, round(found.height * scale)), max(1, round(found.width * scale))
    top, left = round(found.box[0] * scale), round(found.box[1] * scale)
    tall, wide = max(1, min(height - top, round(found.box[2] * scale))), max(1, min(width - left, round(found.box[3] * scale)))
    smooth = Image.fromarray(shades(reason).astype(np.float32)).resize((wide, tall), Image.Resampling.BICUBIC)
    drawn = np.full((height, width, 3), MARGIN, dtype=np.uint8)
    drawn[top : top + tall, left : left + wide] = ramp(np.asarray(smooth))
    return drawn


def layer_png(found: HeatMap, reason: Reason) -> bytes:
    """`layer` as a PNG file."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(layer(found, reason)).save(out, "PNG", optimize=True)
    return out.getvalue()


def blended(picture: np.ndarray, found: HeatMap, reason: Reason, opacity: float = 0.6, long_side: int = 1024) -> bytes:
    """The picture (H, W, 3) with the map over it, as a PNG file."""
    import numpy as np
    from PIL import Image

    colours = layer(found, reason, min(long_side, max(picture.shape[:2])))
    below = np.asarray(Image.fromarray(picture).resize(colours.shape[1::-1], Image.Resampling.BICUBIC)).astype(np.float32)
    out = io.BytesIO()
    Image.fromarray(np.rint(below + opacity * (colours - below)).astype(np.uint8)).save(out, "PNG", optimize=True)
    return out.getvalue()


# ---- in words


def percent(share: float) -> str:
    """A probability as people say it; one that is not quite 0 or 1 is not called that."""
    return "over 99 %" if share > 0.99 else "under 1 %" if share < 0.01 else f"{100 * share:.0f} %"


def words(reason: Reason) -> str:
    """What the map says, for somebody who has never seen one."""
    if reason.flat:
        stays = f"“{reason.label}” stays at about {percent(reason.probability)}"
        return f"No part of the picture decides by itself: whatever is covered, {stays}."
    before, after = percent(reason.probability), percent(reason.covered)
    moved = f"it goes from {before} to {after}" if before != after else f"it still stays at {after}: no part decides alone"
    if reason.probability < 0.01:
        return f"The file hardly believes in “{reason.label}” ({before}). The warm parts are what little speaks for it."
    warm = f"The warm parts spoke for “{reason.label}”: covering them changes the answer most"
    return f"{warm}. With the most telling part covered, {moved}."


def limits(found: HeatMap) -> str:
    """What such a map is, and what it is not."""
    return (
        f"Made by covering the picture bit by bit and asking the file again, {found.passes} times. It shows where the answer comes from, "
        "not why: warm background means that the model goes by the background, and parts that only count together can stay cold."
    )
