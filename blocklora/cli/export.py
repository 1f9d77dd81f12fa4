"""`export`: the ONNX file of a finished run, in any precision, and whatever can be made of it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blocklora.errors import ExportError
from blocklora.files import sha256_file
from blocklora.jobs.run_folder import RunFolder
from blocklora.services.exported import FORMS, VARIANTS, Precision, made, precisions

ZIPS = tuple(form for form in FORMS if form != VARIANTS)


def export(args: argparse.Namespace) -> int:
    """Write what was asked for; nothing that is there already is made again."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the worker does, before torch is loaded
    from exporters import pipeline

    zips = {form: _path(getattr(args, form)) for form in ZIPS if getattr(args, form)}
    if not args.out and not zips:
        raise ExportError("nothing was asked for.", f"Name a file with --out, or {', '.join('--' + form for form in ZIPS)}.")
    run = RunFolder(_path(args.run))
    report = pipeline.export_run(run.path)
    if args.rename:
        report = _rename(run, args.rename)
    written: dict[str, Any] = {}
    agrees = "The ONNX file agrees with the trained model."
    if args.out:
        out = _path(args.out)
        written["model"] = str(out)
        if args.precision == "fp32":
            pipeline.copy_file(run.onnx_path, out)
        else:
            found = _variant(run, args.precision)
            pipeline.copy_file(found.path, out)
            report = {key: value for key, value in report.items() if key not in OF_FP32} | _about(found)
            agrees = f"The {found.precision} file has the first answer of the fp32 file on {found.agreement} of {found.images} pictures."
    for form, target in zips.items():
        written[form] = str(target)
        pipeline.copy_file(_form(run, form), target)
    if args.json:
        print(json.dumps({**report, "precision": args.precision, **written}, ensure_ascii=False))
    else:
        for path in written.values():
            print(f"{path} ({Path(path).stat().st_size / 1e6:.1f} MB)")
        print(agrees)
    return 0


def _path(words: str) -> Path:
    return Path(words).expanduser().resolve()


def _rename(run: RunFolder, pairs: Sequence[Sequence[str]]) -> dict[str, Any]:
    from exporters.predictor import OnnxClassifier
    from exporters.relabel import relabel

    labels, new = OnnxClassifier(run.onnx_path).labels, {pair[0]: pair[1] for pair in pairs}
    unknown = sorted(set(new) - set(labels))
    if unknown:
        raise ExportError(f"the file has no class {', '.join(map(repr, unknown))}.", f"It has: {', '.join(labels)}.")
    return relabel(run, _silent, [new.get(label, label) for label in labels])


OF_FP32 = ("checked", "worst", "threads", "provider", "created", "seconds")
"""What the report says of the published file that does not hold of another precision."""


def _about(found: Precision) -> dict[str, Any]:
    """What the report says of a smaller form."""
    return {
        "file": found.path.name,
        "size": found.size,
        "sha256": sha256_file(found.path),
        "milliseconds": found.milliseconds,
        "images": found.images,
        "correct": found.correct,
        "same_as_fp32": found.agreement,
    }


def _variant(run: RunFolder, precision: str) -> Precision:
    """The published file in a smaller precision."""
    if not precisions(run):
        _make(run, VARIANTS)
    found = next((p for p in precisions(run) if p.precision == precision), None)
    if found is None or found.refused:
        raise ExportError(f"there is no {precision} file of this run: {found.refused if found else 'unknown'}", "Take fp32.")
    if found.marked:
        lost = f"right on {found.correct} of {found.images} pictures"
        print(f"note: the {precision} file is {lost}, more than a point less than fp32.", file=sys.stderr)
    return found


def _form(run: RunFolder, form: str) -> Path:
    found = made(run, form)
    if found is None or found.note:  # what was missing last time may be had now
        _make(run, form)
        found = made(run, form)
    assert found is not None
    if found.note:
        print(f"note: {found.note}", file=sys.stderr)
    return found.path


def _make(run: RunFolder, form: str) -> None:
    from exporters.forms import make_form

    make_form(run, form, _silent)


def _silent(stage: str, fraction: float) -> None:
    """Nobody watches: the command says what it wrote when it is done."""
