"""Where in a picture the reason for an answer lies: parts are covered one after the other, and the file says how its answer changes.

Occlusion (Zeiler and Fergus 2014, arXiv 1311.2901) with soft windows, through onnxruntime alone. The picture is cut and shrunk first as
the file itself would do it, so that a batch is small and covering happens on what the model really sees.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from blocklora.errors import ImageError
from blocklora.preprocess import central_square
from blocklora.services.heat import FLAT, HeatMap, Reason

if TYPE_CHECKING:
    from exporters.predictor import OnnxClassifier

BATCH = 16  # pictures in one run
WINDOW = 1 / 3  # of the side that the file sees
GRIDS = (12, 10, 8, 7)  # windows a side; the most that fit the time, and the least that still show something
SECONDS = 1.5
SIDE = 64  # of the map
SHOWN, LEAST = 2, 0.01  # how many labels are explained where none are asked for, and how probable the second must be
TINY = 1e-6  # probabilities are held this far from 0 and 1, where log-odds end


def explain(model: OnnxClassifier, picture: np.ndarray, labels: Sequence[str] = (), windows: int | None = None) -> HeatMap:
    """Where the reasons for `labels` lie in a picture (H, W, 3) uint8; without labels, for the most probable ones.

    Every window answers for all labels at once, so more of them cost nothing. `windows` a side are tried; by default as many as fit about
    `SECONDS` on this machine.

    Raises:
        ImageError: it is no such picture, or the model has no such label.
    """
    began = time.perf_counter()
    whole = model.predict([picture])[0]  # refuses what is no picture
    seen, box = seen_by(model, picture)
    places = _places(model, labels) or _likely(whole.probabilities)
    if windows is None:
        windows = _affordable(model, seen)
    covers = grid(windows, WINDOW)
    falls = scores(model, seen, covers)
    plain = look(model, [seen])[0]
    reasons = tuple(_reason(model, place, float(whole.probabilities[place]), plain[place], covers, falls[:, place]) for place in places)
    height, width = picture.shape[:2]
    return HeatMap(reasons, whole.label, height, width, box, len(covers), time.perf_counter() - began)


def _places(model: OnnxClassifier, labels: Sequence[str]) -> list[int]:
    unknown = [label for label in labels if label not in model.labels]
    if unknown:
        raise ImageError(f"the model has no class {unknown[0]!r}.", f"It has: {', '.join(model.labels)}.")
    return [model.labels.index(label) for label in labels]


def _likely(probabilities: np.ndarray) -> list[int]:
    order = np.argsort(-probabilities, kind="stable")[:SHOWN]
    return [int(i) for place, i in enumerate(order) if not place or probabilities[i] >= LEAST]


def _reason(model: OnnxClassifier, place: int, probability: float, plain: float, covers: Covers, falls: np.ndarray) -> Reason:
    covered = 1 / (1 + np.exp(-(plain - falls.max())))
    flat = bool(falls.max() < FLAT)
    return Reason(model.labels[place], probability, float(covered), mean_fall(covers, falls, SIDE).astype(np.float32), flat)


def _affordable(model: OnnxClassifier, seen: np.ndarray) -> int:
    """Windows a side that fit the time here; the first run of a size is slower than the others and is not counted."""
    model.predict([seen])
    began = time.perf_counter()
    model.predict([seen] * 4)
    each = (time.perf_counter() - began) / 4
    return next((n for n in GRIDS if n * n * each <= SECONDS), GRIDS[-1])


@dataclass(frozen=True)
class Covers:
    """Windows that cover a part of the unit square: `centres` (P, 2) as (y, x), `widths` (P,)."""

    centres: np.ndarray
    widths: np.ndarray

    def __len__(self) -> int:
        return len(self.widths)

    def drawn(self, side: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns (P, side) of the windows; a window is the outer product of its two, its edges fall off over a quarter of it."""
        at = (np.arange(side, dtype=np.float32) + 0.5) / side
        half = self.widths[:, None] / 2
        soft = half / 2
        rows, columns = (
            np.clip((half + soft / 2 - np.abs(at[None] - self.centres[:, axis, None])) / soft, 0, 1).astype(np.float32) for axis in (0, 1)
        )
        return rows, columns


def grid(n: int, width: float, shift: tuple[float, float] = (0.0, 0.0)) -> Covers:
    """n * n windows on an even grid; `shift` moves them by shares of a step."""
    step = 1 / n
    at = (np.arange(n) + 0.5) * step
    y, x = np.meshgrid(at + shift[0] * step, at + shift[1] * step, indexing="ij")
    return Covers(np.stack([y.ravel(), x.ravel()], axis=1), np.full(n * n, width))


def seen_by(model: OnnxClassifier, picture: np.ndarray) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """What the file sees of a picture (H, W, 3): uint8 (S, S, 3), and where that lies in it: top, left, height, width in pixels.

    The same cut and the same filter as in the file, which then has nothing left to do; only the rounding to 8 bits is added.
    """
    from PIL import Image

    height, width = picture.shape[:2]
    box = (0, 0, height, width)
    if model.preprocess.resize_mode == "shortest":
        top, left, side = central_square(height, width)
        box = (top, left, side, side)
    top, left, tall, wide = box
    filters = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
    cut = Image.fromarray(np.ascontiguousarray(picture[top : top + tall, left : left + wide]))
    size = model.preprocess.size
    return np.asarray(cut.resize((size, size), filters[model.preprocess.interpolation])), box


def blurred(seen: np.ndarray) -> np.ndarray:
    """What windows show instead: the picture so blurred that nothing in it can be told, with its colours kept where they were."""
    from PIL import Image, ImageFilter

    return np.asarray(Image.fromarray(seen).filter(ImageFilter.GaussianBlur(len(seen) / 8)))


def look(model: OnnxClassifier, pictures: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Log-odds (N, C) of every class for pictures of one size."""
    said = np.stack([found.probabilities for found in model.predict(list(pictures))]).astype(np.float64)
    said = np.clip(said, TINY, 1 - TINY)
    return np.log(said / (1 - said))


def scores(model: OnnxClassifier, seen: np.ndarray, covers: Covers) -> np.ndarray:
    """By how much the log-odds (P, C) of every class fall when each window is covered."""
    whole = look(model, [seen])[0]
    rows, columns = covers.drawn(len(seen))
    picture, filled = seen.astype(np.float32), blurred(seen).astype(np.float32)
    found = []
    for start in range(0, len(covers), BATCH):
        cover = rows[start : start + BATCH, :, None] * columns[start : start + BATCH, None, :]
        batch = np.rint(picture + cover[..., None] * (filled - picture)).astype(np.uint8)
        found.append(whole - look(model, batch))
    return np.concatenate(found)


def mean_fall(covers: Covers, falls: np.ndarray, side: int) -> np.ndarray:
    """The map (side, side): for each place, the mean fall (P,) over the windows that cover it, weighted by how much they do."""
    rows, columns = covers.drawn(side)
    weighed = np.einsum("p,py,px->yx", falls, rows, columns)
    total = np.einsum("py,px->yx", rows, columns)
    return weighed / np.maximum(total, 1e-6)
