"""Does "with twice the images expect about ..." hold? `python tests/benchmarks/learning_curve.py BENCH_DIR`

For each set and seed, 8 images a class are taken; the product's own learning curve on them foretells what 16 bring. Beside it stands what
16 really bring to the same head on the test images, and the cross-validated figure of 8 beside that of the test images: nothing
is trained, so it takes a minute. One line a set, then means.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fewshot import few

from blocklora.cli.data import with_labels_of
from blocklora.clip.backbones import load_backbone
from blocklora.clip.prompts import text_class_weights, tokenise
from blocklora.config import DEFAULT_TEMPLATE
from blocklora.projects.dataset import Dataset
from blocklora.projects.folders import read_class_folders
from blocklora.projects.folds import folds
from blocklora.projects.home import default_home
from blocklora.training.class_weights import Features, choose
from blocklora.training.device import choose as device_of
from blocklora.training.entering import embed_all
from blocklora.training.learning_curve import head_logits, head_of, learning_curve, with_twice
from blocklora.training.pictures import EvalSet


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("--sets", nargs="+", default=["caltech20", "dtd10", "clothing10", "grocery12", "rsscn7"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--backbone", default="builtin")
    args = parser.parse_args()
    backbone, compute = load_backbone(args.backbone, default_home()), device_of("cpu", "fp32", print)

    def features(dataset: Dataset) -> Features:
        labels = torch.tensor([item.label for item in dataset.items])
        return Features(embed_all(backbone, EvalSet([Path(i.path) for i in dataset.items], labels, backbone.preprocess), compute), labels)

    print("| set | test, 8 | cross-validated, 8 | test, 16 | foretold of the test figure | off |\n" + "| --- " * 6 + "|")
    offs: list[float] = []
    for name in args.sets:
        everything, _ = read_class_folders(args.bench / name / "train")
        found, _ = read_class_folders(args.bench / name / "test", keep_duplicates=True)
        test, whole = features(with_labels_of(found, everything.class_names)), features(everything)
        place = {item.path: i for i, item in enumerate(everything.items)}
        with torch.inference_mode():
            text = text_class_weights(backbone.model, tokenise(list(everything.class_names), [DEFAULT_TEMPLATE], backbone)).float()
        none, rows = Features(whole.values[:0], whole.labels[:0]), []
        for seed in args.seeds:
            eight = few(everything, 8, seed)
            chosen = [place[item.path] for item in eight.items]
            half = Features(whole.values[chosen], whole.labels[chosen])
            choice = choose(half, none, text, "auto", backbone.logit_scale)
            parts = folds(eight, (), 5, seed)
            judged = (head_logits(choice, half, text, parts, 1.0).argmax(1) == half.labels).float().mean().item()
            now, then = (
                ((test.values @ head_of(choice, part, text).T).argmax(1) == test.labels).float().mean().item() for part in (half, whole)
            )
            foretold = with_twice(now, learning_curve(choice, half, text, parts, seed))
            rows.append((now, judged, then, now if foretold is None else foretold))
        means = [100 * statistics.mean(column) for column in zip(*rows, strict=True)]
        off = [100 * abs(row[3] - row[2]) for row in rows]
        offs += off
        print(
            f"| {name} | " + " | ".join(f"{value:.1f}" for value in means) + f" | {statistics.mean(off):.1f} (at most {max(off):.1f}) |",
            flush=True,
        )
    print(f"\nOff by {statistics.mean(offs):.1f} points on average.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
