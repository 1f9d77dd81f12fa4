"""Whether which side of a picture is up matters, and what turned views are worth to class weights:
`python tests/benchmarks/rotations.py BENCH_DIR --out figures.json --help`.

BENCH_DIR is one of class-folder sets, as for `fewshot.py`. For each set, number of shots and seed the product's own question is put
(`blocklora.training.rotations`): how much the loss of pictures judged by others rises where each is the mean of its four quarter turns
instead of the upright picture, judged by upright ones ("looked at") and by such means ("all through"). Beside it stands the discriminant
of upright pictures with upright and with turned views, and that of the means of all four turns with turned views, judged by
cross-validation on the training pictures and, for the sets named with `--test`, on the test pictures, which are looked at in the same way.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from blocklora.clip.backbones import load_backbone
from blocklora.experiments.bed import Bed, Drawn
from blocklora.experiments.sets import class_folder_set
from blocklora.preprocess import TURNS
from blocklora.projects.home import default_home
from blocklora.training.class_weights import Features, discriminant_weights, judged_by_others
from blocklora.training.device import choose
from blocklora.training.entering import Entering
from blocklora.training.image_cache import ImageCache
from blocklora.training.pictures import CHUNK
from blocklora.training.rotations import Loss, enough, evidence
from blocklora.training.viewed import Viewer

SHARE = 100.0


def with_views(bed: Bed, features: Features, cache: ImageCache, seed: int, count: int, rotated: bool) -> Features:
    """`features` with random views of the pictures, turned by quarter turns or not."""
    own = cache.copy()
    own.rotated = rotated
    return Features(features.values, features.labels, torch.cat(list(Viewer(bed.backbone, bed.compute, seed, count).embeddings(own))))


def figures(bed: Bed, shots: int, seed: int, views: int, test: bool) -> dict[str, Any]:
    """What the pictures of one draw say."""
    drawn = Drawn(bed, seed, shots).shots(shots)
    features, cache = drawn.frozen, drawn.cache
    classes = int(features.labels.max()) + 1
    inputs = torch.cat(list(cache.inputs(bed.backbone.preprocess)))
    looking = Entering(None, bed.backbone, bed.compute, TURNS)
    with torch.inference_mode():
        turned = torch.cat([looking.embed((), some) for some in inputs.split(CHUNK)])
    found = evidence(features.values, turned, features.labels, classes, bed.backbone.logit_scale)
    n = len(features.labels)
    row: dict[str, Any] = {
        "n": n,
        "loss": found.upright,
        "looked_at": _rise(found.looked_at, found.upright),
        "all_through": _rise(found.all_through, found.upright),
        "right": found.right,
        "rotated": enough(n, classes) and found.no_top,
    }
    means = Features(turned, features.labels)
    for name, whole, rotated in (("upright", features, False), ("turned", features, True), ("all", means, True)) if views else ():
        seen = with_views(bed, whole, cache, seed, views, rotated)
        judged = judged_by_others(seen, seen.values[None], classes)[0].argmax(1) == seen.labels
        row[name] = {"folds": SHARE * judged.double().mean().item()}
        if test:
            tested = looking.features(bed.test) if whole is means else bed.tested
            row[name]["test"] = bed.accuracy(tested @ discriminant_weights(seen, classes).T)
    return row


def _rise(loss: Loss, upright: float) -> tuple[float, float]:
    """How much higher a loss is, and the standard error of that, as shares of the upright one."""
    return (loss.mean - upright) / upright, loss.error / upright


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown, a line each: rises of the loss in percent with their standard errors, what was decided, and the discriminants."""
    head = ["set", "shots", "seed", "loss", "looked at, %", "all through, %", "turned"]
    head += ["upright views: folds / test", "turned views", "all turns"]
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for row in rows:
        cells = [" / ".join(f"{value:.1f}" for value in row[kind].values()) if kind in row else "" for kind in ("upright", "turned", "all")]
        rises = [f"{SHARE * row[way][0]:+.0f} ± {SHARE * row[way][1]:.0f}" for way in ("looked_at", "all_through")]
        shown = [row["set"], row["shots"], row["seed"], f"{row['loss']:.3f}", *rises, "yes" if row["rotated"] else "no", *cells]
        lines.append("| " + " | ".join(map(str, shown)) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("--sets", nargs="+", default=["caltech20", "dtd10", "clothing10", "grocery12", "rsscn7"])
    parser.add_argument("--test", nargs="*", default=[], help="sets whose test pictures are asked about, too")
    parser.add_argument("--shots", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="at all shots there are, one says what the others say")
    parser.add_argument("--views", type=int, default=10, help="of a picture; 0 leaves the discriminants out")
    parser.add_argument("--backbone", default="builtin")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    compute = choose(args.device, "fp32", print)
    backbone = load_backbone(args.backbone, default_home())
    compute.take(backbone.model)
    rows = []
    for name in args.sets:
        bed = Bed(backbone, compute, class_folder_set(args.bench / name))
        for shots in args.shots:
            for seed in args.seeds:
                place = {"set": name, "shots": shots, "seed": seed}
                rows.append(place | figures(bed, shots, seed, args.views, name in args.test))
                args.out.write_text(json.dumps(rows, indent=1) + "\n")
                print(json.dumps(rows[-1]), flush=True)
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
