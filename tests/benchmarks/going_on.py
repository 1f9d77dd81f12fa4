"""Mended labels: training again from where a run ended, against training anew. `python tests/benchmarks/going_on.py BENCH_DIR --out FILE`

For each set and seed, a share of the labels of 16 images a class is flipped and Quick is run; then the labels are put right, and both ways
are taken: on from that run (half the steps, the same split), and anew (all steps). Test accuracy and seconds of each, one JSON line.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fewshot import few, last

from blocklora.cli.data import with_labels_of
from blocklora.config import AdapterConfig, TrainingConfig
from blocklora.files import write_json
from blocklora.jobs.run_folder import RunFolder
from blocklora.jobs.spec import RunSpec
from blocklora.presets import preset_config
from blocklora.projects.dataset import Dataset
from blocklora.projects.folders import read_class_folders
from blocklora.projects.home import default_home
from blocklora.projects.splits import Split
from blocklora.services.going_on import GoingOn
from blocklora.services.runs import RunRequest, make_run, split_of
from blocklora.services.studio import AGAIN
from blocklora.training.control import Control
from blocklora.training.data import Data
from blocklora.training.device import choose
from blocklora.training.going_on import Start
from blocklora.training.loop import train
from blocklora.training.publish import publish_adapter
from blocklora.training.retrain import finish
from blocklora.training.setup import prepare
from blocklora.training.state import start_state


def flipped(dataset: Dataset, share: float, seed: int) -> Dataset:
    """`dataset` with the labels of a share of its images changed to another class."""
    draw = random.Random(seed)
    chosen = set(draw.sample(range(len(dataset.items)), round(share * len(dataset.items))))
    names = len(dataset.class_names)
    other = {i: (dataset.items[i].label + draw.randrange(1, names)) % names for i in chosen}
    return replace(dataset, items=tuple(replace(item, label=other.get(i, item.label)) for i, item in enumerate(dataset.items)))


def run_in(
    folder: Path, dataset: Dataset, parts: Split, test: Dataset, config: TrainingConfig, start: GoingOn | None = None
) -> dict[str, Any]:
    """One training as the worker does it; its result lies in `folder` for another to go on from."""
    began = time.time()
    run = make_run(folder, default_home(), dataset, parts, RunRequest("builtin", config, AdapterConfig(), test=test, start=start))
    data, control = Data.read(run.dataset_path), Control()
    setup = last(prepare(RunSpec.from_dict(run.spec()), data, choose("cpu", "auto", print), control, folder, None, Start.read(folder)))
    state = start_state(setup)
    last(train(setup, state, config.steps, control))
    measured = last(finish(setup, state, control))
    publish_adapter(run, setup, measured)
    write_json(run.result_path, measured.result)
    return {
        "test": measured.result["test"]["top1"],
        "held_out": measured.result["held_out"]["top1"],
        "seconds": round(time.time() - began, 1),
    }


def one(bench: Path, name: str, seed: int, share: float) -> dict[str, Any]:
    everything, _ = read_class_folders(bench / name / "train")
    found, _ = read_class_folders(bench / name / "test", keep_duplicates=True)
    test, mended = with_labels_of(found, everything.class_names), few(everything, 16, seed)
    wrong = flipped(mended, share, seed)
    config = replace(preset_config("quick", "builtin", 16, seed), estimate_minutes=0.0)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        before = run_in(root / "wrong", wrong, split_of(wrong, config), test, config)
        start = GoingOn.of(RunFolder(root / "wrong"))
        assert start is not None
        half = replace(config, steps=round(AGAIN * config.steps))
        again = run_in(root / "again", mended, start.split(mended, config.held_out, seed), test, half, start)
        anew = run_in(root / "anew", mended, split_of(mended, config), test, config)
    return {"set": name, "seed": seed, "flipped": share, "before": before, "again": again, "anew": anew}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("--sets", nargs="+", default=["caltech20", "dtd10", "clothing10", "grocery12", "rsscn7"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--share", type=float, default=0.1, help="share of the labels that are wrong at first")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines; finished ones in it are not repeated")
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.out.read_text().splitlines()] if args.out.exists() else []
    for name in args.sets:
        for seed in args.seeds:
            if any((row["set"], row["seed"], row["flipped"]) == (name, seed, args.share) for row in rows):
                continue
            rows.append(one(args.bench, name, seed, args.share))
            with args.out.open("a") as stream:
                stream.write(json.dumps(rows[-1]) + "\n")
            print(json.dumps(rows[-1]), flush=True)
    print("| set | seeds | with wrong labels | on from there | anew | seconds, on | seconds, anew |\n" + "| --- " * 7 + "|")
    for name in args.sets:
        own = [row for row in rows if row["set"] == name]
        cells = [f"{100 * statistics.mean(row[key]['test'] for row in own):.1f}" for key in ("before", "again", "anew")]
        cells += [f"{statistics.mean(row[key]['seconds'] for row in own):.0f}" for key in ("again", "anew")]
        print(f"| {name} | {len(own)} | " + " | ".join(cells) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
