"""Which heat map says most in the same number of passes? `python tests/benchmarks/heatmap.py MODEL.onnx TEST_DIR [MODEL TEST_DIR ...]`.

TEST_DIR holds `<class>/*.jpg` of the classes that the model knows. Compared are, at equal passes through the file:

  sliding     windows of one size on a grid (the product's are a third of the side: `exporters.heatmap`)
  two sizes   large and small windows on grids
  fine        coarse windows first, then small ones where the coarse ones mattered most
  rise        random blotches (Petsiuk et al. 2018, arXiv 1806.07421)
  random      smooth noise: what a map without any information scores

Figures, each a mean over the pictures:

  deletion    area under the label's probability while the warmest pixels are covered first, 0..1 (lower is better; Petsiuk et al.)
  insertion   the same while they are uncovered first on a blurred copy (higher is better)
  pointing    four pictures of four classes are put into one; share of the heat for a label that lies on its picture (by chance 0.25; the
              grid pointing game of Boehle et al. 2021, arXiv 2104.00032)
  stability   correlation of two maps made with other random draws (grids are shifted by up to half a step)
  seconds     for one picture, as the machine is
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from PIL import Image

from blocklora.projects.decoding import close_children, decode_rgb
from exporters.heatmap import WINDOW, Covers, blurred, grid, look, mean_fall, scores, seen_by
from exporters.predictor import OnnxClassifier

STEPS = 16  # of the deletion and insertion curves
Draw = Callable[[OnnxClassifier, np.ndarray, int, int, np.random.Generator], np.ndarray]
"""A way to make a map: model, picture as the model sees it (S, S, 3), label's index, passes, random draws -> (S, S)."""


def fall_of(model: OnnxClassifier, seen: np.ndarray, label: int, covers: Covers) -> np.ndarray:
    return mean_fall(covers, scores(model, seen, covers)[:, label], len(seen))


def sliding(size: float) -> Draw:
    def draw(model: OnnxClassifier, seen: np.ndarray, label: int, passes: int, rng: np.random.Generator) -> np.ndarray:
        return fall_of(model, seen, label, grid(round(passes**0.5), size, tuple(rng.uniform(-0.5, 0.5, 2))))

    return draw


def two_sizes(model: OnnxClassifier, seen: np.ndarray, label: int, passes: int, rng: np.random.Generator) -> np.ndarray:
    large = max(4, round((passes / 4) ** 0.5))
    small = int((passes - large * large) ** 0.5)
    parts = [fall_of(model, seen, label, grid(n, size, tuple(rng.uniform(-0.5, 0.5, 2)))) for n, size in ((large, 0.4), (small, 0.2))]
    return sum(part / (np.abs(part).max() + 1e-9) for part in parts)


def fine(model: OnnxClassifier, seen: np.ndarray, label: int, passes: int, rng: np.random.Generator) -> np.ndarray:
    n = round((passes / 3) ** 0.5)
    coarse = grid(n, 0.35, tuple(rng.uniform(-0.5, 0.5, 2)))
    said = scores(model, seen, coarse)[:, label]
    first = mean_fall(coarse, said, len(seen))
    every = grid(2 * n, 0.175, tuple(rng.uniform(-0.5, 0.5, 2)))
    side = first.shape[0]
    heat = [first[min(side - 1, max(0, int(y * side))), min(side - 1, max(0, int(x * side)))] for y, x in every.centres]
    chosen = np.argsort(heat)[::-1][: passes - n * n]
    small = Covers(every.centres[chosen], every.widths[chosen])
    both = Covers(np.concatenate([coarse.centres, small.centres]), np.concatenate([coarse.widths, small.widths]))
    return mean_fall(both, np.concatenate([said, scores(model, seen, small)[:, label]]), len(seen))


