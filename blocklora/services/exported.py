"""What is known of a run's published ONNX file and of what was made of it, read from the reports that the export left beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blocklora.files import read_json

if TYPE_CHECKING:
    from blocklora.jobs.run_folder import RunFolder

REPORT = "export.json"
MADE = "made.json"
"""What was made of the published file, by form: {"variants": {"of": SHA-256 of that file, "created": ..., "seconds": ...}, ...}."""

VARIANTS, BUNDLE, CHECKPOINT, LORA, DATASET = "variants", "bundle", "checkpoint", "lora", "dataset"
FORMS = {VARIANTS: "variants.json", BUNDLE: "bundle.zip", CHECKPOINT: "checkpoint.zip", LORA: "lora.zip", DATASET: "dataset.zip"}
"""What can be made of a published file, and the file of the run's export folder that it ends up in."""

LABELS = "labels"
"""What the worker is asked for to give the published file the present names of its classes."""


@dataclass(frozen=True)
class Exported:
    """A published file; `labels` are its classes by id.

    `off` is the largest difference of a probability that the gate found, on `checked` of `of` pictures.

    `milliseconds` is the measured time of one picture with `threads` threads on `provider`; None where nobody measured it.
    """

    path: Path
    size: int
    checked: int = 0
    of: int = 0
    source: str = ""
    off: float | None = None
    milliseconds: float | None = None
    threads: int = 0
    provider: str = ""
    created: str = ""
    seconds: float = 0.0
    labels: dict[str, str] = field(default_factory=dict)


def exported(run: RunFolder) -> Exported | None:
    """The published file of a run, if there is one. A report that is missing or damaged leaves its figures open."""
    if not run.onnx_path.is_file():
        return None
    size = run.onnx_path.stat().st_size
    report: dict[str, Any] = _dict(read_json(run.export_dir / REPORT))
    checked, worst = _dict(report.get("checked")), _dict(report.get("worst"))
    return Exported(
        path=run.onnx_path,
        size=size,
        checked=int(checked.get("images", 0)),
        of=int(checked.get("of", 0)),
        source=str(checked.get("source", "")),
        off=worst.get("probability"),
        milliseconds=report.get("milliseconds"),
        threads=int(report.get("threads", 0)),
        provider=str(report.get("provider", "")),
        created=str(report.get("created", "")),
        seconds=float(report.get("seconds", 0.0)),
        labels=dict(zip(report.get("class_ids", ()), report.get("labels", ()), strict=False)),
    )


@dataclass(frozen=True)
class Form:
    """Something made of the published file as it is now; `note` says what it lacks."""

    path: Path
    size: int
    created: str = ""
    note: str = ""


def made(run: RunFolder, form: str) -> Form | None:
    """What was made of the published file as `form`; None where nothing was, or of an earlier file."""
    path = run.export_dir / FORMS[form]
    entry = _dict(_dict(read_json(run.export_dir / MADE)).get(form))
    report = _dict(read_json(run.export_dir / REPORT))
    if not path.is_file() or not entry or entry.get("of") != report.get("sha256"):
        return None
    return Form(path, path.stat().st_size, str(entry.get("created", "")), str(entry.get("note", "")))


@dataclass(frozen=True)
class Precision:
    """One precision of the published file. `refused` says why there is none; then there are no figures.

    `correct` and `agreement` (the same first answer as fp32) count pictures of `images`; `marked` says that it is right on more than a
    point less than fp32.
    """

    precision: str
    path: Path
    size: int = 0
    milliseconds: float = 0.0
    images: int = 0
    correct: int = 0
    agreement: int = 0
    method: str = ""
    marked: bool = False
    refused: str = ""


def precisions(run: RunFolder) -> list[Precision]:
    """The published file and its smaller variants, fp32 first; empty where the variants were not made of it yet."""
    form, rows = made(run, VARIANTS), read_json(run.export_dir / FORMS[VARIANTS])
    whole = exported(run)
    if form is None or whole is None or not isinstance(rows, list):
        return []
    found = [_precision(run, row) for row in rows if isinstance(row, dict)]
    known = next((row for row in rows if isinstance(row, dict) and "fp32_correct" in row), None)
    if known is None:
        return [Precision("fp32", whole.path, whole.size, whole.milliseconds or 0.0), *found]
    images = int(known["images"])
    times = [float(row["fp32_milliseconds"]) for row in rows if isinstance(row, dict) and "fp32_milliseconds" in row]
    return [Precision("fp32", whole.path, whole.size, min(times), images, int(known["fp32_correct"]), images), *found]


def _precision(run: RunFolder, row: dict[str, Any]) -> Precision:
    if "refused" in row:
        return Precision(str(row["precision"]), run.onnx_path, refused=str(row["refused"]))
    plain = {key: row[key] for key in ("precision", "size", "milliseconds", "images", "correct", "agreement", "method", "marked")}
    return Precision(path=run.export_dir / str(row["file"]), **plain)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
