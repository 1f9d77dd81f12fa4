"""What finds a picture that came back changed: `python tests/benchmarks/near.py BENCH_DIR [--each 40] [--no-top] [--out table.md]`.

BENCH_DIR holds `<set>/train/<class>/*.jpg` and `<set>/test/<class>/*.jpg`. Of each set some training pictures are copied with a change
(coded again, half the size, cropped, mirrored, brighter, ...), and each sign is asked whether the copy looks like its original. What a sign
costs is asked of the set's own test pictures, which are no copies: how many of them it holds for one of a training picture.

Three signs: bits of the perceptual hash (`blocklora.projects.near`), the cosine of the frozen built-in backbone's features, and the
correlation of the pixels with those of the pictures that are nearest by features (`blocklora.training.alike`). The program uses the first
and the third.
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

from blocklora.preprocess import TURNS
from blocklora.projects.near import NEAR_BITS, near_pairs, perceptual_hash
from blocklora.training.alike import CANDIDATES, LEAST, correlations
from blocklora.training.leaks import Looks

BITS = (4, 6, 8, 10, 12)
COSINES = (0.80, 0.88, 0.92, 0.96, 0.98)
PIXELS = (0.90, 0.92, 0.94, 0.96, 0.98)

Signs = tuple[int, float, float]  # bits, cosine, correlation


def coded_again(picture: Image.Image, quality: int) -> Image.Image:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return Image.open(io.BytesIO(out.getvalue())).convert("RGB")


def cropped(picture: Image.Image, share: float, across: float, down: float) -> Image.Image:
    """The part of `share` of each side that lies `across` and `down` (0..1) of the way."""
    width, height = round(picture.width * share), round(picture.height * share)
    left, top = round((picture.width - width) * across), round((picture.height - height) * down)
    return picture.crop((left, top, left + width, top + height))


def at_random(picture: Image.Image) -> Image.Image:
    return cropped(picture, _dice.uniform(0.85, 1.0), _dice.random(), _dice.random())


_dice = random.Random(5)

CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG, quality 50": lambda p: coded_again(p, 50),
    "half the size": lambda p: p.resize((max(1, p.width // 2), max(1, p.height // 2))),
    "central 90 %": lambda p: cropped(p, 0.9, 0.5, 0.5),
    "a corner's 90 %": lambda p: cropped(p, 0.9, 0.0, 0.0),
    "central 80 %": lambda p: cropped(p, 0.8, 0.5, 0.5),
    "a random 85 to 100 %": lambda p: at_random(p),
    "mirrored": ImageOps.mirror,
    "mirrored, central 90 %": lambda p: ImageOps.mirror(cropped(p, 0.9, 0.5, 0.5)),
    "mirrored, random, JPEG 60": lambda p: ImageOps.mirror(coded_again(at_random(p), 60)),
    "brighter by 40 %": lambda p: ImageEnhance.Brightness(p).enhance(1.4),
    "darker by 40 %": lambda p: ImageEnhance.Brightness(p).enhance(0.6),
    "grey": lambda p: p.convert("L").convert("RGB"),
    "a quarter turn": lambda p: p.transpose(Image.Transpose.ROTATE_90),
    "turned by 5 degrees": lambda p: p.rotate(5, Image.Resampling.BICUBIC),
}


def opened(path: Path) -> Image.Image:
    return Image.open(path).convert("RGB")


class Features:
    """The frozen built-in backbone: pictures in, normalised features (N, D) out, as of pictures with or without a top."""

    def __init__(self, no_top: bool) -> None:
        import torch

        from blocklora.clip.backbones import load_backbone
        from blocklora.projects.home import default_home

        torch.set_num_threads(1)
        self.backbone = load_backbone("builtin", default_home())
        self.quarters = range(TURNS if no_top else 1)

    def __call__(self, pictures: Iterator[Image.Image]) -> Looks:
        import torch
        import torch.nn.functional as F

        from blocklora.clip.pixels import to_model_inputs
        from blocklora.clip.prompts import image_features
        from blocklora.clip.turns import turned

        listed = list(pictures)
        with torch.inference_mode():
            chunks = [
                to_model_inputs([np.asarray(p) for p in listed[start : start + 64]], self.backbone.preprocess)
                for start in range(0, len(listed), 64)
            ]
            looks = [
                torch.cat([image_features(self.backbone.model, turned(chunk, quarter)).float() for chunk in chunks])
                for quarter in self.quarters
            ]
            values = F.normalize(torch.stack(looks).mean(dim=0), dim=1)
        return Looks.of(values, iter(chunks))


def by_pixels(seen: Looks, looks: Looks) -> list[tuple[float, int]]:
    """For each picture of `looks` the best correlation with its candidates among `seen`, and with which."""
    found = []
    for place in range(len(looks.features)):
        nearest = (seen.features @ looks.features[place]).topk(CANDIDATES).indices
        alike = correlations(looks.greys[place : place + 1], seen.greys[nearest])
        found.append((float(alike.max()), int(nearest[int(alike.argmax())])))
    return found


def signs(folder: Path, each: int, features: Features) -> tuple[dict[str, list[Signs]], list[Signs]]:
    """Of one set: for each change the signs of each copy and its original (a correlation with another picture counts as none); and of each
    test picture and the training picture that is nearest by that sign."""
    train = sorted((folder / "train").glob("*/*.jpg"))
    test = sorted((folder / "test").glob("*/*.jpg"))
    chosen = random.Random(1).sample(range(len(train)), min(each, len(train)))
    hashes, seen = [perceptual_hash(opened(path)) for path in train], features(map(opened, train))
    found: dict[str, list[Signs]] = {}
    for name, change in CHANGES.items():
        copies = [change(opened(train[i])) for i in chosen]
        looks = features(iter(copies))
        cosines = (looks.features * seen.features[chosen]).sum(dim=1).tolist()
        pixels = [value if which == i else 0.0 for i, (value, which) in zip(chosen, by_pixels(seen, looks), strict=True)]
        bits = [(int(hashes[i], 16) ^ int(perceptual_hash(copy), 16)).bit_count() for i, copy in zip(chosen, copies, strict=True)]
        found[name] = list(zip(bits, cosines, pixels, strict=True))
    nearest = {i: bits for i, _, bits in near_pairs([perceptual_hash(opened(path)) for path in test], hashes, 64)}
    looks = features(map(opened, test))
    closest = (looks.features @ seen.features.T).amax(dim=1).tolist()
    return found, [(nearest[i], closest[i], value) for i, (value, _) in enumerate(by_pixels(seen, looks))]


def share(values: list[bool]) -> str:
    return f"{100 * sum(values) / max(1, len(values)):.1f}"


def lines(sets: dict[str, tuple[dict[str, list[Signs]], list[Signs]]]) -> Iterator[str]:
    """The table, in percent."""
    head = [f"{b} bits" for b in BITS] + [f"cos {c:.2f}" for c in COSINES] + [f"pixels {c:.2f}" for c in PIXELS]
    yield "| change | " + " | ".join(head) + " | both, as used |"
    yield "|" + " --- |" * (2 + len(head))
    rows = {name: [pair for found, _ in sets.values() for pair in found[name]] for name in CHANGES}
    rows |= {f"not a copy: {name}": costs for name, (_, costs) in sets.items()}
    for name, pairs in rows.items():
        cells = [share([bits <= most for bits, _, _ in pairs]) for most in BITS]
        cells += [share([cosine >= least for _, cosine, _ in pairs]) for least in COSINES]
        cells += [share([pixels >= least for _, _, pixels in pairs]) for least in PIXELS]
        cells.append(share([bits <= NEAR_BITS or pixels >= LEAST for bits, _, pixels in pairs]))
        yield f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("--each", type=int, default=40, help="pictures of each set that are copied")
    parser.add_argument("--no-top", action="store_true", help="features as where training finds that pictures have no top")
    parser.add_argument("--out", type=Path, help="where the tables are written, too")
    args = parser.parse_args()
    features = Features(args.no_top)
    sets = {f.name: signs(f, args.each, features) for f in sorted(args.bench.iterdir()) if (f / "train").is_dir()}
    text = (
        f"Found, in percent; in use are at most {NEAR_BITS} bits, and a correlation of at least {LEAST}.\n\n"
        + "\n".join(lines(sets))
        + "\n"
    )
    print(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
