"""Flat outlines as signed distances on a grid: negative inside, in scene units. Drawn once, looked up millions of times."""

from __future__ import annotations

import numpy as np

SIDE, EXTENT = 300, 1.5  # grid points along a side; the grid covers -EXTENT..EXTENT both ways
_axis = np.linspace(-EXTENT, EXTENT, SIDE, dtype=np.float32)
X, Y = np.meshgrid(_axis, _axis, indexing="ij")

Field = np.ndarray  # (SIDE, SIDE) float32


def disc(x: float, y: float, radius: float) -> Field:
    return np.hypot(X - x, Y - y) - radius


def oval(x: float, y: float, rx: float, ry: float, angle: float = 0.0) -> Field:
    """Near enough to the distance of an ellipse for thin shapes."""
    c, s = np.cos(angle), np.sin(angle)
    u, v = (c * (X - x) + s * (Y - y)) / rx, (-s * (X - x) + c * (Y - y)) / ry
    length = np.hypot(u, v)
    return (length - 1) * length / np.maximum(np.hypot(u / rx, v / ry), 1e-6)


def box(x: float, y: float, half_x: float, half_y: float, corner: float = 0.0) -> Field:
    dx, dy = np.abs(X - x) - half_x + corner, np.abs(Y - y) - half_y + corner
    return np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0) - corner


def stroke(points: np.ndarray, widths: np.ndarray | float) -> Field:
    """A line through `points` (n, 2), `widths` its half width at each point (tapering between)."""
    half = np.broadcast_to(np.asarray(widths, dtype=np.float32), (len(points),))
    best = np.full_like(X, 9.0)
    for (ax, ay), (bx, by), wa, wb in zip(points, points[1:], half, half[1:], strict=False):
        length2 = max((bx - ax) ** 2 + (by - ay) ** 2, 1e-9)
        t = np.clip(((X - ax) * (bx - ax) + (Y - ay) * (by - ay)) / length2, 0, 1)
        best = np.minimum(best, np.hypot(X - ax - t * (bx - ax), Y - ay - t * (by - ay)) - (wa + t * (wb - wa)))
    return best


def polygon(points: np.ndarray) -> Field:
    """A closed polygon through `points` (n, 2); inside by crossing number."""
    distance2, inside = np.full_like(X, 81.0), np.zeros(X.shape, dtype=bool)
    for (ax, ay), (bx, by) in zip(points, np.roll(points, -1, axis=0), strict=True):
        ex, ey, px, py = bx - ax, by - ay, X - ax, Y - ay
        t = np.clip((px * ex + py * ey) / max(ex * ex + ey * ey, 1e-9), 0, 1)
        distance2 = np.minimum(distance2, (px - t * ex) ** 2 + (py - t * ey) ** 2)
        if ay != by:
            inside ^= ((ay > Y) != (by > Y)) & (ex * (Y - ay) / ey + ax > X)
    return np.sqrt(distance2) * np.where(inside, -1, 1)


def smooth_union(a: Field, b: Field, radius: float) -> Field:
    h = np.clip(0.5 + 0.5 * (b - a) / radius, 0, 1)
    return b * (1 - h) + a * h - radius * h * (1 - h)


def look_up(field: Field, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """`field` at (x, y) (N,), bilinear; outside the grid the way back to it is added."""
    cx, cy = np.clip(x, -EXTENT, EXTENT), np.clip(y, -EXTENT, EXTENT)
    u, v = (cx + EXTENT) * ((SIDE - 1) / (2 * EXTENT)), (cy + EXTENT) * ((SIDE - 1) / (2 * EXTENT))
    i, j = np.minimum(u.astype(np.int32), SIDE - 2), np.minimum(v.astype(np.int32), SIDE - 2)
    u, v = u - i, v - j
    flat, at = field.ravel(), i * SIDE + j
    value = (flat[at] * (1 - u) + flat[at + SIDE] * u) * (1 - v) + (flat[at + 1] * (1 - u) + flat[at + SIDE + 1] * u) * v
    return value + np.hypot(x - cx, y - cy)
