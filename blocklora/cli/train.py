"""`train`: from pictures to an adapter, without a window."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
import sys
from itertools import count
from pathlib import Path
from typing import Any

from blocklora.cli.compose import studio
from blocklora.cli.data import read_data, test_pictures_of, with_labels_of, with_others, without_known
from blocklora.cli.follow import follow
from blocklora.cli.options import TRAINING_NUMBERS
from blocklora.config import AdapterConfig, TrainingConfig
from blocklora.errors import JobError
from blocklora.jobs.launcher import LocalLauncher
from blocklora.jobs.run_folder import RunFolder
from blocklora.plan import BUDGET
from blocklora.presets import preset_config
from blocklora.projects.folders import read_loose
from blocklora.projects.safe_names import numbered
from blocklora.services.planning import depth_of, planned, time_now, words_of
from blocklora.services.results import headline
from blocklora.services.runs import RunRequest, check_dataset, make_run, shots_of, split_of
from blocklora.services.studio import Studio, duration

MOST_PAIRS = 20  # pairs of look-alikes that are printed; result.json has all


def _adapter(args: argparse.Namespace, own: AdapterConfig) -> AdapterConfig:
    names = ("rank", "blocks", "alpha", "scaling", "dropout", "targets", "towers", "last_layers")
    given: dict[str, Any] = {}
    for name in names:
        value = getattr(args, name)
        if value is not None:
            given[name] = tuple(value) if isinstance(value, list) else value
    return dataclasses.replace(own, **given)


def _config(args: argparse.Namespace, own: TrainingConfig) -> TrainingConfig:
    given = {
        "device": args.device,
        "templates": tuple(args.template) if args.template else None,
        **{name: getattr(args, name) for name in TRAINING_NUMBERS},
        "precision": args.precision,
        "held_out": args.held_out,
        "retrain": args.retrain,
        "class_weights": args.class_weights,
        "rotations": args.rotations,
    }
    return dataclasses.replace(own, **{k: v for k, v in given.items() if v is not None})


def run(args: argparse.Namespace) -> int:
    """Train on DATA and write RUN; prints what came of it."""
    out = Path(args.out).expanduser().resolve()
    service = studio()
    if (out / "spec.json").exists():
        if not args.resume:
            raise JobError(f"{out} already holds a run.", "Name another folder, or add --resume to go on with it.")
        print("note: --resume goes on with the run as it was begun: DATA and other options are not read.", file=sys.stderr)
        if service.status(out).state == "finished":
            print(f"note: the run in {out} has finished already.", file=sys.stderr)
        else:
            service.resume(out)
        return _report(service, out, args.json)
    found = out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JobError(f"{out} cannot be made: {error.strerror or error}.", "Name another folder with --out.") from error
    # Folders of names that nobody has here yet: what is in them may be removed again.
    unpacked = (_free(out, "input"), _free(out, "test-input"), _free(out, "others-input"))
    try:
        made = _make(service, args, out, unpacked)
    except BaseException:
        for folder in unpacked:
            shutil.rmtree(folder, ignore_errors=True)
        if not found:
            with contextlib.suppress(OSError):
                out.rmdir()  # where nothing else is in it
        raise
    service.run_service.launch(made)
    return _report(service, out, args.json)


def _free(out: Path, name: str) -> Path:
    """A path in `out` where nothing is yet, called `name` or nearly so."""
    return next(path for path in (out / numbered(name, number) for number in count(1)) if not os.path.lexists(path))


def _make(service: Studio, args: argparse.Namespace, out: Path, unpacked: tuple[Path, Path, Path]) -> RunFolder:
    """The folder of a run that is ready for its worker; zips of DATA, test pictures and others are unpacked into the three folders."""
    work_dir, test_dir, others_dir = unpacked
    dataset, skipped = read_data(service, args.data, work_dir)
    for entry in skipped:
        print(f"left out: {entry.name}: {entry.reason}", file=sys.stderr)
    check_dataset(dataset)
    test = None if args.test else test_pictures_of(service, args.data)
    if args.test:
        found, left_out = read_data(service, args.test, test_dir, keep_duplicates=True)
        test, known = without_known(with_labels_of(found, dataset.class_names), dataset)
        for entry in left_out:
            print(f"left out of the test folder: {entry.name}: {entry.reason}", file=sys.stderr)
        for path in known:
            print(f"left out of the test folder: {path}: the same picture is in DATA", file=sys.stderr)
    if args.others:
        others, left_out = read_loose(args.others, others_dir)
        dataset, taken = with_others(dataset, others, test)
        for entry in left_out:
            print(f"left out of the others: {entry.name}: {entry.reason}", file=sys.stderr)
        for path in taken:
            print(f"left out of the others: {path}: the same picture is in a class", file=sys.stderr)
    config = _config(args, preset_config(args.preset, args.backbone, 1, args.seed))
    parts = split_of(dataset, config)
    if args.preset in BUDGET and not time_now(service.home, LocalLauncher(), args.backbone, args.device):
        print("note: this machine could not be timed with this backbone, so the recipe is used as it is.", file=sys.stderr)
    images, classes = len(dataset.items), len(dataset.class_names)
    shots = shots_of(dataset, parts)
    plan = planned(service.home, args.preset, args.backbone, images, classes, args.seed, args.device, shots)
    config, adapter = _config(args, plan.training), _adapter(args, plan.adapter)
    depth = depth_of(service.home, args.backbone)
    if words := words_of(plan, depth, config, adapter, duration(plan.whole or 0)):
        print(f"note:{words}", file=sys.stderr)
    return make_run(out, service.home, dataset, parts, RunRequest(args.backbone, config, adapter, test=test))


def _report(service: Studio, out: Path, as_json: bool) -> int:
    status = follow(service.run_service, out, quiet=as_json or not sys.stderr.isatty())
    result = RunFolder(out).result() or {}
    for note in status.notes:
        print(f"note: {note}", file=sys.stderr)
    told = headline(result).section
    if as_json:
        summary = {
            "run": str(out),
            "zero_shot": result["zero_shot"]["top1"],
            "before_tuning": result["frozen"]["top1"],
            "held_out": result["held_out"]["top1"],
            "held_out_n": result["held_out"]["n"],
            "cross_validated": result.get("cross_validated", {}).get("top1"),
            "without_training": result.get("preview", {}).get("top1"),
            "test": result["test"]["top1"] if "test" in result else None,
            "test_leaks": len(result.get("test", {}).get("leaks", ())),
            "others_n": result.get("others", {}).get("n", 0),
            "seconds": result["seconds"],
            "verdict": result["verdict"],
            "class_weights": result["class_weights"],
            "rotated": bool(result.get("rotations_note")),
        }
        print(json.dumps(summary, ensure_ascii=False))
        return 0
    print(result["verdict"])
    print(result["class_weights_note"])
    if result.get("rotations_note"):
        print(result["rotations_note"])
    if told["n"]:
        low, high = told["interval"]
        print(f"top-1 {told['top1']:.1%} (95 % interval {low:.0%} to {high:.0%}), {result['seconds']:.0f} s")
    pairs = [leak for leak in result.get("test", {}).get("leaks", ()) if leak["like"]]
    for leak in pairs[:MOST_PAIRS]:
        print(f"looks alike: {leak['test']['path']} and {leak['like']['path']}")
    print(f"run: {out}\nnext: python -m blocklora export {out} --out model.onnx")
    return 0
