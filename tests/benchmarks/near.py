"""What finds a picture that came back changed: `python tests/benchmarks/near.py BENCH_DIR [--each 40] [--out table.md]`.

BENCH_DIR holds `<set>/train/<class>/*.jpg` and `<set>/test/<class>/*.jpg`. Of each set some training pictures are copied with a change
(coded again, half the size, cropped, mirrored, brighter, ...), and each sign is asked whether the copy looks like its original. What a sign
costs is asked of the set's own test pictures, which are no copies: how many of them it holds for one of a training picture.

Two signs: bits of the perceptual hash (`blocklora.projects.near`), and the cosine of the frozen built-in backbone's features.
"""

from __future__ import annotations

import argparse
import io
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from blocklora.projects.near import NEAR_BITS, near_pairs, perceptual_hash

BITS = (4, 6, 8, 10, 12)
COSINES = (0.80, 0.84, 0.88, 0.90, 0.92, 0.94, 0.96, 0.98)


def coded_again(picture: Image.Image, quality: int) -> Image.Image:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return Image.open(io.BytesIO(out.getvalue())).convert("RGB")


def cropped(picture: Image.Image, share: float, across: float, down: float) -> Image.Image:
    """The part of `share` of each side that lies `across` and `down` (0..1) of the way."""
    width, height = round(picture.width * share), round(picture.height * share)
    left, top = round((picture.width - width) * across), round((picture.height - height) * down)
    return picture.crop((left, top, left + width, top + height))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG, quality 50": lambda p: coded_again(p, 50),
    "half the size": lambda p: p.resize((max(1, p.width // 2), max(1, p.height // 2))),
    "central 90 %": lambda p: cropped(p, 0.9, 0.5, 0.5),
    "a corner's 90 %": lambda p: cropped(p, 0.9, 0.0, 0.0),
    "central 80 %": lambda p: cropped(p, 0.8, 0.5, 0.5),
    "mirrored": ImageOps.mirror,
    "mirrored, central 90 %": lambda p: ImageOps.mirror(cropped(p, 0.9, 0.5, 0.5)),
    "brighter by 40 %": lambda p: ImageEnhance.Brightness(p).enhance(1.4),
    "darker by 40 %": lambda p: ImageEnhance.Brightness(p).enhance(0.6),
    "grey": lambda p: p.convert("L").convert("RGB"),
    "turned by 5 degrees": lambda p: p.rotate(5, Image.Resampling.BICUBIC),
}


def opened(path: Path) -> Image.Image:
    return Image.open(path).convert("RGB")


class Features:
    """The frozen built-in backbone: pictures in, normalised features (N, D) out."""

    def __init__(self) -> None:
        import torch

        from blocklora.clip.backbones import load_backbone
        from blocklora.projects.home import default_home

        torch.set_num_threads(1)
        self.backbone = load_backbone("builtin", default_home())

    def __call__(self, pictures: Iterator[Image.Image]) -> np.ndarray:
        import torch

        from blocklora.clip.pixels import to_model_inputs
        from blocklora.clip.prompts import image_features

        found: list[np.ndarray] = []
        listed = list(pictures)
        with torch.inference_mode():
            for start in range(0, len(listed), 64):
                inputs = to_model_inputs([np.asarray(p) for p in listed[start : start + 64]], self.backbone.preprocess)
                found.append(image_features(self.backbone.model, inputs).float().numpy())
        return np.concatenate(found)


def signs(folder: Path, each: int, features: Features) -> tuple[dict[str, list[tuple[int, float]]], list[tuple[int, float]]]:
    """Of one set: for each change (bits, cosine) of each copy and its original; and of each test picture and the training picture that is
    nearest by that sign."""
    train = sorted((folder / "train").glob("*/*.jpg"))
    test = sorted((folder / "test").glob("*/*.jpg"))
    chosen = random.Random(1).sample(range(len(train)), min(each, len(train)))
    hashes, values = [perceptual_hash(opened(path)) for path in train], features(map(opened, train))
    found: dict[str, list[tuple[int, float]]] = {}
    for name, change in CHANGES.items():
        copies = [change(opened(train[i])) for i in chosen]
        cosines = (features(iter(copies)) * values[chosen]).sum(axis=1)
        bits = [(int(hashes[i], 16) ^ int(perceptual_hash(copy), 16)).bit_count() for i, copy in zip(chosen, copies, strict=True)]
        found[name] = list(zip(bits, cosines.tolist(), strict=True))
    nearest = {i: bits for i, _, bits in near_pairs([perceptual_hash(opened(path)) for path in test], hashes, 64)}
    closest = (features(map(opened, test)) @ values.T).max(axis=1)
    return found, [(nearest[i], float(closest[i])) for i in range(len(test))]


def share(values: list[bool]) -> str:
    return f"{100 * sum(values) / max(1, len(values)):.1f}"


def lines(sets: dict[str, tuple[dict[str, list[tuple[int, float]]], list[tuple[int, float]]]]) -> Iterator[str]:
    """The tables, in percent."""
    yield "| change | " + " | ".join(f"<= {b} bits" for b in BITS) + " | " + " | ".join(f"cos >= {c:.2f}" for c in COSINES) + " |"
    yield "|" + " --- |" * (1 + len(BITS) + len(COSINES))
    rows = {name: [pair for found, _ in sets.values() for pair in found[name]] for name in CHANGES}
    rows |= {f"not a copy: {name}": costs for name, (_, costs) in sets.items()}
    for name, pairs in rows.items():
        cells = [share([bits <= most for bits, _ in pairs]) for most in BITS] + [share([c >= least for _, c in pairs]) for least in COSINES]
        yield f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("--each", type=int, default=40, help="pictures of each set that are copied")
    parser.add_argument("--out", type=Path, help="where the tables are written, too")
    args = parser.parse_args()
    features = Features()
    sets = {f.name: signs(f, args.each, features) for f in sorted(args.bench.iterdir()) if (f / "train").is_dir()}
    text = f"In percent; the program holds pictures of at most {NEAR_BITS} bits for near-identical.\n\n" + "\n".join(lines(sets)) + "\n"
    print(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
