"""`evaluate`: how often an exported ONNX file is right."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.progress import track

from blocklora.errors import ModelFileError
from blocklora.projects.folders import read_class_folders
from blocklora.services.predicting import FileAnswer, predict_files
from blocklora.training.metrics import confusion, per_class, wilson
from exporters import open_model

UNREAD = ("corrupt", "empty", "too large", "missing")  # kinds of left-out files that were meant to be pictures


def _answers(model: str, paths: list[Path]) -> Iterator[FileAnswer]:
    path = Path(model).expanduser()
    if not path.is_file():
        raise ModelFileError(f"{model} is not a file.", "Name an .onnx file that `export` wrote.")
    answers = predict_files(open_model(path, many=True), paths, 1)
    return iter(
        track(answers, total=len(paths), description="Predicting", transient=True, disable=not sys.stderr.isatty(), console=_stderr())
    )


def _stderr():  # type: ignore[no-untyped-def]
    from rich.console import Console

    return Console(stderr=True)


def _answered(known: list[bool | None], right: list[bool]) -> dict[str, int]:
    """How many pictures a model with a rule for none of its classes answers, and how many of these it has right; empty without a rule."""
    if not known or None in known:
        return {}
    return {"answered": sum(map(bool, known)), "right_of_answered": sum(bool(k) and r for k, r in zip(known, right, strict=True))}


def evaluate(args: argparse.Namespace) -> int:
    """Measure an ONNX file on a folder of class folders; exit 1 when some pictures could not be read (the others are measured)."""
    import numpy as np

    dataset, skipped = read_class_folders(Path(args.folder).expanduser(), keep_duplicates=True)
    for entry in skipped:
        print(f"left out: {entry.name}: {entry.reason}", file=sys.stderr)
    labels = list(open_model(Path(args.model).expanduser()).labels)
    unknown = sorted(set(dataset.class_names) - set(labels))
    if unknown:
        raise ModelFileError(
            f"the folder has classes that the model does not know: {', '.join(unknown)}.", f"It knows: {', '.join(labels)}."
        )
    truth, guesses, known = [], [], []
    for item, answer in zip(dataset.items, _answers(args.model, [Path(item.path) for item in dataset.items]), strict=True):
        if answer.prediction is None:
            print(f"left out: {answer.path}: {answer.reason}", file=sys.stderr)
            continue
        truth.append(labels.index(dataset.class_names[item.label]))
        guesses.append(labels.index(answer.prediction.label))
        known.append(answer.prediction.known)
    table = confusion(np.array(truth, dtype=np.int64), np.array(guesses, dtype=np.int64), len(labels))
    n, correct, right = len(truth), int(np.trace(table)), [a == b for a, b in zip(truth, guesses, strict=True)]
    rows = [row for row in per_class(table, labels) if row["n"]]
    unread = len(dataset.items) - n + sum(entry.kind in UNREAD for entry in skipped)
    if args.json:
        found = {"top1": correct / n if n else None, "n": n, "correct": correct, "unread": unread, "per_class": rows}
        print(json.dumps(found | _answered(known, right), ensure_ascii=False))
        return 1 if unread else 0
    low, high = wilson(correct, n)
    print(f"top-1 {correct / max(1, n):.1%} ({correct} of {n}; 95 % interval {low:.0%} to {high:.0%})")
    rule = _answered(known, right)
    if rule:
        words = f"{rule['right_of_answered']} of them right" if rule["answered"] else "of none"
        print(f"answered {rule['answered'] / max(1, n):.1%} ({rule['answered']} of {n}), {words}; the others are none of the classes to it")
    for row in rows:
        print(f"  {row['name']}: {row['correct']} of {row['n']}")
    return 1 if unread else 0
