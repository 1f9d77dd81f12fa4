"""A run's checkpoint: one safetensors file with tensors and progress together, so that the two can never disagree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from blocklora.errors import TrainingError
from blocklora.files import write_atomic
from blocklora.training.class_weights import Choice
from blocklora.training.state import Progress, Snapshot

FORMAT = "3"


def save_checkpoint(path: Path, snapshot: Snapshot) -> None:
    """Write a snapshot, whole or not at all."""
    metadata = {"format": FORMAT, "progress": json.dumps(vars(snapshot.progress)), "choice": json.dumps(vars(snapshot.choice))}
    write_atomic(path, save({k: v.contiguous() for k, v in snapshot.tensors.items()}, metadata))


def load_checkpoint(path: Path) -> Snapshot | None:
    """The snapshot in `path`, or None where there is none yet.

    Raises:
        TrainingError: the file is damaged or of another format.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as stream:
            metadata = stream.metadata() or {}
            tensors = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118 (not a dict)
        if metadata.get("format") != FORMAT:
            raise TrainingError(f"the checkpoint has format {metadata.get('format')!r}; this version reads {FORMAT}.", "Start a new run.")
        values: dict[str, Any] = json.loads(metadata["progress"])
        choice = Choice(**json.loads(metadata["choice"]))
    except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
        raise TrainingError("the checkpoint of this run is damaged.", "Start a new run.") from error
    return Snapshot(Progress(**values), choice, tensors)
