"""Class names that were changed after the training: the file's metadata follow, its weights stay byte for byte."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx

from blocklora.errors import ExportError, ParityError
from blocklora.jobs.run_folder import RunFolder
from blocklora.jobs.spec import RunSpec
from exporters.labels import labels_now, named
from exporters.metadata import ModelMetadata
from exporters.predictor import OnnxClassifier
from exporters.rewrite import published, rewrite, write_model
from exporters.zip_file import Progress


def relabel(run: RunFolder, progress: Progress, labels: Sequence[str] | None = None) -> dict[str, Any]:
    """Give the run's published file, and its smaller variants, the classes' present names (or `labels`); returns the new report.

    Raises:
        ExportError: nothing is published, or the names do not fit the classes.
        ParityError: the gate refused the file; the old one stays.
    """
    published(run)
    spec = RunSpec.from_dict(run.spec())
    record = OnnxClassifier(run.onnx_path).record
    wanted = tuple(labels) if labels is not None else labels_now(spec, record.class_ids, record.labels)
    if len(wanted) != len(record.labels) or len(set(wanted)) != len(wanted):
        found = f"{len(wanted)} names were given for {len(record.labels)} classes, or two are the same"
        raise ExportError(f"{found}.", "Give each class a name of its own.")

    def rename(source: Path, target: Path) -> None:
        _rename(source, wanted, target)

    return rewrite(run, rename, named(wanted, record.class_ids), progress)


def _rename(source: Path, labels: Sequence[str], target: Path) -> None:
    """Copy a file with other labels. Everything but the metadata is the same, and looked at again to be sure.

    Raises:
        ParityError: the copy's graph differs.
    """
    model = onnx.load_model(source, load_external_data=False)
    graph = model.graph.SerializeToString(deterministic=True)
    record = ModelMetadata.from_props({entry.key: entry.value for entry in model.metadata_props})
    onnx.helper.set_model_props(model, {**record.to_props(), **record.with_labels(labels).to_props()})
    write_model(model, target)
    if onnx.load_model(target, load_external_data=False).graph.SerializeToString(deterministic=True) != graph:
        raise ParityError(f"the renamed copy of {source.name} has another graph.", "Nothing was published. Export the run again.")
