"""Class names that were changed after the training: the file's metadata follow, its weights stay byte for byte."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx

from blocklora.errors import ExportError, ParityError
from blocklora.files import publish, read_json, sha256_file, write_json
from blocklora.jobs.run_folder import RunFolder
from blocklora.jobs.spec import RunSpec
from blocklora.services.exported import FORMS, MADE, REPORT, VARIANTS
from blocklora.training.setup import Data
from exporters import parity, pipeline
from exporters.labels import labels_now, named
from exporters.loading import load_run
from exporters.metadata import ModelMetadata
from exporters.predictor import OnnxClassifier
from exporters.workplace import workplace
from exporters.zip_file import Progress


def relabel(run: RunFolder, progress: Progress, labels: Sequence[str] | None = None) -> dict[str, Any]:
    """Give the run's published file, and its smaller variants, the classes' present names (or `labels`); returns the new report.

    The renamed file goes through the gate again, against the trained model, before it takes the place of the old one.

    Raises:
        ExportError: nothing is published, or the names do not fit the classes.
        ParityError: the gate refused the file; the old one stays.
    """
    report = pipeline.published(run)
    if report is None:
        raise ExportError("the run's ONNX file is missing or not of its adapters as they are now.", "Export it; that takes the new names.")
    spec = RunSpec.from_dict(run.spec())
    record = OnnxClassifier(run.onnx_path).record
    wanted = tuple(labels) if labels is not None else labels_now(spec, record.class_ids, record.labels)
    if len(wanted) != len(record.labels) or len(set(wanted)) != len(wanted):
        found = f"{len(wanted)} names were given for {len(record.labels)} classes, or two are the same"
        raise ExportError(f"{found}.", "Give each class a name of its own.")
    with workplace(run.path) as folder:
        made = folder / run.onnx_path.name
        _rename(run.onnx_path, wanted, made)
        progress("Checking it against the trained model", 0.3)
        pictures, source, total = pipeline.gate_pictures(Data.read(run.dataset_path), pipeline.retrained(run))
        expected = parity.reference(load_run(run, spec).classifier.ask, pictures)
        checked = parity.gate(OnnxClassifier(made).predict, expected, pictures)
        progress("Publishing it", 0.9)
        variants = _rename_variants(run, wanted, folder)
        report = {**report, "size": made.stat().st_size, "sha256": sha256_file(made), **named(wanted, record.class_ids)}
        report["created"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        publish(made, run.onnx_path)
    write_json(run.export_dir / "parity.json", {"passed": True, "source": source, "of": total, **checked.to_dict()})
    write_json(run.export_dir / REPORT, report)
    _variants_belong(run, variants, report["sha256"])
    return report


def _rename(source: Path, labels: Sequence[str], target: Path) -> None:
    """Copy a file with other labels. Everything but the metadata is the same, and looked at again to be sure.

    Raises:
        ParityError: the copy's graph differs.
    """
    model = onnx.load_model(source, load_external_data=False)
    graph = model.graph.SerializeToString(deterministic=True)
    record = ModelMetadata.from_props({entry.key: entry.value for entry in model.metadata_props})
    onnx.helper.set_model_props(model, {**record.to_props(), **record.with_labels(labels).to_props()})
    target.write_bytes(model.SerializeToString(deterministic=True))
    if onnx.load_model(target, load_external_data=False).graph.SerializeToString(deterministic=True) != graph:
        raise ParityError(f"the renamed copy of {source.name} has another graph.", "Nothing was published. Export the run again.")


def _rename_variants(run: RunFolder, labels: Sequence[str], folder: Path) -> list[dict[str, Any]] | None:
    """Rename the variants of the published file; their records, or None where there are none."""
    report, entry = read_json(run.export_dir / REPORT, {}), (read_json(run.export_dir / MADE, {}) or {}).get(VARIANTS)
    rows = read_json(run.export_dir / FORMS[VARIANTS])
    if not isinstance(entry, dict) or entry.get("of") != report.get("sha256") or not isinstance(rows, list):
        return None
    for row in rows:
        if "file" in row and (run.export_dir / row["file"]).is_file():
            made = folder / row["file"]
            _rename(run.export_dir / row["file"], labels, made)
            row["size"], row["sha256"] = made.stat().st_size, sha256_file(made)
            publish(made, run.export_dir / row["file"])
    return rows


def _variants_belong(run: RunFolder, rows: list[dict[str, Any]] | None, sha256: str) -> None:
    """Say that the renamed variants belong to the renamed file. What else was made of the old one (a bundle) is out of date now."""
    if rows is None:
        return
    made = read_json(run.export_dir / MADE, {})
    write_json(run.export_dir / FORMS[VARIANTS], rows)
    write_json(run.export_dir / MADE, {**made, VARIANTS: {**made[VARIANTS], "of": sha256}})
