"""The preview of a project: a classifier that needs no training, kept up to date by a process of its own as images come and go.

The frozen backbone says of each image where it lies, once; class weights follow from that in closed form (see
`blocklora.training.class_weights`). The folder on disk is the only memory: what the process made, and how far it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from blocklora.files import read_json, write_json
from blocklora.jobs.launcher import Launcher
from blocklora.jobs.liveness import alive, beat
from blocklora.projects.project import Project
from blocklora.services.findings import latest

PAUSE = 5.0  # seconds before a process that died is started again


@dataclass(frozen=True)
class PreviewFolder:
    """Where the preview of a project with one backbone lies."""

    path: Path

    @classmethod
    def of(cls, project: Path, backbone: str) -> PreviewFolder:
        """The folder; a backbone's name may be a path, so its hash stands for it."""
        return cls(project / "preview" / hashlib.sha256(backbone.encode()).hexdigest()[:16])

    @property
    def head(self) -> Path:
        """Class weights with what is known of them; one file, so that both are always of one mind."""
        return self.path / "head.safetensors"

    @property
    def check(self) -> Path:
        """What the data check found (see `findings`)."""
        return self.path / "check.json"

    @property
    def state(self) -> Path:
        return self.path / "state.json"

    @property
    def heartbeat(self) -> Path:
        return self.path / "heartbeat.json"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"


@dataclass(frozen=True)
class Head:
    """What is known of a finished preview. `correct` of `n` images were put right, each by weights made without it.

    `mark` is the project's when the preview was made; `model` the file of the frozen backbone, in the data home; `mode` says where the
    class weights come from (text, images, blend); `seconds` the time from new images to this head.
    """

    mark: str
    backbone: str
    model: str
    labels: tuple[str, ...]
    class_ids: tuple[str, ...]
    correct: int
    n: int
    mode: str
    seconds: float

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def read(cls, path: Path) -> Head | None:
        """What the header of a head's file says, or None where there is none that this version understands."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as stream:
                values = json.loads((stream.metadata() or {})["head"])
            return cls(**{**values, "labels": tuple(values["labels"]), "class_ids": tuple(values["class_ids"])})
        except (FileNotFoundError, SafetensorError, KeyError, TypeError, ValueError):
            return None


@dataclass(frozen=True)
class State:
    """How far the process is: of which `mark`, in words; `reason` says why it could not be done."""

    mark: str = ""
    stage: str = ""
    fraction: float = 0.0
    reason: str = ""
    advice: str = ""

    def write(self, folder: PreviewFolder) -> None:
        write_json(folder.state, asdict(self))

    @classmethod
    def read(cls, folder: PreviewFolder) -> State:
        try:
            return cls(**(read_json(folder.state) or {}))
        except (TypeError, ValueError):  # another version's, or damaged
            return cls()


@dataclass(frozen=True)
class Preview:
    """The preview as a person meets it. `head` may be of an earlier state of the images while `working`."""

    folder: PreviewFolder
    head: Head | None
    working: bool = False
    stage: str = ""
    fraction: float = 0.0
    reason: str = ""
    advice: str = ""


class Previews:
    """Looks after the previews of one data home. Safe to call at every tick: nothing is started twice.

    Args:
        worker: module of the process (injected, since it exports and runs ONNX files); empty for no previews at all.
    """

    def __init__(self, home: Path, launcher: Launcher, worker: str) -> None:
        self._home, self._launcher, self._worker = home, launcher, worker
        self._started: dict[Path, float] = {}
        self._lock = threading.Lock()

    def of(self, project: Project, backbone: str, may_start: bool) -> Preview | None:
        """The preview as it is now; brings it up to date in the background where `may_start`. None without previews."""
        if not self._worker:
            return None
        folder, mark = PreviewFolder.of(project.path, backbone), project.mark()
        head, state = Head.read(folder.head), State.read(folder)
        if head is not None and head.mark == mark and Path(head.model).is_file():
            if may_start and latest(folder.check, mark) is None and not alive(folder.heartbeat):
                self._start(project, backbone, folder)  # the pictures of an earlier version, or it was interrupted
            return Preview(folder, head)
        if state.mark == mark and state.reason:
            return Preview(folder, None, reason=state.reason, advice=state.advice)
        at_work = alive(folder.heartbeat)
        if may_start and not at_work:
            at_work = self._start(project, backbone, folder)
        return Preview(folder, self._fitting(head, project), at_work, state.stage if at_work else "", state.fraction if at_work else 0.0)

    def _fitting(self, head: Head | None, project: Project) -> Head | None:
        """An earlier head where the classes are still the same; otherwise it would answer with names that are gone."""
        if head is None or not Path(head.model).is_file():
            return None
        classes = project.classes()
        same = head.class_ids == tuple(info.id for info in classes) and head.labels == tuple(info.name for info in classes)
        return head if same else None

    def _start(self, project: Project, backbone: str, folder: PreviewFolder) -> bool:
        with self._lock:
            now = time.monotonic()
            if now - self._started.get(folder.path, -PAUSE) < PAUSE:
                return alive(folder.heartbeat)
            self._started[folder.path] = now
            State().write(folder)
            pid = self._launcher.call(self._worker, [str(project.path), str(self._home), backbone], folder.log)
            with contextlib.suppress(psutil.NoSuchProcess):  # it may have ended already, and said why
                beat(folder.heartbeat, pid)
            return True
