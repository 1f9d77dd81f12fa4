"""What is known of a run's published ONNX file, read from the reports that the export left beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blocklora.files import read_json

if TYPE_CHECKING:
    from blocklora.jobs.run_folder import RunFolder

REPORT = "export.json"


@dataclass(frozen=True)
class Exported:
    """A published file. `off` is the largest difference of a probability that the gate found, on `checked` of `of` pictures.

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
    )


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
