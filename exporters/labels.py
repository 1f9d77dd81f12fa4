"""The names of an exported file's classes: those that its project uses now, matched by the ids of classes, which a rename keeps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blocklora.errors import ProjectError
from blocklora.jobs.spec import RunSpec
from blocklora.projects.library import Library


def labels_now(spec: RunSpec, class_ids: Sequence[str], labels: Sequence[str]) -> tuple[str, ...]:
    """The present names of a run's classes, in its order. A class that is gone, and a run without a project, keep the names they had."""
    if not spec.project_id:
        return tuple(labels)
    try:
        names = {info.id: info.name for info in Library(Path(spec.home)).open(spec.project_id).classes()}
    except ProjectError:
        return tuple(labels)
    return tuple(names.get(class_id) or _kept(label, names.values()) for class_id, label in zip(class_ids, labels, strict=True))


def _kept(label: str, taken: Any) -> str:
    """The name of a class that is gone; another class may have taken it since."""
    return f"{label} (deleted)" if label in taken else label


def named(labels: Sequence[str], class_ids: Sequence[str]) -> dict[str, Any]:
    """What export.json says of a file's classes."""
    return {"labels": list(labels), "class_ids": list(class_ids)}
