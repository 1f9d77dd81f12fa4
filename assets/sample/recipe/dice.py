"""Dice, one or two of a kind, any face up."""

from __future__ import annotations

import numpy as np

from .colours import DICE
from .noise import Noise, colour, mix, pick, step, tint
from .solids import Body, Distance, Paint, placed

# Where the pips of each number sit on a face, in units of the face's half width.
_SPOT = 0.5
PIPS = {
    1: ((0, 0),),
    2: ((-_SPOT, -_SPOT), (_SPOT, _SPOT)),
    3: ((-_SPOT, -_SPOT), (0, 0), (_SPOT, _SPOT)),
    4: ((-_SPOT, -_SPOT), (-_SPOT, _SPOT), (_SPOT, -_SPOT), (_SPOT, _SPOT)),
    5: ((-_SPOT, -_SPOT), (-_SPOT, _SPOT), (0, 0), (_SPOT, -_SPOT), (_SPOT, _SPOT)),
    6: ((-_SPOT, -_SPOT), (-_SPOT, 0), (-_SPOT, _SPOT), (_SPOT, -_SPOT), (_SPOT, 0), (_SPOT, _SPOT)),
}
TOPS = ((1, 2, 3), (2, 6, 3), (3, 1, 2), (4, 1, 5), (5, 4, 6), (6, 5, 3))  # number on top, in front, at the right; opposites add to 7


def dice(rng: np.random.Generator) -> list[Body]:
    """One die, or two of the same make: ivory, coloured or dark, rounded or sharp."""
    body, pip = tint(rng, pick(rng, DICE)), colour("#f3f0ea")
    if body.mean() > 0.25:
        pip = colour(pick(rng, ("#1d1f22", "#7a1f1f", "#1f3f7a")))
    rounding, gloss = 0.05 + 0.12 * rng.random(), 0.3 + 0.6 * rng.random()
    noise, count = Noise(rng), 1 if rng.random() < 0.55 else 2
    half = 0.62 if count == 1 else 0.46
    made = []
    for k in range(count):
        numbers = TOPS[int(rng.integers(len(TOPS)))]
        one = Body(_cube(rounding), _faces(numbers, body, pip, noise), gloss)
        aside = 0.0 if count == 1 else (k - 0.5) * (1.35 + 0.2 * rng.random())
        made.append(placed(one, 6.2832 * rng.random(), aside, 0.25 * (rng.random() - 0.5), half))
    return made


def _cube(rounding: float) -> Distance:
    """A rounded cube of half width 1 standing on z = 0, its pips pressed in by the paint alone."""

    def distance(p: np.ndarray) -> np.ndarray:
        q = np.abs(p - np.array([0, 0, 1], dtype=np.float32)) - 1 + rounding
        return np.linalg.norm(np.maximum(q, 0), axis=1) + np.minimum(q.max(axis=1), 0) - rounding

    return distance


def _faces(numbers: tuple[int, int, int], body: np.ndarray, pip: np.ndarray, noise: Noise) -> Paint:
    top, front, right = numbers

    def paint(p: np.ndarray) -> np.ndarray:
        q = p - np.array([0, 0, 1], dtype=np.float32)
        axis = np.abs(q).argmax(axis=1)
        found = np.zeros(len(p), dtype=np.float32)
        for at, number, (u, v) in ((2, top, (0, 1)), (1, front, (0, 2)), (0, right, (1, 2))):
            ahead = q[:, at] > 0
            for side, pips in ((ahead, PIPS[number]), (~ahead, PIPS[7 - number])):
                near = np.full(len(p), 9.0, dtype=np.float32)
                for x, y in pips:
                    near = np.minimum(near, np.hypot(q[:, u] - x, q[:, v] - y))
                found = np.where((axis == at) & side, step(0.2, 0.17, near), found)
        shade = body * (0.9 + 0.2 * noise.fractal(p[:, 0] * 3, p[:, 1] * 3 + p[:, 2] * 3, 3))[:, None]
        return mix(shade, pip, found)

    return paint
