"""Scissors, lying flat, blades to the right."""

from __future__ import annotations

import numpy as np

from . import outline as flat
from .colours import PLASTICS, STEELS
from .noise import pick, tint
from .solids import Body, Distance, plain, slab


def scissors(rng: np.random.Generator) -> list[Body]:
    """A pair of scissors, shut or open: plastic or metal handles, long or short blades, pointed or round tips."""
    opening, blade_end = 0.03 + 0.42 * rng.random() ** 1.3, 0.75 + 0.3 * rng.random()
    width, blunt = 0.085 + 0.045 * rng.random(), rng.random() < 0.3
    loop_x, loop_y, tube = 0.3 + 0.12 * rng.random(), 0.17 + 0.07 * rng.random(), 0.055 + 0.03 * rng.random()
    tail = -0.5 - 0.2 * rng.random()
    bare = rng.random() < 0.3
    metal = tint(rng, pick(rng, STEELS), 0.06)
    grip = plain(metal if bare else tint(rng, pick(rng, PLASTICS)))
    gloss = 0.6 + 0.3 * rng.random()
    bodies = []
    for side in (1, -1):
        tip = 0.05 if blunt else 0.012
        cutting = [[-0.2, -width], [0.1, -width], [blade_end * 0.8, -width * 0.75], [blade_end, -tip]]
        blade = flat.polygon(np.array([*cutting, [blade_end, tip * 0.3], [-0.1, width * 0.5]]) * [1, side])
        path = np.array([[0.0, 0.0], [-0.2, 0.05 * side], [tail + loop_x * 0.8, 0.17 * side]])
        arm = flat.stroke(path, np.array([width * 0.9, 0.07, 0.06]))
        around = flat.oval(tail, 0.26 * side, loop_x, loop_y, -0.25 * side)
        ring = np.abs(around) - tube
        turn = opening / 2 * side
        low = 0.05 if side > 0 else 0.1
        steel = _turned(slab(np.minimum(blade, flat.disc(0, 0, width * 1.15)), low, 0.045, 0.008), turn)
        held = _turned(slab(flat.smooth_union(ring, np.maximum(arm, 0.12 + flat.X), 0.08), 0.0, 0.17, min(0.055, tube * 0.9)), turn)
        if bare:
            bodies.append(Body(lambda p, a=steel, b=held: np.minimum(a(p), b(p)), plain(metal), gloss, metal=True))
        else:
            bodies += [Body(steel, plain(metal), gloss, metal=True), Body(held, grip, 0.3 + 0.3 * gloss)]
    screw = slab(flat.disc(0, 0, 0.065), 0.1, 0.085, 0.02)
    return [*bodies, Body(screw, plain(metal * 0.8), 0.7, metal=True)]


def _turned(distance: Distance, angle: float) -> Distance:
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]], dtype=np.float32)
    return lambda p: distance(p @ turn)
