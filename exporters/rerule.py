"""Another rule for pictures of none of the classes, chosen after the training: two constants and the metadata change, nothing else."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import onnx

from blocklora.errors import ExportError
from blocklora.jobs.run_folder import RunFolder
from blocklora.services.rejecting import wish_of
from exporters.knowing import knowing_of, record_of
from exporters.known_graph import append, has_rule, known_graph, take_off
from exporters.loading import read_adapter
from exporters.metadata import ModelMetadata
from exporters.rewrite import published, rewrite, write_model
from exporters.zip_file import Progress


def rerule(run: RunFolder, progress: Progress) -> dict[str, Any]:
    """Write the rule that holds for the run into its published file and its smaller variants; returns the new report.

    A file that was published before there were rules gets one, where its adapter file has what that needs.

    Raises:
        ExportError: nothing is published, or the run was trained before there were rules.
        ParityError: the gate refused the file; the old one stays.
    """
    published(run)
    tensors, _ = read_adapter(run)
    wish = wish_of(run)
    knowing = knowing_of(tensors, wish)
    if knowing is None:
        raise ExportError("this run was trained before files could say 'none of these'.", "Train again; the new run can.")
    record = record_of(run, knowing, wish)

    def change(source: Path, target: Path) -> None:
        model = onnx.load_model(source, load_external_data=False)
        take_off(model)
        append(model.graph, known_graph(knowing))
        metadata = ModelMetadata.from_props({entry.key: entry.value for entry in model.metadata_props})
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, dataclasses.replace(metadata, reject=record).to_props())
        assert has_rule(model.graph)
        write_model(model, target)

    return rewrite(run, change, {"reject": wish.to_dict()}, progress)
