"""The files of finished runs that travel with a project, and what of them is bound to a place and must not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from blocklora.config import AdapterConfig, TrainingConfig, from_dict
from blocklora.errors import ProjectError, StudioError
from blocklora.files import write_json
from blocklora.projects.limits import GB, MB

RUN_FILES: dict[str, int] = {
    "spec.json": 16 * MB,
    "dataset.json": 64 * MB,
    "result.json": 64 * MB,
    "reject.json": 1 * MB,
    "events.jsonl": 256 * MB,
    "log.txt": 64 * MB,
    "environment.json": 1 * MB,
    "note.json": 1 * MB,
    "adapter.safetensors": 1 * GB,
    "measured.safetensors": 1 * GB,
    "start.safetensors": 1 * GB,
    "start.json": 64 * MB,
    "export/model.onnx": 2 * GB,
    "export/export.json": 64 * MB,
    "export/parity.json": 64 * MB,
}
"""Files of a finished run that travel, and how large each may be. Nothing else of a run is copied or read from an archive."""

FINISHED = "result.json"
SPEC = "spec.json"
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,80}")
EXPORT_NAME = re.compile(r"[\w][\w .()+-]{0,120}\.(?:onnx|json|csv|md|txt)")
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*")
"""A name that is no path: what a stranger may call a backbone."""

_SPEC_KEYS = {"format", "backbone", "adapter", "training", "device", "created", "data_hash"}


def finished_runs(project: Path) -> Iterator[Path]:
    """Folders of runs that came to an end with a result."""
    for folder in sorted((project / "runs").glob("*")):
        if RUN_ID.fullmatch(folder.name) and regular(folder / FINISHED) and regular(folder / SPEC) and not folder.is_symlink():
            yield folder


def exported_files(project: Path) -> Iterator[Path]:
    """The files in a project's exports folder that travel."""
    for path in sorted((project / "exports").glob("*")):
        if EXPORT_NAME.fullmatch(path.name) and regular(path):
            yield path


def regular(path: Path) -> bool:
    """Whether a real file lies there, not a link to one."""
    return path.is_file() and not path.is_symlink()


def without_places(text: str, project: Path) -> str:
    """A text file of a run without the folders of this machine: an archive is given to others.

    Images keep their place within the project; `Dataset.located` finds them again.
    """
    home = project.parents[1] if len(project.parents) > 1 else project
    for place, instead in ((f"{project}/", ""), (str(project), ""), (str(home), "~"), (str(Path.home()), "~")):
        if len(place) > 2:  # never a bare root
            text = text.replace(json.dumps(place)[1:-1], instead).replace(place, instead)
    return text


def rebind(run: Path, home: Path, project_id: str, project_name: str) -> None:
    """Tell the run in the folder `run`, wherever it came from, in which data home and project it is now.

    Raises:
        ProjectError: its specification cannot be used.
    """
    try:
        spec = checked_spec((run / SPEC).read_text(encoding="utf-8"))
    except ValueError as error:
        advice = "Remove that run's folder from the project, then try again."
        raise ProjectError(f"The run {run.name} has a specification that cannot be used: {error}.", advice) from error
    write_json(run / SPEC, {**spec, "home": str(home), "project_id": project_id, "project_name": project_name})


def checked_spec(text: str) -> dict[str, Any]:
    """A stranger's run specification: known settings within their limits, nothing that points anywhere or names a program.

    Raises:
        ValueError: it is not such a specification.
    """
    values = json.loads(text)
    if not isinstance(values, dict) or not PLAIN.fullmatch(str(values.get("backbone"))):
        raise ValueError("no specification, or a backbone that is not a plain name")
    kept = {key: value for key, value in values.items() if key in _SPEC_KEYS}
    try:
        from_dict(AdapterConfig, kept["adapter"])
        from_dict(TrainingConfig, kept["training"])
        numbers_and_words = float(kept.get("created", 0.0)), str(kept.get("device", "cpu")), str(kept.get("data_hash", ""))
    except (StudioError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(str(error)) from error
    # `then` names modules that run after a training: from a stranger, none.
    return {**kept, **dict(zip(("created", "device", "data_hash"), numbers_and_words, strict=True)), "then": []}
