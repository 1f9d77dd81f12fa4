"""What can be made of a run's published file: each form is written into the run's export folder, and said to belong to that file.

`python -m exporters.worker RUN FORM` makes one; the names are `blocklora.services.exported.FORMS`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from blocklora.errors import ExportError
from blocklora.files import read_json, write_json
from blocklora.jobs.run_folder import RunFolder
from blocklora.services.exported import BUNDLE, CHECKPOINT, DATASET, FORMS, LABELS, LORA, MADE, VARIANTS
from blocklora.services.rejecting import RULE
from blocklora.training.data import Data
from exporters.pipeline import gate_pictures, published, retrained
from exporters.zip_file import Progress

VARIANT_PICTURES = 400
TRAINED_ON = "Counted on pictures that the file was trained on in the end: compare the rows, and see Results for how good it is."


def make_form(run: RunFolder, form: str, progress: Progress) -> float:
    """Make `form` of the run's published file; returns the seconds it took. An earlier one stays when anything is wrong.

    What a writer returns is a note for people, such as what its file lacks. `LABELS` and `RULE` make nothing new: the file itself gets the
    present names of the project's classes, or the rule that was chosen for pictures of none of them.

    Raises:
        ExportError: there is no published file of the adapters as they are now, or this form cannot be made of it.
        StudioError: the run's files are damaged.
    """
    began = time.monotonic()
    if form == LABELS:
        from exporters.relabel import relabel

        relabel(run, progress)
        return round(time.monotonic() - began, 2)
    if form == RULE:
        from exporters.rerule import rerule

        rerule(run, progress)
        return round(time.monotonic() - began, 2)
    report = published(run)
    if report is None:
        raise ExportError("the run's ONNX file is missing or not of its adapters as they are now.", "Export again, then try again.")
    note = WRITERS[form](run, run.export_dir / FORMS[form], progress) or ""
    entry = {"of": report["sha256"], "note": note, "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    seconds = round(time.monotonic() - began, 2)
    known: Any = read_json(run.export_dir / MADE)
    write_json(run.export_dir / MADE, {**(known if isinstance(known, dict) else {}), form: {**entry, "seconds": seconds}})
    return seconds


def _variants(run: RunFolder, target: Path, progress: Progress) -> str:
    from exporters.variants import make_variants

    pictures, source, _ = gate_pictures(Data.read(run.dataset_path), retrained(run), VARIANT_PICTURES)
    make_variants(run, pictures, progress)  # writes `target` itself, with the files beside it
    return "" if source == "held-out" else TRAINED_ON


def _bundle(run: RunFolder, target: Path, progress: Progress) -> str:
    from exporters.bundle import write_bundle

    return write_bundle(run, target, progress)


def _checkpoint(run: RunFolder, target: Path, progress: Progress) -> None:
    from exporters.checkpoint import write_checkpoint

    write_checkpoint(run, target, progress)


def _lora(run: RunFolder, target: Path, progress: Progress) -> None:
    from exporters.plain_lora import write_plain_lora

    write_plain_lora(run, target, progress)


def _dataset(run: RunFolder, target: Path, progress: Progress) -> None:
    from exporters.dataset_zip import write_dataset_zip

    write_dataset_zip(run, target, progress)


WRITERS: dict[str, Callable[[RunFolder, Path, Progress], str | None]] = {
    VARIANTS: _variants,
    BUNDLE: _bundle,
    CHECKPOINT: _checkpoint,
    LORA: _lora,
    DATASET: _dataset,
}
