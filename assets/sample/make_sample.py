"""Makes the sample project: 4 kinds of thing, 12 pictures each to learn from and 3 each to try the result on.

Every picture is drawn from nothing by the ray marcher in `recipe/` (NumPy and Pillow only): shape, colour, pose, light, table,
clutter and camera are random and independent of the kind, so that colour or background alone does not tell kinds apart.
The same seed makes the same pictures: `python assets/sample/make_sample.py` writes the committed ones again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from recipe import clutter, tables
from recipe.noise import colour, pick
from recipe.render import Shot, photograph
from recipe.solids import Body, placed
from recipe.things import TALL, THICKNESS, THINGS

HERE = Path(__file__).parent
SEED, SIDE, QUALITY = 20260, 320, 84
TRAINING, UNSEEN = 12, 3
SUNS, SKIES = ("#ffffff", "#ffe9c8", "#ffd9a0", "#e8f0ff", "#fff4e0"), ("#c8d8ee", "#d8d8d8", "#b8c8e8", "#e8dccb")


def _shot(rng: np.random.Generator, steep: float, near: float) -> Shot:
    """A camera between `steep` and straight above, at least `near` away, and the light of some hour."""
    height, way = 0.45 + 0.5 * rng.random(), 6.2832 * rng.random()
    level = np.sqrt(1 - height**2)
    return Shot(
        elevation=steep + (1.52 - steep) * rng.random(),
        distance=near + 1.1 * rng.random(),
        aim=(0.35 * (rng.random() - 0.5), 0.35 * (rng.random() - 0.5)),
        roll=0.3 * (rng.random() - 0.5),
        sun=np.array([level * np.cos(way), level * np.sin(way), height], dtype=np.float32),
        sun_colour=colour(pick(rng, SUNS)) * np.float32(1.0 + 0.9 * rng.random()),
        sky_colour=colour(pick(rng, SKIES)) * np.float32(0.55 + 0.5 * rng.random()),
        softness=float(4 + 20 * rng.random() ** 2),
        exposure=0.72 + 0.35 * rng.random(),
        grain=0.012 + 0.03 * rng.random(),
        blur=0.35 + 0.5 * rng.random() ** 3,
    )


def picture(kind: str, number: int, side: int = SIDE) -> Image.Image:
    """Picture `number` of `kind`; the first `TRAINING` are the training ones."""
    rng = np.random.default_rng((SEED, sorted(THINGS).index(kind), number))
    thing = THINGS[kind](rng)
    turn, scale = 6.2832 * rng.random(), 0.8 + 0.3 * rng.random()
    bodies: list[Body] = [placed(body, turn, 0.0, 0.0, scale) for body in thing]
    bodies += clutter.beside(rng)
    if kind in THICKNESS and rng.random() < 0.12:
        bodies += clutter.on_top(rng, THICKNESS[kind] * scale)
    shot = _shot(rng, 0.55, 3.9) if kind in TALL else _shot(rng, 0.85, 3.1)
    return photograph(bodies, tables.table(rng), shot, side, rng)


def places() -> list[tuple[str, int, Path]]:
    """Kind, number and file of every picture, relative to this folder."""
    found = []
    for kind in sorted(THINGS):
        found += [(kind, n, Path("images") / kind / f"{kind}-{n + 1:02d}.jpg") for n in range(TRAINING)]
        found += [(kind, TRAINING + n, Path("unseen") / kind / f"{kind}-unseen-{n + 1}.jpg") for n in range(UNSEEN)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write images/ and unseen/ into (default: beside this script)")
    parser.add_argument("--only", metavar="WORD", default="", help="only files whose name contains this word")
    parser.add_argument("--sheet", type=Path, help="also write one picture with all of them, to look at")
    arguments = parser.parse_args()
    made = []
    for kind, number, place in places():
        if arguments.only not in place.name:
            continue
        image = picture(kind, number)
        target = arguments.out / place
        target.parent.mkdir(parents=True, exist_ok=True)
        image.save(target, quality=QUALITY, optimize=True)
        made.append(image)
        print(target)
    if arguments.sheet and made:
        columns = min(TRAINING + UNSEEN, len(made))
        rows = -(-len(made) // columns)
        sheet = Image.new("RGB", (columns * 164, rows * 164), "white")
        for index, image in enumerate(made):
            sheet.paste(image.resize((160, 160), Image.Resampling.LANCZOS), ((index % columns) * 164 + 2, (index // columns) * 164 + 2))
        sheet.save(arguments.sheet)


if __name__ == "__main__":
    main()
