"""`predict` and `evaluate`: what an exported ONNX file answers."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.progress import track

from blocklora.errors import ImageError, ModelFileError
from blocklora.files import write_atomic
from blocklora.projects.folders import read_class_folders
from blocklora.projects.formats import PICTURE_EXTENSIONS
from blocklora.services.predicting import FileAnswer, predict_files
from blocklora.services.tables import to_csv
from blocklora.training.metrics import confusion, per_class, wilson
from exporters import open_model

UNREAD = ("corrupt", "empty", "too large", "missing")  # kinds of left-out files that were meant to be pictures


def _pictures(arguments: list[str]) -> list[Path]:
    """The pictures that the arguments name: files as they are, folders with everything in them that looks like a picture.

    Raises:
        ImageError: an argument is neither, or there is no picture.
    """
    found: list[Path] = []
    for argument in arguments:
        path = Path(argument).expanduser()
        if path.is_dir():
            found.extend(sorted(p for p in path.rglob("*") if p.suffix.lower() in PICTURE_EXTENSIONS and p.is_file()))
        elif path.is_file():
            found.append(path)
        else:
            raise ImageError(f"{argument} is neither a picture nor a folder.", "Name files or folders on this machine.")
    if not found:
        raise ImageError("there are no pictures in " + ", ".join(arguments) + ".", f"Read: {', '.join(sorted(PICTURE_EXTENSIONS))}.")
    return found


def _answers(model: str, paths: list[Path], top: int = 1) -> Iterator[FileAnswer]:
    path = Path(model).expanduser()
    if not path.is_file():
        raise ModelFileError(f"{model} is not a file.", "Name an .onnx file that `export` wrote.")
    answers = predict_files(open_model(path), paths, top)
    return iter(
        track(answers, total=len(paths), description="Predicting", transient=True, disable=not sys.stderr.isatty(), console=_stderr())
    )


def _stderr():  # type: ignore[no-untyped-def]
    from rich.console import Console

    return Console(stderr=True)


def predict(args: argparse.Namespace) -> int:
    """Print the best labels of each picture; exit 1 when some could not be read."""
    if args.csv:
        _writable(Path(args.csv).expanduser())  # before the work, not after it
    rows: list[dict[str, Any]] = []
    failed = 0
    for answer in _answers(args.model, _pictures(args.images), args.top):
        if answer.prediction is None:
            failed += 1
            print(f"{answer.path}: {answer.reason}", file=sys.stderr)
            rows.append({"file": str(answer.path), "error": answer.reason, "top": []})
            continue
        top = [[label, round(probability, 6)] for label, probability in answer.prediction.top]
        rows.append({"file": str(answer.path), "error": "", "top": top})
        if not args.json:
            print(f"{answer.path}: " + ", ".join(f"{label} {probability:.1%}" for label, probability in top))
    if args.json:
        print(json.dumps(rows, ensure_ascii=False))
    if args.csv:
        table = [(row["file"], *(row["top"] or [["", ""]])[0], row["error"]) for row in rows]
        write_atomic(Path(args.csv).expanduser(), to_csv(("file", "label", "probability", "error"), table))
    return 1 if failed else 0


def _writable(target: Path) -> None:
    """Raises ImageError where no file can be written at `target`."""
    if target.is_dir():
        raise ImageError(f"{target} is a folder.", "Name a file with --csv.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise ImageError(f"{target} cannot be written: {error.strerror or error}.", "Name another place with --csv.") from error


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
    truth, guesses = [], []
    for item, answer in zip(dataset.items, _answers(args.model, [Path(item.path) for item in dataset.items]), strict=True):
        if answer.prediction is None:
            print(f"left out: {answer.path}: {answer.reason}", file=sys.stderr)
            continue
        truth.append(labels.index(dataset.class_names[item.label]))
        guesses.append(labels.index(answer.prediction.label))
    table = confusion(np.array(truth, dtype=np.int64), np.array(guesses, dtype=np.int64), len(labels))
    n, correct = len(truth), int(np.trace(table))
    rows = [row for row in per_class(table, labels) if row["n"]]
    unread = len(dataset.items) - n + sum(entry.kind in UNREAD for entry in skipped)
    if args.json:
        found = {"top1": correct / n if n else None, "n": n, "correct": correct, "unread": unread, "per_class": rows}
        print(json.dumps(found, ensure_ascii=False))
        return 1 if unread else 0
    low, high = wilson(correct, n)
    print(f"top-1 {correct / max(1, n):.1%} ({correct} of {n}; 95 % interval {low:.0%} to {high:.0%})")
    for row in rows:
        print(f"  {row['name']}: {row['correct']} of {row['n']}")
    return 1 if unread else 0
