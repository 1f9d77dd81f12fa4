"""The runs of a project: starting, following, ending, listing them. The folder on disk is the only memory."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from blocklora.config import AdapterConfig, TrainingConfig
from blocklora.errors import JobError, TrainingError
from blocklora.files import Stamp, read_json, stamp, write_json
from blocklora.jobs.devices import devices, resolve
from blocklora.jobs.events import Cancelled
from blocklora.jobs.launcher import Launcher
from blocklora.jobs.run_folder import CANCEL, STOP, RunFolder
from blocklora.jobs.spec import RunSpec
from blocklora.jobs.turns import Turns
from blocklora.projects.dataset import Dataset
from blocklora.projects.splits import Split, split
from blocklora.services.going_on import GoingOn
from blocklora.services.results import figures
from blocklora.services.run_notes import read_note
from blocklora.services.status import Folder, RunStatus

TRAINER = "blocklora.training.worker"
MIN_CLASSES, MIN_IMAGES = 2, 2


@dataclass(frozen=True)
class RunRequest:
    """What to train. `then` names the worker modules that follow; `test` is a set of the person's own to measure on."""

    backbone: str
    training: TrainingConfig
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    then: tuple[str, ...] = ()
    project_id: str = ""
    project_name: str = ""
    test: Dataset | None = None
    start: GoingOn | None = None


@dataclass(frozen=True)
class RunSummary:
    """A line of the run list. `top1` is the share right on held-out images, None before it is known, `interval` its 95 % interval.

    `data` is the hash of images and labels; `size` that of the ONNX file in bytes, 0 while there is none.
    """

    id: str
    path: Path
    created: float
    preset: str
    backbone: str
    state: str
    exporting: bool
    top1: float | None
    correct: int
    n: int
    seconds: float
    current: bool
    interval: tuple[float, float] | None = None
    data: str = ""
    size: int = 0
    note: str = ""


def reasons_not_ready(names: Sequence[str], counts: Sequence[int]) -> list[str]:
    """Why training cannot start yet, in words; empty when it can."""
    if len(names) < MIN_CLASSES:
        return [f"There {'is 1 class' if len(names) == 1 else 'are no classes'}; telling things apart takes at least two."]
    short = [name for name, count in zip(names, counts, strict=True) if count < MIN_IMAGES]
    if short:
        listed = ", ".join(short[:5]) + (f" and {len(short) - 5} more" if len(short) > 5 else "")
        return [f"Every class needs at least {MIN_IMAGES} images; too few in: {listed}."]
    return []


def check_dataset(dataset: Dataset) -> None:
    """Refuse data that cannot be trained on.

    Raises:
        TrainingError: fewer than two classes, or a class with fewer than two images.
    """
    counts = [0] * len(dataset.class_names)
    for item in dataset.items:
        counts[item.label] += 1
    reasons = reasons_not_ready(dataset.class_names, counts)
    if reasons:
        raise TrainingError(reasons[0], "Add classes or images.")


def shots_of(dataset: Dataset, parts: Split) -> int:
    """Training images a class, on average, rounded."""
    return max(1, round(len(parts.train) / max(1, len(dataset.class_names))))


def make_run(path: Path, home: Path, dataset: Dataset, parts: Split, request: RunRequest) -> RunFolder:
    """Write the folder of a run that is to start: its pictures with their split, and its specification (last)."""
    run = RunFolder(path)
    if run.spec_path.exists():
        raise JobError(f"{path} already holds a run.", "Name another folder, or delete that one.")
    path.mkdir(parents=True, exist_ok=True)
    test = None if request.test is None else request.test.to_dict()
    split_values = {"train": list(parts.train), "held_out": list(parts.held_out), "divided": parts.divided}
    if request.start is not None:
        request.start.write(run)
    write_json(run.dataset_path, {"dataset": dataset.to_dict(), **split_values, "test": test})
    spec = RunSpec(
        backbone=request.backbone,
        home=str(home),
        adapter=request.adapter,
        training=request.training,
        project_id=request.project_id,
        project_name=request.project_name,
        device=resolve(request.training.device),
        then=request.then,
        created=time.time(),
        data_hash=dataset.data_hash,
    )
    write_json(run.spec_path, spec.to_dict())
    return run


