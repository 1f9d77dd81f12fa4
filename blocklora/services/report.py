"""A report on a run as one HTML file that a person can send: everything is in it, and it asks no other machine for anything."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blocklora.clip.catalog import find
from blocklora.errors import ExportError, JobError, StudioError
from blocklora.files import read_json, sha256_file, write_atomic
from blocklora.jobs.run_folder import RunFolder
from blocklora.jobs.spec import RunSpec
from blocklora.projects.decoder import Refused
from blocklora.projects.decoding import shared_decoder
from blocklora.services.exported import REPORT, exported
from blocklora.services.report_facts import Facts, Shot
from blocklora.services.report_page import page
from blocklora.services.results import headline
from blocklora.services.run_data import RunData, read_run_data
from blocklora.services.run_notes import read_note

MOST_PICTURES = 36  # a report is to fit into a mail
FILE = "report.html"


def write_report(run: RunFolder, out: Path | None = None, figures: Sequence[tuple[str, str]] = ()) -> Path:
    """Write the report on a finished run to `out`, by default into its folder; returns where it lies.

    `figures` are (title, SVG) that the product drew: they go in as they are, so nothing in them may be a stranger's.

    Raises:
        JobError: the run has no result.
        ExportError: `out` cannot be written.
    """
    target = out or run.export_dir / FILE
    try:
        drawn = page(facts_of(run, figures)).encode()
    except (KeyError, IndexError, TypeError, ValueError) as error:  # a result from elsewhere may hold anything
        raise JobError(f"the result of the run {run.name} is damaged ({error!r}).", "Train again, or restore it from a copy.") from error
    try:
        write_atomic(target, drawn)
    except OSError as error:
        raise ExportError(f"{target} cannot be written: {error.strerror or error}.", "Name another file with --out.") from error
    return target


def facts_of(run: RunFolder, figures: Sequence[tuple[str, str]] = ()) -> Facts:
    """Everything that a report says.

    Raises:
        JobError: the run has no result.
    """
    result = run.result()
    if result is None:
        raise JobError("this run has no result yet.", "Let it finish first.")
    spec, data, section = RunSpec.from_dict(run.spec()), read_run_data(run), headline(result).kind
    file, report = exported(run), read_json(run.export_dir / REPORT)
    digest = report.get("sha256") if isinstance(report, dict) else None
    wrong = _wrong(result, data, section)
    return Facts(
        title=spec.project_name or run.name,
        created=spec.created or time.time(),
        note=read_note(run),
        spec=spec,
        backbone=known.title if (known := find(spec.backbone, Path(spec.home))) is not None else Path(spec.backbone).name,
        result=result,
        section=section,
        names=data.dataset.class_names,
        trained=tuple(data.counts(data.train)),
        held_out=tuple(data.counts(data.held_out)),
        wrong=tuple(_shot(row, data.dataset.class_names, path) for row, path in wrong[:MOST_PICTURES]),
        n_wrong=len(wrong),
        file=None if file is None else (file.path.name, file.size, str(digest or sha256_file(file.path))),
        adapter_sha256=sha256_file(run.adapter_path) if run.adapter_path.is_file() else "",
        environment=run.environment(),
        figures=tuple(figures),
    )


def _wrong(result: dict[str, Any], data: RunData, section: str) -> list[tuple[dict[str, Any], Path]]:
    """The rows of a section with a wrong answer and where their pictures lie, most certain first."""
    rows = (result.get(section) or {}).get("images", [])
    items = data.items(section, rows)
    if len(rows) != len(items):
        return []
    wrong = [(row, Path(item.path)) for row, item in zip(rows, items, strict=True) if row["label"] != row["predicted"]]
    return sorted(wrong, key=lambda entry: -float(entry[0]["probability"]))


def _shot(row: dict[str, Any], names: Sequence[str], path: Path) -> Shot:
    return Shot(names[row["label"]], names[row["predicted"]], float(row["probability"]), _thumbnail(path))


def _thumbnail(path: Path) -> str:
    """A small copy as the product encodes it anew: of the original nothing else travels, no place and no camera."""
    if not path.is_file():
        return ""
    try:
        found = shared_decoder().inspect(path)
    except StudioError:
        return ""
    return "" if isinstance(found, Refused) else f"data:image/webp;base64,{base64.b64encode(found.thumbnail).decode()}"
