"""What views of the training pictures are worth to class weights: `python tests/benchmarks/viewed.py BENCH_DIR --out figures.json --help`.

BENCH_DIR is one of class-folder sets, as for `fewshot.py`. For each set the discriminant is made of 16 pictures a class as they are, and
of these and some random views of them (`blocklora.training.viewed`), by how many views there are and how hard they are cropped. It is
judged on training pictures by cross-validation (the middle of each picture, and its views), which is what the settings were chosen by, and
on the test pictures of the sets named with `--test`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from blocklora.clip.backbones import Backbone, load_backbone
from blocklora.experiments.bed import Bed, Drawn
from blocklora.experiments.sets import class_folder_set
from blocklora.projects.home import default_home
from blocklora.training import viewed
from blocklora.training.class_weights import Features, class_means, discriminant_weights
from blocklora.training.device import Compute, choose
from blocklora.training.viewed import Viewer

FOLDS = 4
SHARE = 100.0


def folds_of(labels: torch.Tensor, seed: int) -> torch.Tensor:
    """A fold (N,) for each picture, the classes spread evenly."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)
    order = order[torch.argsort(labels[order], stable=True)]
    fold = torch.empty_like(labels)
    fold[order] = torch.arange(len(labels)) % FOLDS
    return fold


def judged(kind: str, features: Features, asked: torch.Tensor, draws: int) -> tuple[float, float]:
    """Percent right of training pictures, as they are and in the views `asked` (N, V, D), each by weights of the other folds."""
    right, right_views, n = 0, 0.0, 0
    for draw in range(draws):
        fold = folds_of(features.labels, draw)
        for number in range(FOLDS):
            out = fold == number
            weights, labels = weights_of(kind, features.of(~out)), features.labels[out]
            right += int(((features.values[out] @ weights.T).argmax(-1) == labels).sum())
            right_views += float(((asked[out] @ weights.T).argmax(-1) == labels[:, None]).float().mean(1).sum())
            n += len(labels)
    return SHARE * right / n, SHARE * right_views / n


def weights_of(kind: str, features: Features) -> torch.Tensor:
    classes = int(features.labels.max()) + 1
    return class_means(features, classes) if kind == "class means" else discriminant_weights(features, classes)


def kinds(features: Features, views: dict[float, torch.Tensor], counts: list[int]) -> Iterator[tuple[str, Features]]:
    yield "class means", features
    yield "discriminant", features
    for crop_scale, found in views.items():
        for count in counts:
            name = f"and {count} views of {crop_scale:.0%} or more"
            yield name, Features(features.values, features.labels, found[:, :count])


def of_set(bed: Bed, args: argparse.Namespace, test: bool) -> dict[str, dict[str, Any]]:
    """Figures of one set by the kind of weights."""
    shots = Drawn(bed, 1, 16).shots(16)
    views = {}
    for crop_scale in args.crop_scales:
        viewed.CROP_SCALE = crop_scale
        views[crop_scale] = torch.cat(list(Viewer(bed.backbone, bed.compute, 1, max(args.counts)).embeddings(shots.cache)))
    asked = views[args.crop_scales[0]]
    found = {}
    for kind, features in kinds(shots.frozen, views, args.counts):
        right, right_views = judged(kind, features, asked, args.draws)
        found[kind] = {"folds": right, "folds_views": right_views}
        if test:
            found[kind]["test"] = bed.accuracy(bed.tested @ weights_of(kind, features).T)
    return found


def table(rows: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Markdown: kinds down, sets across: percent of training pictures / their views / test pictures."""
    sets = list(rows)
    lines = ["| weights | " + " | ".join(sets) + " | mean of folds | of their views |", "| --- " * (len(sets) + 3) + "|"]
    for kind in rows[sets[0]]:
        cells = [rows[name][kind] for name in sets]
        shown = [f"{c['folds']:.1f} / {c['folds_views']:.1f}" + (f" / {c['test']:.1f}" if "test" in c else "") for c in cells]
        means = [sum(c[key] for c in cells) / len(cells) for key in ("folds", "folds_views")]
        lines.append(f"| {kind} | " + " | ".join(shown) + f" | {means[0]:.1f} | {means[1]:.1f} |")
    return "\n".join(lines)


def ready(args: argparse.Namespace) -> tuple[Backbone, Compute]:
    compute = choose(args.device, "fp32", print)
    backbone = load_backbone(args.backbone, default_home())
    compute.take(backbone.model)
    return backbone, compute


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("--sets", nargs="+", default=["caltech20", "dtd10", "clothing10", "grocery12", "rsscn7"])
    parser.add_argument("--test", nargs="*", default=["caltech20", "dtd10"], help="sets whose test pictures are asked about, too")
    parser.add_argument("--crop-scales", type=float, nargs="+", default=[0.35, 0.08, 0.6], help="the first gives the views that are judged")
    parser.add_argument("--counts", type=int, nargs="+", default=[2, 4, 10])
    parser.add_argument("--draws", type=int, default=3, help="of the folds")
    parser.add_argument("--backbone", default="builtin")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    backbone, compute = ready(args)
    rows = {}
    for name in args.sets:
        rows[name] = of_set(Bed(backbone, compute, class_folder_set(args.bench / name)), args, name in args.test)
        args.out.write_text(json.dumps(rows, indent=1) + "\n")
        print(table({name: rows[name]}), flush=True)
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
