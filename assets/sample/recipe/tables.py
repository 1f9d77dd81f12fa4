"""What things lie on: wood, cloth, paper, stone, cork. Each function draws its own randomness once and returns a painter.

A painter takes x, y (N,) in scene units (a thing is about 2 across) and gives linear-light colours (N, 3).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .noise import Noise, colour, mix, pick, step, tint

Painter = Callable[[np.ndarray, np.ndarray], np.ndarray]

WOODS = ("#c59a6b", "#a97445", "#7d5433", "#d9bd92", "#8f8377", "#5f4433", "#b98a5d", "#e3d3b4")
CLOTHS = ("#b8433f", "#3d5c8f", "#dfd8c8", "#5d7d5e", "#d9a441", "#33363d", "#a7b7c4", "#c98a86", "#6b5876", "#efece4")
PAPERS = ("#f5f2ea", "#efe6cf", "#c9a87c", "#e8ecf0", "#f3d9d3", "#d7e4d2", "#f2e3a0", "#454a52")
CALM = 0.4  # share of the average colour in a pattern
STONES = ("#d9d6d0", "#b9bcbd", "#8b8f92", "#e9e4da", "#6e6a66", "#c8b9a6")


def wood(rng: np.random.Generator) -> Painter:
    noise, base = Noise(rng), tint(rng, pick(rng, WOODS))
    dark = base * (0.45 + 0.2 * rng.random())
    width, shift, rings = 0.55 + 0.9 * rng.random(), rng.random(), 5 + 9 * rng.random()

    def paint(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        plank = np.floor(y / width + shift)
        along = x + 13.7 * plank
        bend = noise.fractal(along * 0.5, y * 1.1 + plank * 3.1, 3)
        ring = 0.5 + 0.5 * np.sin((y * rings + bend * 9.0) * 2.2)
        fibre = noise.fractal(along * 2.5, y * 42.0, 2)
        shade = mix(base[None], dark[None], 0.6 * ring**2 * bend + 0.42 * fibre**2)
        shade = shade * (0.84 + 0.3 * noise.at(plank * 3.7, plank * 1.3))[:, None]
        gap = np.abs((y / width + shift) - np.round(y / width + shift)) * width
        return shade * (0.3 + 0.7 * step(0.004, 0.016, gap))[:, None]

    return paint


def cloth(rng: np.random.Generator) -> Painter:
    noise, ground, second = Noise(rng), tint(rng, pick(rng, CLOTHS)), tint(rng, pick(rng, CLOTHS))
    kind, size, thread = pick(rng, ("plain", "plain", "check", "stripe", "dots")), 0.22 + 0.35 * rng.random(), 75 + 35 * rng.random()

    def paint(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        across, down = np.sin(x * 6.2832 / size), np.sin(y * 6.2832 / size)
        if kind == "check":
            share = 0.5 * step(-0.1, 0.1, across) + 0.5 * step(-0.1, 0.1, down)
        elif kind == "stripe":
            share = step(0.35, 0.5, across)
        elif kind == "dots":
            u, v = x / size - np.round(x / size), y / size - np.round(y / size)
            share = step(0.24, 0.2, np.hypot(u, v))
        else:
            share = np.zeros_like(x)
        base = mix(ground[None], second[None], share)
        weave = np.sin(x * thread) * np.sin(y * thread)
        slub = noise.fractal(x * 3, y * 60, 2) + noise.fractal(x * 60, y * 3, 2)
        fold = noise.fractal(x * 0.7, y * 0.7, 2)
        return base * (0.62 + 0.12 * weave + 0.22 * slub + 0.3 * fold)[:, None]

    return paint


def paper(rng: np.random.Generator) -> Painter:
    noise, ground = Noise(rng), tint(rng, pick(rng, PAPERS), 0.06)
    ink = tint(rng, pick(rng, ("#6f93c4", "#b8bcc0", "#c98080")))
    kind, size = pick(rng, ("blank", "ruled", "grid", "blank")), 0.2 + 0.14 * rng.random()

    def paint(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        shade = ground[None] * (0.9 + 0.1 * noise.fractal(x * 1.3, y * 1.3, 4) + 0.07 * noise.at(x * 48, y * 48))[:, None]
        line_x, line_y = np.abs(x / size - np.round(x / size)) * size, np.abs(y / size - np.round(y / size)) * size
        near = {"blank": np.full_like(x, 1.0), "ruled": line_y, "grid": np.minimum(line_x, line_y)}[kind]
        return mix(shade, ink[None], 0.6 * step(0.014, 0.005, near))

    return paint


def stone(rng: np.random.Generator) -> Painter:
    noise, ground = Noise(rng), tint(rng, pick(rng, STONES), 0.08)
    chips = [tint(rng, pick(rng, STONES + WOODS[:3])) for _ in range(4)]
    kind, density = pick(rng, ("terrazzo", "marble", "concrete")), 2.5 + 2.5 * rng.random()

    def paint(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        cloud = noise.fractal(x * 1.1, y * 1.1, 5)
        shade = ground[None] * (0.78 + 0.4 * cloud)[:, None] * (0.96 + 0.08 * noise.at(x * 55, y * 55))[:, None]
        if kind == "terrazzo":
            distance, name = noise.cells(x * density, y * density)
            colours = np.stack(chips)[(name * 97).astype(np.int64) % len(chips)]
            return mix(shade, colours, step(0.3, 0.26, distance * (0.6 + name)))
        if kind == "marble":
            vein = np.abs(noise.fractal(x * 0.9 + 1.5 * cloud, y * 0.9 - 1.5 * cloud, 4) - 0.5)
            return mix(shade, shade * 0.45, 0.8 * step(0.035, 0.0, vein))
        return shade * (1 - 0.35 * step(0.14, 0.06, noise.cells(x * 7, y * 7)[0]))[:, None]

    return paint


def cork(rng: np.random.Generator) -> Painter:
    noise, ground, dark = Noise(rng), tint(rng, pick(rng, ("#c79d6b", "#b98b5a", "#9c8a76", "#a66c4c"))), colour("#4a3222")

    def paint(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        distance, name = noise.cells(x * 13, y * 13)
        shade = ground[None] * (0.7 + 0.5 * name)[:, None] * (0.85 + 0.3 * noise.at(x * 40, y * 40))[:, None]
        return mix(shade, dark[None], 0.55 * step(0.62, 0.9, distance + 0.25 * name))

    return paint


def table(rng: np.random.Generator) -> Painter:
    """A table top of any kind, turned any way, its pattern calmed so that it stays behind the things."""
    painter = (wood, cloth, paper, stone, cork, wood, cloth)[int(rng.integers(7))](rng)
    angle = rng.random() * 6.2832
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    diagonal = np.linspace(38, 42, 400, dtype=np.float32)
    average = painter(diagonal, diagonal).mean(axis=0)
    return lambda x, y: mix(painter(c * x - s * y + 40, s * x + c * y + 40), average, np.float32(CALM))