def split_of(dataset: Dataset, training: TrainingConfig) -> Split:
    """The split a run trains and measures with."""
    return split(dataset, training.held_out, training.seed)


def new_run_dir(runs_dir: Path, preset: str) -> Path:
    """A free folder name that sorts by time and tells the preset."""
    stem = time.strftime("%Y%m%d-%H%M%S") + f"-{preset}"
    candidate, number = runs_dir / stem, 2
    while candidate.exists():
        candidate, number = runs_dir / f"{stem}-{number}", number + 1
    return candidate


def created(run: RunFolder) -> float:
    """When a run was asked for, in seconds since the epoch; 0 for a folder that is no run."""
    return _created(run.spec_path, stamp(run.spec_path))


@lru_cache(maxsize=4096)
def _created(path: Path, written: Stamp | None) -> float:
    values = read_json(path) if written is not None else None
    found = values.get("created") if isinstance(values, dict) else None
    return float(found) if isinstance(found, (int, float)) else 0.0


class Runs:
    """Runs by their folder. Safe to use from several threads and from several processes at once."""

    def __init__(self, home: Path, launcher: Launcher) -> None:
        self._home, self._launcher = home, launcher
        self._folders: dict[Path, Folder] = {}

    def launch(self, run: RunFolder, module: str = TRAINER, *arguments: str) -> None:
        """Start a worker on a run, unless one is at work on it.

        Raises:
            JobError: a worker is alive.
        """
        if run.alive():
            raise JobError("this run is already going on.", "Wait for it, or stop it.")
        run.clear_request()
        self._launcher.launch(module, run, *arguments)

    def status(self, path: Path) -> RunStatus:
        """The run as it is now; only new events are read."""
        return self._folders.setdefault(path, Folder(RunFolder(path))).read()

    def stop(self, path: Path) -> None:
        """Stop soon and keep the best version so far."""
        RunFolder(path).request(STOP)

    def cancel(self, path: Path) -> None:
        """End at once and keep nothing but the log. Works on a run whose worker has died, too."""
        run = RunFolder(path)
        run.request(CANCEL)
        if not run.alive() and self.status(path).state != "finished":
            run.writer()(Cancelled())

    def resume(self, path: Path) -> None:
        """Go on from the last checkpoint.

        Raises:
            JobError: a worker is alive, or the run has finished.
        """
        if self.status(path).state == "finished":
            raise JobError("this run has finished: there is nothing to go on with.", "Start a new run.")
        self.launch(RunFolder(path))

    def active(self) -> list[tuple[Path, bool]]:
        """Every run that has a device or waits for one, in order, and whether it waits."""
        found: list[tuple[Path, bool]] = []
        for kind in dict.fromkeys(device.kind for device in devices()):
            turns = Turns(self._home, kind)
            running = turns.running()
            found.extend([(running, False)] if running else [])
            found.extend((path, True) for path in turns.waiting())
        return found

    def move(self, path: Path, position: int) -> None:
        """Give a waiting run another place in the order; 0 is next."""
        Turns(self._home, RunSpec.from_dict(RunFolder(path).spec()).device).move(RunFolder(path), position)

    def delete(self, path: Path) -> None:
        """Remove a run that is over.

        Raises:
            JobError: it is still going on.
        """
        if RunFolder(path).alive():
            raise JobError("this run is still going on.", "Cancel it first.")
        self._folders.pop(path, None)
        shutil.rmtree(path)

    def summary(self, path: Path, current: str | None) -> RunSummary:
        """One line about a run."""
        run, status = RunFolder(path), self.status(path)
        spec = RunSpec.from_dict(run.spec())
        told = figures(run)
        return RunSummary(
            id=path.name,
            path=path,
            created=spec.created,
            preset=spec.training.preset,
            backbone=spec.backbone,
            state=status.state,
            exporting=status.exporting,
            top1=told.top1,
            correct=told.correct,
            n=told.n,
            seconds=status.seconds if told.seconds is None else told.seconds,
            current=path.name == current,
            interval=told.interval,
            data=spec.data_hash,
            size=run.onnx_path.stat().st_size if run.onnx_path.is_file() else 0,
            note=read_note(run),
        )
