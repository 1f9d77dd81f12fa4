"""Solid bodies by signed distance, with the stuff they are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .outline import Field, look_up

Distance = Callable[[np.ndarray], np.ndarray]  # (N, 3) -> (N,)
Paint = Callable[[np.ndarray], np.ndarray]  # (N, 3) -> (N, 3), linear light


@dataclass(frozen=True)
class Body:
    """One solid of one stuff: `gloss` 0 (chalk) to 1 (mirror), `metal` reflects in its own colour, `sheen` lets light through (leaves)."""

    distance: Distance
    paint: Paint
    gloss: float = 0.2
    metal: bool = False
    sheen: float = 0.0


def plain(rgb: np.ndarray) -> Paint:
    return lambda p: np.broadcast_to(rgb, p.shape)


def slab(outline: Field, bottom: float, height: float, rounding: float) -> Distance:
    """`outline` standing `height` high from z = `bottom`, edges rounded."""

    def distance(p: np.ndarray) -> np.ndarray:
        flat = look_up(outline, p[:, 0], p[:, 1]) + rounding
        up = np.abs(p[:, 2] - bottom - height / 2) - height / 2 + rounding
        return np.hypot(np.maximum(flat, 0), np.maximum(up, 0)) + np.minimum(np.maximum(flat, up), 0) - rounding

    return distance


def capsule(a: np.ndarray, b: np.ndarray, radius: float) -> Distance:
    ab = b - a

    def distance(p: np.ndarray) -> np.ndarray:
        t = np.clip((p - a) @ ab / (ab @ ab), 0, 1)
        return np.linalg.norm(p - a - t[:, None] * ab, axis=1) - radius

    return distance


def ellipsoid(centre: np.ndarray, radii: np.ndarray) -> Distance:
    def distance(p: np.ndarray) -> np.ndarray:
        q = (p - centre) / radii
        length = np.linalg.norm(q, axis=1)
        return (length - 1) * length / np.maximum(np.linalg.norm(q / radii, axis=1), 1e-6)

    return distance


def placed(body: Body, angle: float, x: float, y: float, scale: float, lift: float = 0.0) -> Body:
    """`body` turned by `angle` about the upright axis, scaled, and moved to (x, y)."""
    c, s = np.float32(np.cos(angle) / scale), np.float32(np.sin(angle) / scale)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1 / scale]], dtype=np.float32)
    move = np.array([x, y, lift], dtype=np.float32)
    return replace(body, distance=lambda p: body.distance((p - move) @ turn) * scale, paint=lambda p: body.paint((p - move) @ turn))
