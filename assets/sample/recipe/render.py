"""Photographs bodies on a table: one ray a sub-pixel, sphere tracing, a soft-edged sun, an open sky and a bright window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from .noise import step
from .solids import Body
from .tables import Painter

REACH = 2.6  # bodies lie within this distance of the origin


@dataclass(frozen=True)
class Shot:
    """Camera and light. Angles in radians, colours in linear light."""

    elevation: float  # of the camera over the table
    distance: float
    aim: tuple[float, float]
    roll: float
    sun: np.ndarray  # (3,) unit vector towards the light
    sun_colour: np.ndarray
    sky_colour: np.ndarray
    softness: float  # of shadows: 4 very soft, 30 hard
    exposure: float
    grain: float
    blur: float  # pixels


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9)


def _rays(shot: Shot, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Eye (3,) and directions (side*side, 3), row by row from the top left."""
    target = np.array([*shot.aim, 0.12], dtype=np.float32)
    back = np.array([0, -np.cos(shot.elevation), np.sin(shot.elevation)], dtype=np.float32)
    right = np.array([1, 0, 0], dtype=np.float32)
    up = np.cross(back, right)
    c, s = np.float32(np.cos(shot.roll)), np.float32(np.sin(shot.roll))
    right, up = c * right + s * up, c * up - s * right
    axis = (np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1
    u, v = np.meshgrid(axis, -axis)
    spread = 0.28  # tangent of half the field of view
    directions = -back + spread * (u.reshape(-1, 1) * right + v.reshape(-1, 1) * up)
    return target + back * shot.distance, _unit(directions).astype(np.float32)


def _nearest(bodies: list[Body], p: np.ndarray) -> np.ndarray:
    return np.minimum.reduce([body.distance(p) for body in bodies])


def _sphere(origin: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where rays enter and leave the ball that holds every body; enter > leave where they miss it."""
    b = np.einsum("ij,ij->i", origin, direction)
    root = b * b - np.einsum("ij,ij->i", origin, origin) + REACH * REACH
    depth = np.sqrt(np.maximum(root, 0))
    return np.where(root > 0, np.maximum(-b - depth, 0), 1.0), np.where(root > 0, -b + depth, 0.0)


def _trace(bodies: list[Body], origin: np.ndarray, direction: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """Distance along each ray to the first body, or infinity; `limit` (N,) is where the table stops it."""
    t, leave = _sphere(origin, direction)
    end = np.minimum(leave, limit)
    found = np.full(len(t), np.inf, dtype=np.float32)
    active = np.flatnonzero(t < end)
    for _ in range(90):
        if not len(active):
            break
        gap = _nearest(bodies, origin[active] + direction[active] * t[active, None])
        hit = gap < 0.0012
        found[active[hit]] = t[active[hit]]
        t[active] += np.maximum(gap * 0.85, 0.001)
        active = active[~hit & (t[active] < end[active])]
    return found


def _shadow(bodies: list[Body], p: np.ndarray, sun: np.ndarray, softness: float) -> np.ndarray:
    """How much of the sun reaches each point, 0..1, after Quilez's soft shadows: the narrowest gap passed, seen as an angle."""
    light = np.ones(len(p), dtype=np.float32)
    t = np.full(len(p), 0.02, dtype=np.float32)
    active = np.arange(len(p))
    for _ in range(46):
        if not len(active):
            break
        gap = _nearest(bodies, p[active] + sun * t[active, None])
        light[active] = np.minimum(light[active], 0.5 + 0.5 * softness * gap / t[active])
        t[active] += np.clip(gap * 0.9, 0.012, 0.25)
        active = active[(light[active] > 0) & (t[active] < 3.2)]
    return step(0, 1, light)


def _open_sky(bodies: list[Body], p: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Ambient light left in corners and under things, 0..1."""
    hidden = np.zeros(len(p), dtype=np.float32)
    for reach, weight in ((0.04, 1.0), (0.1, 0.75), (0.2, 0.55), (0.38, 0.35)):
        q = p + normal * reach
        free = np.minimum(_nearest(bodies, q), np.where(normal[:, 2] > 0.9, 9.0, q[:, 2]))
        hidden += weight * np.clip(reach - free, 0, reach) / reach
    return np.clip(1 - 0.42 * hidden, 0.12, 1)


def _surroundings(direction: np.ndarray, shot: Shot, ground: np.ndarray) -> np.ndarray:
    """What a mirror sees: table below, sky above, a bright window beside the sun, a dark stretch opposite."""
    up = direction[:, 2]
    sky = shot.sky_colour * (0.55 + 0.9 * step(-0.1, 0.9, up))[:, None]
    view = np.where((up < 0)[:, None], ground * 0.7, sky)
    beside = direction @ _unit(shot.sun * np.array([1, 1, 0.6], dtype=np.float32))
    view = view + shot.sun_colour * (1.7 * step(0.78, 0.88, beside))[:, None]
    opposite = direction @ _unit(shot.sun * np.array([-1, -1, 0.25], dtype=np.float32))
    return view * (1 - 0.75 * step(0.55, 0.8, opposite))[:, None]


def _shade_bodies(bodies: list[Body], p: np.ndarray, direction: np.ndarray, shot: Shot, ground: np.ndarray) -> np.ndarray:
    gaps = np.stack([body.distance(p) for body in bodies])
    owner = np.argmin(gaps, axis=0)
    result = np.zeros_like(p)
    for index, body in enumerate(bodies):
        mine = np.flatnonzero(owner == index)
        if not len(mine):
            continue
        q, look = p[mine], direction[mine]
        corners = np.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], dtype=np.float32)
        normal = _unit(sum(k * body.distance(q + 0.0025 * k)[:, None] for k in corners))
        lifted = q + normal * 0.006
        lit = _shadow(bodies, lifted, shot.sun, shot.softness)
        facing = normal @ shot.sun
        sun = np.maximum(facing, 0) * lit + body.sheen * np.maximum(-facing, 0)
        sky = _open_sky(bodies, lifted, normal) * (0.5 + 0.5 * normal[:, 2])
        base = body.paint(q)
        bounce = ground * (0.22 * (0.5 - 0.5 * normal[:, 2]))[:, None]
        diffuse = base * (shot.sun_colour * sun[:, None] + shot.sky_colour * sky[:, None] + bounce)
        mirror = look - 2 * np.einsum("ij,ij->i", look, normal)[:, None] * normal
        seen = _surroundings(mirror, shot, ground) * (0.35 + 0.65 * sky)[:, None]
        grazing = (1 - np.clip(-np.einsum("ij,ij->i", look, normal), 0, 1)) ** 5
        glint = (np.clip(mirror @ shot.sun, 0, 1) ** (8 + 240 * body.gloss**2) * lit)[:, None] * shot.sun_colour
        if body.metal:
            colour = 0.3 * diffuse + base * seen * (0.7 + 0.5 * body.gloss) + 1.5 * body.gloss * base * glint
        else:
            share = (0.04 + 0.5 * grazing) * body.gloss
            colour = diffuse * (1 - share)[:, None] + seen * share[:, None] + 0.8 * body.gloss * glint
        result[mine] = colour
    return result


def _shade_table(bodies: list[Body], paint: Painter, p: np.ndarray, shot: Shot) -> np.ndarray:
    upright = np.broadcast_to(np.array([0, 0, 1], dtype=np.float32), p.shape)
    near = np.flatnonzero(np.hypot(p[:, 0], p[:, 1]) < REACH + 1.5)
    lit, sky = np.ones(len(p), dtype=np.float32), np.ones(len(p), dtype=np.float32)
    lit[near] = _shadow(bodies, p[near], shot.sun, shot.softness)
    sky[near] = _open_sky(bodies, p[near], upright[near])
    return paint(p[:, 0], p[:, 1]) * (shot.sun_colour * (shot.sun[2] * lit)[:, None] + shot.sky_colour * sky[:, None])


def photograph(bodies: list[Body], paint: Painter, shot: Shot, side: int, rng: np.random.Generator, fine: int = 2) -> Image.Image:
    """A picture of `side` x `side` pixels, `fine` x `fine` rays a pixel."""
    eye, direction = _rays(shot, side * fine)
    origin = np.broadcast_to(eye, direction.shape)
    table = -eye[2] / direction[:, 2]
    hit = _trace(bodies, origin, direction, table)
    on_body = np.isfinite(hit)
    light = np.zeros_like(direction)
    ground = paint(np.linspace(-2, 2, 400, dtype=np.float32), np.linspace(-2, 2, 400, dtype=np.float32)).mean(axis=0)
    points = eye + direction * np.where(on_body, hit, table)[:, None].astype(np.float32)
    light[~on_body] = _shade_table(bodies, paint, points[~on_body], shot)
    light[on_body] = _shade_bodies(bodies, points[on_body], direction[on_body], shot, ground)
    picture = light.reshape(side, fine, side, fine, 3).mean(axis=(1, 3))
    return _develop(picture, shot, rng)


def _develop(light: np.ndarray, shot: Shot, rng: np.random.Generator) -> Image.Image:
    """Exposure, a film-like shoulder, lens blur, corners a little darker, grain; (H, W, 3) linear light to an 8-bit picture."""
    side = len(light)
    axis = np.linspace(-1, 1, side, dtype=np.float32)
    corner = 1 - 0.16 * (axis[:, None] ** 2 + axis[None] ** 2) ** 1.2
    exposed = np.maximum(light * shot.exposure * corner[..., None], 0)
    shoulder = exposed * (1 + exposed / 6) / (1 + exposed * 0.55)
    pixels = np.clip(shoulder, 0, 1) ** (1 / 2.2)
    if shot.blur > 0.3:
        radius = int(np.ceil(2 * shot.blur))
        weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / shot.blur) ** 2)
        weights = (weights / weights.sum()).astype(np.float32)
        for way in (0, 1):
            padded = np.pad(pixels, [(radius, radius) if a == way else (0, 0) for a in range(3)], mode="edge")
            pixels = sum(w * np.take(padded, np.arange(k, k + side), axis=way) for k, w in enumerate(weights))
    grain = (rng.random((side, side, 3), dtype=np.float32) + rng.random((side, side, 3), dtype=np.float32) - 1) * shot.grain
    return Image.fromarray((np.clip(pixels + grain, 0, 1) * 255 + 0.5).astype(np.uint8))
