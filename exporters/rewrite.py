"""A published file with something changed that needs no new training: gated again, its variants follow, published whole."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx

from blocklora.errors import ExportError
from blocklora.files import publish, read_json, sha256_file, write_json
from blocklora.jobs.run_folder import RunFolder
from blocklora.jobs.spec import RunSpec
from blocklora.services.exported import FORMS, MADE, REPORT, VARIANTS
from blocklora.training.data import Data
from exporters import parity, pipeline
from exporters.classifier import Classifier
from exporters.known_graph import Knowing
from exporters.loading import load_run
from exporters.predictor import OnnxClassifier
from exporters.workplace import workplace
from exporters.zip_file import Progress

Change = Callable[[Path, Path], None]
"""Writes a changed copy of the first file as the second."""


def published(run: RunFolder) -> dict[str, Any]:
    """The report on the run's published file.

    Raises:
        ExportError: nothing is published, or it is of other adapters.
    """
    report = pipeline.published(run)
    if report is None:
        raise ExportError("the run's ONNX file is missing or not of its adapters as they are now.", "Export it; that takes what is new.")
    return report


def rewrite(run: RunFolder, change: Change, news: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Change the run's published file and its smaller variants; returns the new report, with `news` in it.

    The changed file goes through the gate again, against the trained model, before it takes the place of the old one.

    Raises:
        ExportError: nothing is published.
        ParityError: the gate refused the file; the old one stays.
    """
    report, spec = published(run), RunSpec.from_dict(run.spec())
    with workplace(run.path) as folder:
        made = folder / run.onnx_path.name
        change(run.onnx_path, made)
        progress("Checking it against the trained model", 0.3)
        pictures, source, total = pipeline.gate_pictures(Data.read(run.dataset_path), pipeline.retrained(run))
        predictor = OnnxClassifier(made, cpu_only=True)
        expected = parity.reference(_trained(run, spec, predictor).ask, pictures)
        checked = parity.gate(predictor.predict, expected, pictures)
        progress("Publishing it", 0.9)
        variants = _variants(run, change, folder)
        report = {**report, "size": made.stat().st_size, "sha256": sha256_file(made), **news}
        report["created"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        publish(made, run.onnx_path)
    write_json(run.export_dir / "parity.json", {"passed": True, "source": source, "of": total, **checked.to_dict()})
    write_json(run.export_dir / REPORT, report)
    _variants_belong(run, variants, report["sha256"])
    return report


def _trained(run: RunFolder, spec: RunSpec, made: OnnxClassifier) -> Classifier:
    """The trained model, with the rule that the file's metadata name: another may have been chosen since it was made."""
    classifier, told = load_run(run, spec).classifier, made.record.reject
    if classifier.knowing is not None:
        means = classifier.knowing.means
        classifier.knowing = Knowing(means, told["least_familiar"], told["least_sure"]) if told else None
    return classifier


def write_model(model: onnx.ModelProto, target: Path) -> None:
    target.write_bytes(model.SerializeToString(deterministic=True))


def _variants(run: RunFolder, change: Change, folder: Path) -> list[dict[str, Any]] | None:
    """Change the variants of the published file; their records, or None where there are none."""
    report, entry = read_json(run.export_dir / REPORT, {}), (read_json(run.export_dir / MADE, {}) or {}).get(VARIANTS)
    rows = read_json(run.export_dir / FORMS[VARIANTS])
    if not isinstance(entry, dict) or entry.get("of") != report.get("sha256") or not isinstance(rows, list):
        return None
    for row in rows:
        if "file" in row and (run.export_dir / row["file"]).is_file():
            made = folder / row["file"]
            change(run.export_dir / row["file"], made)
            row["size"], row["sha256"] = made.stat().st_size, sha256_file(made)
            publish(made, run.export_dir / row["file"])
    return rows


def _variants_belong(run: RunFolder, rows: list[dict[str, Any]] | None, sha256: str) -> None:
    """Say that the changed variants belong to the changed file. What else was made of the old one (a bundle) is out of date now."""
    if rows is None:
        return
    made = read_json(run.export_dir / MADE, {})
    write_json(run.export_dir / FORMS[VARIANTS], rows)
    write_json(run.export_dir / MADE, {**made, VARIANTS: {**made[VARIANTS], "of": sha256}})