def rise(cells: int, share: float) -> Draw:
    def draw(model: OnnxClassifier, seen: np.ndarray, label: int, passes: int, rng: np.random.Generator) -> np.ndarray:
        side = len(seen)
        step = -(-side // cells)
        masks = []
        for _ in range(passes):
            coarse = (rng.random((cells + 1, cells + 1)) > share).astype(np.float32)  # 1: covered
            whole = np.asarray(Image.fromarray(coarse).resize(((cells + 1) * step,) * 2, Image.Resampling.BILINEAR))
            y, x = rng.integers(0, step, 2)
            masks.append(whole[y : y + side, x : x + side])
        cover = np.stack(masks)
        filled = blurred(seen).astype(np.float32)
        pictures = [np.rint(seen + c[..., None] * (filled - seen)).astype(np.uint8) for c in cover]
        said = look(model, pictures)[:, label]
        whole = look(model, [seen])[0, label]
        return np.tensordot(whole - said, cover, 1) / cover.sum(axis=0)

    return draw


def noise(model: OnnxClassifier, seen: np.ndarray, label: int, passes: int, rng: np.random.Generator) -> np.ndarray:
    coarse = rng.random((7, 7)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize(seen.shape[1::-1], Image.Resampling.BICUBIC))


def curve(model: OnnxClassifier, seen: np.ndarray, base: np.ndarray, order: np.ndarray, label: int) -> float:
    """Area under the label's probability while pixels of `base` take the place of `seen`, in `order`."""
    pictures, flat, filled = [], seen.reshape(-1, 3), base.reshape(-1, 3)
    for step in range(STEPS + 1):
        picture = flat.copy()
        taken = order[: len(order) * step // STEPS]
        picture[taken] = filled[taken]
        pictures.append(picture.reshape(seen.shape))
    said = np.concatenate([model_probabilities(model, pictures[i : i + 16]) for i in range(0, len(pictures), 16)])[:, label]
    return float(np.trapezoid(said, dx=1 / STEPS))


def model_probabilities(model: OnnxClassifier, pictures: list[np.ndarray]) -> np.ndarray:
    return np.stack([found.probabilities for found in model.predict(pictures)])


def mosaic(pictures: list[np.ndarray], side: int) -> np.ndarray:
    """Four pictures in one."""
    tiles = [np.asarray(Image.fromarray(p).resize((side // 2, side // 2), Image.Resampling.BICUBIC)) for p in pictures]
    return np.concatenate([np.concatenate(tiles[:2], axis=1), np.concatenate(tiles[2:], axis=1)])


def share_of_heat(heat: np.ndarray, place: int) -> float:
    warm, half = np.maximum(heat - heat.mean(), 0), len(heat) // 2
    y, x = divmod(place, 2)
    return float(warm[y * half : (y + 1) * half, x * half : (x + 1) * half].sum() / max(1e-12, warm.sum()))


def measure(model: OnnxClassifier, folder: Path, ways: dict[str, Draw], passes: int, count: int) -> dict[str, dict[str, float]]:
    rng = np.random.default_rng(0)
    size = model.preprocess.size
    files = {label: sorted((folder / label).iterdir()) for label in model.labels if (folder / label).is_dir()}
    names = sorted(files)
    chosen = [(names[i % len(names)], files[names[i % len(names)]][i // len(names)]) for i in range(count)]
    pictures = [(model.labels.index(name), seen_by(model, decode_rgb(path))[0]) for name, path in chosen]
    found = {name: {key: [] for key in ("deletion", "insertion", "stability", "pointing", "seconds")} for name in ways}
    for _, seen in pictures:
        said = model_probabilities(model, [seen])[0]
        label, base = int(said.argmax()), blurred(seen)
        for name, way in ways.items():
            began = time.perf_counter()
            heat = way(model, seen, label, passes, np.random.default_rng(1))
            found[name]["seconds"].append(time.perf_counter() - began)
            other = way(model, seen, label, passes, np.random.default_rng(2))
            found[name]["stability"].append(float(np.corrcoef(heat.ravel(), other.ravel())[0, 1]))
            order = np.argsort(-heat.ravel(), kind="stable")
            found[name]["deletion"].append(curve(model, seen, base, order, label))
            found[name]["insertion"].append(curve(model, base, seen, order, label))
    for number in range(count):
        four = [pictures[i] for i in rng.choice(len(pictures), 4, replace=False)]
        if len({label for label, _ in four}) < 4:
            continue
        seen, place = mosaic([picture for _, picture in four], size - size % 2), number % 4
        for name, way in ways.items():
            found[name]["pointing"].append(share_of_heat(way(model, seen, four[place][0], passes, np.random.default_rng(3)), place))
    return {name: {key: float(np.mean(values)) for key, values in rows.items()} for name, rows in found.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="+", type=Path, metavar="MODEL TEST_DIR")
    parser.add_argument("--passes", type=int, default=200)
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    ways: dict[str, Draw] = {
        "sliding 1/4": sliding(0.25),
        "sliding 1/3": sliding(WINDOW),
        "two sizes": two_sizes,
        "fine": fine,
        "rise 7": rise(7, 0.5),
        "rise 4": rise(4, 0.5),
        "random": noise,
    }
    tables = {}
    for model_path, folder in zip(args.pairs[::2], args.pairs[1::2], strict=True):
        model = OnnxClassifier(model_path)
        table = measure(model, folder, ways, args.passes, args.pictures)
        tables[folder.parent.name] = table
        print(f"\n{folder.parent.name}: {args.pictures} pictures, {args.passes} passes, {model.preprocess.size} px")
        for name, row in table.items():
            print(f"  {name:12s} " + "  ".join(f"{key} {value:.3f}" for key, value in row.items()))
    if args.out:
        args.out.write_text(json.dumps(tables, indent=1))
    close_children()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
