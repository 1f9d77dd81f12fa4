"""What else lies on a table: any kind of thing may have it beside, under the frame's edge, or partly on top."""

from __future__ import annotations

import numpy as np

from . import outline as flat
from .colours import INKS, METALS, PAPERS, PLASTICS
from .noise import Noise, mix, pick, step, tint
from .solids import Body, capsule, ellipsoid, placed, plain, slab


def pencil(rng: np.random.Generator) -> list[Body]:
    length, radius = 0.8 + 0.3 * rng.random(), 0.06
    coat, bare, rubber = tint(rng, pick(rng, PLASTICS)), tint(rng, "#e0c08f"), tint(rng, "#c97b74")
    rod = capsule(np.array([-length, 0, radius], np.float32), np.array([length, 0, radius], np.float32), radius)

    def distance(p: np.ndarray) -> np.ndarray:
        point = np.hypot(p[:, 1], p[:, 2] - radius) - (length + 0.02 - p[:, 0]) * 0.3
        return np.maximum(rod(p), point * 0.95)

    def paint(p: np.ndarray) -> np.ndarray:
        x = p[:, 0]
        shade = mix(np.broadcast_to(coat, p.shape), bare, step(length - 0.2, length - 0.19, x))
        shade = mix(shade, coat * 0.3, step(length - 0.05, length - 0.04, x))
        return mix(shade, rubber, step(-length + 0.14, -length + 0.13, x))

    return [Body(distance, paint, 0.4)]


def pebble(rng: np.random.Generator) -> list[Body]:
    radii = np.array([0.2 + 0.15 * rng.random(), 0.16 + 0.1 * rng.random(), 0.1 + 0.05 * rng.random()], dtype=np.float32)
    noise, base = Noise(rng), tint(rng, pick(rng, ("#8d8f90", "#b9aa96", "#5f6468", "#d8d3c8", "#7c5f4d")))

    def paint(p: np.ndarray) -> np.ndarray:
        return base * (0.6 + 0.8 * noise.fractal(p[:, 0] * 9, p[:, 1] * 9 + p[:, 2] * 5, 4))[:, None]

    return [Body(ellipsoid(np.array([0, 0, radii[2] * 0.9], np.float32), radii), paint, 0.15)]


def coin(rng: np.random.Generator) -> list[Body]:
    radius = 0.18 + 0.08 * rng.random()
    rim = np.minimum(np.abs(flat.disc(0, 0, radius - 0.03)) - 0.03, np.abs(flat.disc(0.02, 0.01, radius * 0.45)) - 0.02)
    whole, raised = slab(flat.disc(0, 0, radius), 0.0, 0.04, 0.01), slab(rim, 0.0, 0.055, 0.008)
    return [Body(lambda p: np.minimum(whole(p), raised(p)), plain(tint(rng, pick(rng, METALS))), 0.6, metal=True)]


def note(rng: np.random.Generator) -> list[Body]:
    """A sheet of paper, which may lie on top of things."""
    shape = flat.box(0, 0, 0.45 + 0.3 * rng.random(), 0.4 + 0.2 * rng.random(), 0.02)
    base, ink = tint(rng, pick(rng, PAPERS)), tint(rng, pick(rng, INKS))
    noise, lines = Noise(rng), rng.random() < 0.6

    def paint(p: np.ndarray) -> np.ndarray:
        if not lines:
            return np.broadcast_to(base, p.shape)
        row = p[:, 1] / 0.11
        words = step(0.46, 0.54, noise.at(p[:, 0] * 22, np.round(row) * 7.3)) * step(0.42, 0.4, np.abs(p[:, 0]))
        written = step(0.17, 0.1, np.abs(row - np.round(row))) * words
        return mix(np.broadcast_to(base, p.shape), ink, 0.75 * written)

    bend = 0.03 + 0.09 * rng.random()
    sheet = slab(shape, 0.0, 0.014, 0.005)

    def curled(p: np.ndarray) -> np.ndarray:
        x = np.clip(p[:, 0], -0.9, 0.9)
        return sheet(np.stack([p[:, 0], p[:, 1], p[:, 2] - bend * x * x], axis=1)) * 0.9

    return [Body(curled, paint, 0.05, sheen=0.15)]


def beside(rng: np.random.Generator) -> list[Body]:
    """Often something lies around the middle, far enough out to leave it in view."""
    found: list[Body] = []
    for _ in range(int(rng.random() < 0.5) + int(rng.random() < 0.2)):
        make = (pencil, pebble, coin, note)[int(rng.integers(4))]
        way, far, turn = 6.2832 * rng.random(), 1.35 + 0.4 * rng.random(), 6.2832 * rng.random()
        found += [placed(body, turn, far * np.cos(way), far * np.sin(way), 1.0) for body in make(rng)]
    return found


def on_top(rng: np.random.Generator, height: float) -> list[Body]:
    """A sheet or a pencil across part of what lies there, `height` above the table."""
    make = note if rng.random() < 0.55 else pencil
    way, turn = 6.2832 * rng.random(), 6.2832 * rng.random()
    far = 0.85 if make is note else 0.4 * rng.random()
    return [placed(body, turn, far * np.cos(way), far * np.sin(way), 0.9, lift=height) for body in make(rng)]
