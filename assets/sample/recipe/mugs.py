"""Mugs, standing on the table."""

from __future__ import annotations

import numpy as np

from .colours import DRINKS, GLAZES
from .noise import Noise, mix, pick, step, tint
from .solids import Body, Distance, plain


def mug(rng: np.random.Generator) -> list[Body]:
    """A mug: round, straight, tapered or bulging; banded, dipped, dotted or plain; empty or full."""
    radius, height, wall = 0.62 + 0.16 * rng.random(), 0.85 + 0.5 * rng.random(), 0.055 + 0.03 * rng.random()
    taper, bulge = 0.3 * (rng.random() - 0.35), 0.16 * (rng.random() - 0.3)
    noise = Noise(rng)
    outside, inside, second = (tint(rng, pick(rng, choices)) for choices in (GLAZES, GLAZES[:1] * 3 + GLAZES, GLAZES))
    style = pick(rng, ("plain", "plain", "band", "dipped", "dots", "speckled", "stripes"))
    edge, count = 0.3 + 0.4 * rng.random(), int(rng.integers(7, 14))

    def girth(z: np.ndarray) -> np.ndarray:
        t = np.clip(z / height, 0, 1)
        return radius * (1 + taper * (t - 0.5) + bulge * np.sin(np.pi * t))

    def cup(p: np.ndarray) -> np.ndarray:
        rho, z = np.hypot(p[:, 0], p[:, 1]), p[:, 2]
        wide = girth(z)
        across, up, r = rho - wide + 0.04, np.abs(z - height / 2) - height / 2 + 0.04, 0.04
        outer = np.hypot(np.maximum(across, 0), np.maximum(up, 0)) + np.minimum(np.maximum(across, up), 0) - r
        hollow = np.maximum(rho - wide + wall, 0.1 - z)
        k = 0.03
        h = np.clip(0.5 - 0.5 * (outer + hollow) / k, 0, 1)
        return outer * (1 - h) - hollow * h + k * h * (1 - h)

    long, drop, thick = 0.26 + 0.14 * rng.random(), (0.28 + 0.08 * rng.random()) * height, 0.075 + 0.03 * rng.random()
    middle = (0.5 + 0.06 * rng.random()) * height

    def handle(p: np.ndarray) -> np.ndarray:
        x, z = p[:, 0] - radius * 0.98, p[:, 2] - middle
        q = np.hypot(x / long, z / drop)
        ring = (q - 1) * q / np.maximum(np.hypot(x / long**2, z / drop**2), 1e-5)
        tube = np.hypot(ring, p[:, 1] * 0.85) - thick
        rho = np.hypot(p[:, 0], p[:, 1])
        return np.maximum(tube, girth(p[:, 2]) - wall * 0.5 - rho)

    def paint(p: np.ndarray) -> np.ndarray:
        t, turn = p[:, 2] / height, np.arctan2(p[:, 1], p[:, 0])
        base = np.broadcast_to(outside, p.shape)
        if style == "band":
            base = mix(base, second, step(edge - 0.13, edge - 0.12, t) * step(edge + 0.13, edge + 0.12, t))
        elif style == "dipped":
            base = mix(base, second, step(edge + 0.01, edge - 0.01, t + 0.04 * noise.at(turn * 3, turn * 0)))
        elif style == "dots":
            u, v = turn * count / 6.2832 + 0.5 * (np.floor(t * 5) % 2), t * 5
            base = mix(base, second, step(0.27, 0.24, np.hypot(u - np.floor(u) - 0.5, v - np.floor(v) - 0.5)))
        elif style == "speckled":
            base = mix(base, second * 0.5, step(0.2, 0.16, noise.cells(turn * 5, t * 9)[0]))
        elif style == "stripes":
            base = mix(base, second, step(-0.05, 0.05, np.sin(turn * count)))
        within = np.hypot(p[:, 0], p[:, 1]) < girth(p[:, 2]) - wall * 0.75
        return np.where((within & (t > 0.05))[:, None], inside, base)

    gloss = 0.35 + 0.6 * rng.random()
    bodies = [Body(cup, paint, gloss), Body(handle, plain(second if style == "dipped" and rng.random() < 0.3 else outside), gloss)]
    if rng.random() < 0.7:
        level, drink = height * (0.55 + 0.33 * rng.random()), tint(rng, pick(rng, DRINKS))
        bodies.append(Body(_surface(girth, level, wall), plain(drink), 0.9))
    return bodies


def _surface(girth: Distance, level: float, wall: float) -> Distance:
    def liquid(p: np.ndarray) -> np.ndarray:
        return np.maximum(np.hypot(p[:, 0], p[:, 1]) - girth(p[:, 2]) + wall, np.abs(p[:, 2] - level + 0.05) - 0.05)

    return liquid
