"""Smooth random fields over the plane, and small helpers for mixing colours."""

from __future__ import annotations

import numpy as np

SIZE = 256  # of the table of random numbers; fields repeat after that many cells


class Noise:
    """Value noise: random numbers on a grid, smoothly joined."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.table = rng.random((SIZE, SIZE), dtype=np.float32)

    def at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Field values in 0..1 at (x, y), one grid cell a unit; any shape."""
        left, low = np.floor(x), np.floor(y)
        u, v = x - left, y - low
        u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
        i, j = left.astype(np.int64) % SIZE, low.astype(np.int64) % SIZE
        i1, j1 = (i + 1) % SIZE, (j + 1) % SIZE
        t = self.table
        return (t[i, j] * (1 - u) + t[i1, j] * u) * (1 - v) + (t[i, j1] * (1 - u) + t[i1, j1] * u) * v

    def fractal(self, x: np.ndarray, y: np.ndarray, octaves: int = 4) -> np.ndarray:
        """Several octaves of noise added, again 0..1: clouds, stains, grain."""
        total, weight, amplitude = np.zeros_like(x), 0.0, 1.0
        for octave in range(octaves):
            total += amplitude * self.at(x * 2**octave + 17.3 * octave, y * 2**octave + 5.1 * octave)
            weight += amplitude
            amplitude *= 0.5
        return total / weight

    def cells(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Chips: distance to the nearest of one random point a grid cell, and that point's own random number."""
        left, low = np.floor(x), np.floor(y)
        best, name = np.full_like(x, 9.0), np.zeros_like(x)
        for dx in (-1, 0, 1):
            for dy in (-1, 0, 1):
                i, j = (left + dx).astype(np.int64) % SIZE, (low + dy).astype(np.int64) % SIZE
                px, py = left + dx + self.table[i, j], low + dy + self.table[j, i]
                distance = np.hypot(x - px, y - py)
                nearer = distance < best
                best, name = np.where(nearer, distance, best), np.where(nearer, self.table[(i * 7 + 3) % SIZE, (j * 5 + 1) % SIZE], name)
        return best, name


def mix(a: np.ndarray, b: np.ndarray, share: np.ndarray | float) -> np.ndarray:
    """Colour `a` (..., 3) turning into `b` as `share` (...) goes from 0 to 1."""
    amount = np.clip(np.asarray(share, dtype=np.float32), 0, 1)[..., None]
    return a * (1 - amount) + b * amount


def step(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth between; `low` may be the larger one."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def colour(text: str) -> np.ndarray:
    """'#rrggbb' as linear-light RGB (3,), float32."""
    values = np.array([int(text[i : i + 2], 16) for i in (1, 3, 5)], dtype=np.float32) / 255
    return (values**2.2).astype(np.float32)


def pick(rng: np.random.Generator, choices: tuple[str, ...] | list[str]) -> str:
    """One of `choices`."""
    return choices[int(rng.integers(len(choices)))]


def tint(rng: np.random.Generator, text: str, spread: float = 0.12) -> np.ndarray:
    """A colour near '#rrggbb'."""
    return np.clip(colour(text) * (1 + spread * (rng.random(3, dtype=np.float32) * 2 - 1)), 0, 1)
