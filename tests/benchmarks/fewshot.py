"""Few-shot accuracy of the product's own training on class-folder sets: `python tests/benchmarks/fewshot.py BENCH_DIR --help`.

BENCH_DIR holds `<set>/train/<class>/*.jpg` and `<set>/test/<class>/*.jpg` with a `bench.json` of prompt templates. For each set, seed and
preset this trains exactly as the product does (its held-out share is taken from the shots), then measures on all test images. Beside it
stand frozen heads on the same features and all shots: nearest class mean, the discriminant that training may start from, and logistic
regression. One JSON line a run; finished runs
are not repeated, and one that was broken off goes on from its checkpoint, which lies beside the JSON lines as long as it trains.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from blocklora.cli.data import with_labels_of
from blocklora.experiments.heads import HEADS
from blocklora.experiments.sets import few
from blocklora.jobs.spec import RunSpec
from blocklora.plan import plan
from blocklora.presets import preset_config
from blocklora.projects.folders import read_class_folders
from blocklora.projects.home import default_home
from blocklora.projects.splits import split
from blocklora.services.runs import shots_of
from blocklora.training.checkpoint import load_checkpoint, save_checkpoint
from blocklora.training.class_weights import Features
from blocklora.training.control import Control
from blocklora.training.data import Data
from blocklora.training.device import choose
from blocklora.training.entering import embed_all
from blocklora.training.evaluate import Measured
from blocklora.training.loop import train
from blocklora.training.metrics import calibration_error, reliability, softmax
from blocklora.training.retrain import finish
from blocklora.training.setup import Setup, prepare
from blocklora.training.state import Snapshot, start_state


def last(generator: Any) -> Any:
    """Run a generator to its end; returns its result."""
    while True:
        try:
            next(generator)
        except StopIteration as done:
            return done.value


def frozen_heads(setup: Setup) -> dict[str, float]:
    """Test accuracy of three heads on frozen features of all shots (training and held-out), all upright; call before training."""
    indices = tuple(sorted((*setup.data.train, *setup.data.held_out)))
    shots = setup.data.eval_set(indices, setup.backbone.preprocess)
    assert setup.test is not None
    # clone: features made in inference mode cannot be trained on
    values, test = embed_all(setup.backbone, shots, setup.compute).clone(), embed_all(setup.backbone, setup.test, setup.compute).clone()
    frozen, text = Features(values, shots.labels), setup.class_weights.text.cpu()
    return {
        column: (HEADS[name](frozen, text, setup.backbone.logit_scale, test).argmax(1) == setup.test.labels).float().mean().item()
        for column, name in (("nearest_mean", "nearest-mean"), ("discriminant", "discriminant"), ("logistic", "linear-probe"))
    }


def one(
    bench: Path, name: str, seed: int, shots: int, preset: str, own_settings: dict[str, Any], checkpoint: Path, args: argparse.Namespace
) -> dict[str, Any]:
    """Train and measure once, or go on from `checkpoint`, which is gone afterwards. Its seconds are those of the last start alone."""
    began = time.time()
    everything, _ = read_class_folders(bench / name / "train")
    test, _ = read_class_folders(bench / name / "test", keep_duplicates=True)
    dataset = few(everything, shots, seed)
    config = dataclasses.replace(preset_config(preset, args.backbone, shots, seed), **own_settings)
    parts = split(dataset, config.held_out, seed)
    # As the window does: a recipe whose length follows from the shots counts the images that it trains on.
    config = dataclasses.replace(preset_config(preset, args.backbone, shots_of(dataset, parts), seed), **own_settings)
    own = plan(config, args.backbone, None, None, len(dataset.items), len(dataset.class_names)).adapter  # uncut where a backbone is costly
    spec = RunSpec(args.backbone, str(default_home()), dataclasses.replace(own, **json.loads(args.adapter)), config)
    data = Data(dataset, parts.train, parts.held_out, with_labels_of(test, dataset.class_names))
    before = load_checkpoint(checkpoint)
    compute = choose(args.device, config.precision, print)
    setup = last(prepare(spec, data, compute, Control(), choice=None if before is None else before.choice))
    heads = frozen_heads(setup) if args.heads else {}
    state = start_state(setup)
    if before is not None:
        state.restore(before)
        print(f"{name}, seed {seed}, {preset}: goes on from step {state.progress.step}", flush=True)
    for item in train(setup, state, config.steps, Control()):
        if isinstance(item, Snapshot):
            save_checkpoint(checkpoint, item)
    found = last(finish(setup, state, Control()))
    measured = found.result
    judged = measured.get("cross_validated")
    return {
        "tuned": measured["test"]["top1"],
        "held_out": measured["held_out"]["top1"],
        "preview": measured.get("preview", {}).get("top1"),
        **({} if judged is None else {"cross_validated": judged["top1"], "interval": judged["interval"]}),
        "test_ece": calibration_error(reliability(*_probabilities(setup, found), 15)),
        "start": setup.before_test.start / setup.before_test.n,
        "zero_shot": setup.before_test.zero_shot / setup.before_test.n,
        **heads,
        "mode": setup.choice.mode,
        "discriminant_start": setup.choice.discriminant > 0,
        "best_step": state.progress.best_step,
        "steps": state.progress.step,
        "seconds": round(time.time() - began, 1),
    }


def _probabilities(setup: Setup, found: Measured) -> tuple[np.ndarray, np.ndarray]:
    """What the final model says of the test images, (N, C), and their labels."""
    assert setup.test is not None
    logits = setup.logits(setup.embed(setup.test), found.class_weights).numpy()
    return softmax(logits / found.temperature), setup.test.labels.numpy()


def summary(rows: list[dict[str, Any]]) -> str:
    """A Markdown table: mean over seeds, and the largest distance from it, in percent."""
    keys = ("zero_shot", "start", "nearest_mean", "discriminant", "logistic", "tuned")
    lines = ["| set | shots | preset | seeds | " + " | ".join(keys) + " | s |", "| --- " * (len(keys) + 5) + "|"]
    groups: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["set"], row["shots"], row["preset"]), []).append(row)
    for (name, shots, preset), group in sorted(groups.items()):
        cells = []
        for key in keys:
            values = [100 * row[key] for row in group if key in row]
            mean = statistics.mean(values) if values else None
            cells.append("" if mean is None else f"{mean:.1f} ± {max(abs(v - mean) for v in values):.1f}")
        seconds = statistics.mean(row["seconds"] for row in group)
        lines.append(f"| {name} | {shots} | {preset} | {len(group)} | " + " | ".join(cells) + f" | {seconds:.0f} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("--sets", nargs="+", default=["caltech20", "dtd10", "clothing10", "grocery12", "rsscn7"])
    parser.add_argument("--shots", type=int, nargs="+", default=[16])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--presets", nargs="+", default=["quick", "balanced"])
    parser.add_argument("--backbone", default="builtin")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--adapter", default="{}", help="AdapterConfig values as JSON, over the preset's")
    parser.add_argument("--training", default="{}", help="TrainingConfig values as JSON, over the preset's")
    parser.add_argument("--heads", action="store_true", help="also the frozen heads")
    parser.add_argument("--label", default="", help="name of a variant, beside the preset's")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines; finished runs in it are not repeated")
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    done = {(r["set"], r["shots"], r["seed"], r["preset"]) for r in rows}
    for preset in args.presets:
        for name in args.sets:
            for shots in args.shots:
                for seed in args.seeds:
                    key = (name, shots, seed, preset + args.label)
                    if key in done:
                        continue
                    checkpoint = args.out.with_name("-".join((args.out.stem, *map(str, key))) + ".safetensors")
                    own = {"estimate_minutes": 0.0, **json.loads(args.training)}  # test images judge here; cross-validation is asked for
                    row = dict(zip(("set", "shots", "seed", "preset"), key, strict=True)) | one(
                        args.bench, name, seed, shots, preset, own, checkpoint, args
                    )
                    rows.append(row)
                    with args.out.open("a") as stream:
                        stream.write(json.dumps(row) + "\n")
                    checkpoint.unlink(missing_ok=True)
                    print(json.dumps(row), flush=True)
    print(summary(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
