"""From a finished run to its published ONNX file: load, ask the adapted model, merge, write, gate, measure, publish."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from blocklora.errors import ExportError, ImageError
from blocklora.files import publish, read_json, sha256_file, write_json
from blocklora.jobs.run_folder import RunFolder
from blocklora.jobs.spec import RunSpec
from blocklora.lora.adapter_file import AdapterMeta
from blocklora.preprocess import Preprocess
from blocklora.projects.decoding import decode_many
from blocklora.training.data import Data
from exporters import parity
from exporters.knowing import record_of
from exporters.labels import labels_now, named
from exporters.loading import load_run
from exporters.metadata import ModelMetadata
from exporters.onnx_export import export_onnx
from exporters.predictor import OnnxClassifier
from exporters.workplace import WORKPLACE, sweep, workplace

GATE_PICTURES = 100
TIMED_RUNS, UNTIMED_RUNS = 15, 3
FIGURES = ("n", "correct", "top1", "interval", "since_trained_on", "folds")
SECTIONS = ("held_out", "cross_validated", "test", "zero_shot", "frozen", "preview")

Progress = Callable[[str, float], None]


def export_run(run_dir: Path, out: Path | None = None, progress: Progress | None = None) -> dict[str, Any]:
    """The run's ONNX file, copied to `out` where that is given. A file that was published before and is still whole is used as it is.

    Returns the report that also stands in the run's export/export.json.

    Raises:
        StudioError: the run is not finished, its files are damaged, or the gate refused the file.
    """
    run = RunFolder(run_dir)
    report = published(run)
    if report is None:
        report = make_export(run, progress or (lambda stage, fraction: None))
    if out is not None and out.resolve() != run.onnx_path.resolve():
        copy_file(run.onnx_path, out)
    return report


def published(run: RunFolder) -> dict[str, Any] | None:
    """The report on the published file, if there is one and it belongs to the adapter file as it is now."""
    report = read_json(run.export_dir / "export.json")
    if not isinstance(report, dict) or not run.onnx_path.is_file() or not run.adapter_path.is_file():
        return None
    whole = report.get("sha256") == sha256_file(run.onnx_path) and report.get("adapter_sha256") == sha256_file(run.adapter_path)
    return report if whole else None


def make_export(run: RunFolder, progress: Progress) -> dict[str, Any]:
    """Make, gate and publish the run's ONNX file; nothing is published, and an earlier file stays, when anything is wrong.

    Raises:
        StudioError: as `export_run`.
    """
    began = time.monotonic()
    progress("Loading the model", 0.02)
    spec = RunSpec.from_dict(run.spec())
    loaded = load_run(run, spec)
    pictures, source, total = gate_pictures(Data.read(run.dataset_path), retrained(run))
    progress("Asking the trained model", 0.15)
    expected = parity.reference(loaded.classifier.ask, pictures)
    loaded.adapters.merge()
    sweep(run.path)
    with workplace(run.path) as folder:
        made = folder / "model.onnx"
        progress("Writing the ONNX file", 0.35)
        labels = labels_now(spec, loaded.meta.class_ids, loaded.meta.classes)
        knowing = loaded.classifier.knowing
        record = {} if knowing is None else record_of(run, knowing, loaded.wish)
        metadata = replace(metadata_of(loaded.meta, run.result() or {}).with_labels(labels), reject=record)
        export_onnx(loaded.classifier, metadata, made)
        progress("Checking it against the trained model", 0.65)
        predictor = OnnxClassifier(made, cpu_only=True)
        checked = parity.gate(predictor.predict, expected, pictures)
        progress("Measuring its speed", 0.95)
        milliseconds = latency(predictor, expected.on_canvas[0][0])
        report = {
            "file": run.onnx_path.name,
            "precision": "fp32",
            "size": made.stat().st_size,
            "sha256": sha256_file(made),
            "adapter_sha256": sha256_file(run.adapter_path),
            **named(labels, loaded.meta.class_ids),
            "reject": None if knowing is None else loaded.wish.to_dict(),
            "milliseconds": milliseconds,
            "threads": predictor.threads,
            "provider": predictor.provider,
            "checked": {"images": checked.images, "of": total, "correct": checked.correct, "source": source},
            "worst": {"probability": max(b.probability for b in checked.batches), "cosine": max(b.cosine for b in checked.batches)},
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "seconds": round(time.monotonic() - began, 2),
        }
        publish(made, run.onnx_path)
    write_json(run.export_dir / "parity.json", {"passed": True, "source": source, "of": total, **checked.to_dict()})
    write_json(run.export_dir / "export.json", report)
    return report


def gate_pictures(data: Data, since_trained_on: bool = False, limit: int = GATE_PICTURES) -> tuple[parity.Pictures, str, int]:
    """The pictures to gate with: held-out ones, or training ones where none was held out; where they are from, and how many there are.
    Held-out pictures that the file was trained on in the end (`since_trained_on`) are training ones to it.

    Each call of the first value decodes them anew, one at a time: originals of phones and cameras do not fit into memory together.
    A picture that was deleted since the training is left out.
    """
    source, indices = ("held-out", data.held_out) if data.held_out else ("training", data.train)
    source = "training" if since_trained_on else source
    items = [data.dataset.items[i] for i in indices]
    chosen = [items[i] for i in parity.choose([item.label for item in items], limit)]

    def pictures() -> Iterator[parity.Picture]:
        decoded = decode_many([Path(item.path) for item in chosen])
        for item, (path, pixels) in zip(chosen, decoded, strict=True):
            if not isinstance(pixels, ImageError):
                yield parity.Picture(f"{data.dataset.class_names[item.label]}/{path.name}", item.label, pixels)

    return pictures, source, len(items)


def retrained(run: RunFolder) -> bool:
    """Whether the held-out pictures were trained on after they had been measured."""
    return bool((run.result() or {}).get("held_out", {}).get("since_trained_on"))


def metadata_of(meta: AdapterMeta, result: dict[str, Any]) -> ModelMetadata:
    """The file's metadata from the adapter file's and from what training measured. The time is the training's: same run, same bytes."""
    sections = {key: result[key] for key in SECTIONS if isinstance(result.get(key), dict)}
    return ModelMetadata(
        labels=tuple(meta.classes),
        class_ids=tuple(meta.class_ids),
        templates=tuple(meta.templates),
        preprocess=Preprocess.from_dict(meta.preprocess),
        temperature=meta.temperature,
        logit_scale=meta.logit_scale,
        base_model=meta.base_model,
        weights_hash=meta.weights_hash,
        created=meta.created,
        class_weights=meta.class_weights_mode,
        adapter=meta.adapter,
        accuracy={key: {name: section[name] for name in FIGURES if name in section} for key, section in sections.items()},
        versions={**meta.versions, "onnx": version("onnx")},
    )


def latency(predictor: OnnxClassifier, picture: parity.Picture) -> float:
    """Median milliseconds of one picture at batch 1, preprocessing included, decoding not."""
    times = [predictor.predict([picture.pixels])[0].milliseconds for _ in range(UNTIMED_RUNS + TIMED_RUNS)]
    return round(median(times[UNTIMED_RUNS:]), 2)


def copy_file(source: Path, target: Path) -> None:
    """Copy a published file, whole or not at all.

    Raises:
        ExportError: `target` cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=WORKPLACE) as folder:
            copied = Path(folder) / target.name
            shutil.copyfile(source, copied)
            publish(copied, target)
    except OSError as error:
        raise ExportError(f"{target} cannot be written: {error.strerror or error}.", "Choose another place.") from error
