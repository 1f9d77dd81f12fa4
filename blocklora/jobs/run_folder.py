"""The folder of one run: where each file lies, and the few ways in which others may reach into it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blocklora.errors import JobError
from blocklora.files import read_json, write_json
from blocklora.jobs.events import EventWriter, Stamped, read_events
from blocklora.jobs.liveness import alive

STOP, CANCEL = "stop", "cancel"
LOG_TAIL_BYTES = 16_384
PROJECTS, QUEUE = "projects", "queue"  # folders of a data home, as `projects.library` and `jobs.turns` make them


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # nobody may look there, or no file system takes such a name
        return False


@dataclass(frozen=True)
class RunFolder:
    """One run on disk. Nothing is cached: every property reads the folder as it is now."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def spec_path(self) -> Path:
        return self.path / "spec.json"

    @property
    def dataset_path(self) -> Path:
        return self.path / "dataset.json"

    @property
    def events_path(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def log_path(self) -> Path:
        return self.path / "log.txt"

    @property
    def heartbeat_path(self) -> Path:
        return self.path / "heartbeat.json"

    @property
    def control_path(self) -> Path:
        return self.path / "control.json"

    @property
    def checkpoint_path(self) -> Path:
        return self.path / "checkpoint.safetensors"

    @property
    def adapter_path(self) -> Path:
        return self.path / "adapter.safetensors"

    @property
    def measured_path(self) -> Path:
        """The version that the held-out figure belongs to, with all that was trained: where another run may go on from."""
        return self.path / "measured.safetensors"

    @property
    def start_path(self) -> Path:
        """What this run begins with, where it goes on from another one: that one's measured version."""
        return self.path / "start.safetensors"

    @property
    def start_info_path(self) -> Path:
        return self.path / "start.json"

    @property
    def result_path(self) -> Path:
        return self.path / "result.json"

    @property
    def environment_path(self) -> Path:
        return self.path / "environment.json"

    @property
    def note_path(self) -> Path:
        return self.path / "note.json"

    @property
    def export_dir(self) -> Path:
        return self.path / "export"

    @property
    def onnx_path(self) -> Path:
        return self.export_dir / "model.onnx"

    def spec(self) -> dict[str, Any]:
        """The specification that the run was made from. Of a project's run, data home and project are those in which it lies now: both may
        have been moved or copied since. A mere copy of projects is no home, as long as theirs is there.

        Raises:
            JobError: the folder is not a run.
        """
        values = read_json(self.spec_path)
        if not isinstance(values, dict):
            raise JobError(f"{self.path} is not a run: it has no spec.json.", "Name a folder that `train` wrote.")
        return values | self._place() if values.get("project_id") and self._moved(Path(str(values.get("home")))) else values

    def _place(self) -> dict[str, str]:
        """Home and project by where the run lies: <home>/projects/<project>/runs/<run>."""
        around = self.path.absolute().parents
        return {"home": str(around[3]), "project_id": around[1].name}

    def _moved(self, home: Path) -> bool:
        """Whether it lies in a home, and that counts instead of the one that it was made in."""
        around = self.path.absolute().parents
        lies_in_one = len(around) > 3 and (around[0].name, around[2].name) == ("runs", PROJECTS)
        return lies_in_one and (_is_folder(around[3] / QUEUE) or not _is_folder(home))

    def result(self) -> dict[str, Any] | None:
        """What training measured, once it has finished."""
        return read_json(self.result_path)

    def environment(self) -> dict[str, Any]:
        """Versions, threads and machine of the training; empty for a run that is older than this record, or has not begun."""
        try:
            values = read_json(self.environment_path)
        except ValueError:  # damaged: it is a record beside the run, not a part of it
            return {}
        return values if isinstance(values, dict) else {}

    def events(self, offset: int = 0) -> tuple[list[Stamped], int]:
        return read_events(self.events_path, offset)

    def writer(self) -> EventWriter:
        return EventWriter(self.events_path)

    def alive(self) -> bool:
        """Whether a worker of this run is at work or waiting for its turn."""
        return alive(self.heartbeat_path)

    def request(self, action: str) -> None:
        """Ask the worker to stop and keep the best, or to cancel."""
        write_json(self.control_path, {"action": action, "time": time.time()})

    def requested(self) -> str | None:
        """The action that was asked for, if any."""
        values = read_json(self.control_path)
        return values.get("action") if isinstance(values, dict) else None

    def clear_request(self) -> None:
        self.control_path.unlink(missing_ok=True)

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of the worker's log."""
        try:
            with self.log_path.open("rb") as stream:
                stream.seek(0, 2)
                stream.seek(max(0, stream.tell() - LOG_TAIL_BYTES))
                text = stream.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])
