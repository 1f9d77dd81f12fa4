"""Leaves, lying on the table with their edges lifted, tip to the right."""

from __future__ import annotations

import numpy as np

from . import outline as flat
from .colours import AUTUMN, GREENS
from .noise import Noise, colour, mix, pick, step, tint
from .solids import Body


def leaf(rng: np.random.Generator) -> list[Body]:
    """A leaf: whole, toothed, lobed or fingered, green or autumn, curled up from the table."""
    shape, spine, fingers = _leaf_outline(rng)
    foot = [spine[0] - 0.34, 0.1 * (rng.random() - 0.3)]
    stalk = flat.stroke(np.array([[spine[0] + 0.1, 0], [spine[0] - 0.12, 0.03], foot]), np.array([0.022, 0.026, 0.034]))
    whole = np.minimum(shape, stalk)
    across, along, wave, phase = 0.1 + 0.32 * rng.random(), 0.02 + 0.16 * rng.random(), 0.05 * rng.random(), 6.28 * rng.random()
    veins = _veins(rng, spine, fingers)
    noise = Noise(rng)
    base = tint(rng, pick(rng, GREENS if rng.random() < 0.4 else AUTUMN))
    second, pale = tint(rng, pick(rng, GREENS + AUTUMN)), np.clip(base * 1.5 + 0.06, 0, 1)
    patch, spots = rng.random() ** 2, rng.random() < 0.35

    def lift(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return across * y * y + along * (x - 0.1) ** 2 + wave * np.sin(4 * x + phase) * np.abs(y) * 2 + 0.03

    def distance(p: np.ndarray) -> np.ndarray:
        x, y = np.clip(p[:, 0], -1.3, 1.3), np.clip(p[:, 1], -1.3, 1.3)
        edge = flat.look_up(whole, p[:, 0], p[:, 1]) + 0.008
        ridge = 0.012 * step(0.03, 0.0, flat.look_up(veins, x, y)) + 0.008 * noise.at(x * 14, y * 14)
        up = np.abs(p[:, 2] - lift(x, y) + ridge) - 0.006
        return (np.hypot(np.maximum(edge, 0), np.maximum(up, 0)) + np.minimum(np.maximum(edge, up), 0) - 0.008) * 0.72

    def paint(p: np.ndarray) -> np.ndarray:
        x, y = p[:, 0], p[:, 1]
        cloud = noise.fractal(x * 2.2, y * 2.2, 4)
        shade = mix(np.broadcast_to(base, p.shape), second, patch * step(0.4, 0.65, cloud))
        shade = mix(shade, second * 0.6, 0.6 * patch * step(-0.12, 0.0, flat.look_up(shape, x, y)))
        shade = shade * (0.8 + 0.4 * noise.fractal(x * 12, y * 12, 2))[:, None]
        if spots:
            shade = mix(shade, colour("#4a2c17"), 0.8 * step(0.16, 0.1, noise.cells(x * 3.2, y * 3.2)[0]))
        return mix(shade, pale, 0.65 * step(0.022, 0.004, flat.look_up(veins, x, y)))

    return [Body(distance, paint, 0.12 + 0.3 * rng.random(), sheen=0.35)]


def _leaf_outline(rng: np.random.Generator) -> tuple[flat.Field, tuple[float, float], np.ndarray]:
    """The blade's outline, where its midrib starts and ends on the x axis, and the tips (n, 2) of a fingered leaf (else none)."""
    kind = pick(rng, ("oval", "lance", "heart", "oak", "maple", "toothed"))
    if kind == "maple":
        return _fingered(rng)
    t = np.linspace(0, 1, 60)
    slim = {"oval": 0.5, "lance": 0.24, "heart": 0.72, "oak": 0.5, "toothed": 0.46}[kind] * (0.85 + 0.3 * rng.random())
    peak = {"heart": 0.55, "oak": 1.25}.get(kind, 0.8 + 0.3 * rng.random())
    half = slim * np.sin(np.pi * t**peak) ** (0.85 if kind != "lance" else 1.1)
    x = -0.9 + 1.85 * t
    if kind == "heart":
        x = x - 0.3 * np.exp(-((t - 0.12) ** 2) / 0.012) * (half > 0.05)
    if kind == "oak":
        half = half * (0.72 + 0.34 * np.cos(2 * np.pi * t * int(rng.integers(4, 6))))
    if kind == "toothed":
        half = half * (1 - 0.11 * ((t * int(rng.integers(11, 17))) % 1.0))
    points = np.concatenate([np.stack([x, half], axis=1), np.stack([x, -half], axis=1)[-2:0:-1]])
    return flat.polygon(points) - 0.012, (-0.9, 0.93), np.empty((0, 2))


def _fingered(rng: np.random.Generator) -> tuple[flat.Field, tuple[float, float], np.ndarray]:
    polar, tips, lobes = [], [], int(rng.integers(2, 4)) * 2 + 1
    gap = 2.25 / (lobes - 1)
    for k, turn in enumerate(np.linspace(-2.25, 2.25, lobes)):
        reach = 1.05 - 0.2 * abs(turn) + 0.06 * rng.random()
        jags = ((-0.45, 0.72), (-0.3, 0.7), (0, 1.0), (0.3, 0.7), (0.45, 0.72))
        polar += [(turn + offset * gap, reach * far) for offset, far in jags]
        tips.append((turn, reach * 0.94))
        if k < lobes - 1:
            polar.append((turn + gap, 0.42 + 0.08 * rng.random()))
    polar.append((3.1416, 0.14))
    return flat.polygon(_around(polar)) - 0.015, (-0.28, 0.9), _around(tips)


def _around(polar: list[tuple[float, float]]) -> np.ndarray:
    """Points (n, 2) from (angle, reach) about where the fingers of a leaf meet."""
    turn, reach = np.array(polar).T
    return np.stack([reach * np.cos(turn) - 0.15, reach * np.sin(turn)], axis=1)


def _veins(rng: np.random.Generator, spine: tuple[float, float], fingers: np.ndarray) -> flat.Field:
    start, end = spine
    count, slant = int(rng.integers(4, 8)), 0.6 + 0.5 * rng.random()
    best = flat.stroke(np.array([[start, 0], [end, 0]]), 0.0)
    for tip in fingers:
        best = np.minimum(best, flat.stroke(np.array([[-0.15, 0], tip]), np.array([0.006, 0.0])))
        for share, aside in ((0.45, 0.5), (0.45, -0.5), (0.65, 0.5), (0.65, -0.5)):
            root, way = np.array([-0.15, 0]) * (1 - share) + tip * share, tip - np.array([-0.15, 0])
            turned = np.array([np.cos(aside) * way[0] - np.sin(aside) * way[1], np.sin(aside) * way[0] + np.cos(aside) * way[1]])
            best = np.minimum(best, flat.stroke(np.stack([root, root + 0.28 * turned]), 0.0) + 0.006)
    for x in np.linspace(start + 0.08, end - 0.3, count) if not len(fingers) else ():
        for side in (1, -1):
            path = np.array([[x, 0], [x + 0.3 * slant, 0.32 * side], [x + 0.75 * slant, 0.64 * side]])
            best = np.minimum(best, flat.stroke(path, 0.0) + 0.004)
    return best
