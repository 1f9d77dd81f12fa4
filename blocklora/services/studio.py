"""The one door to everything the product can do; tabs and commands hold a `Studio` and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from blocklora.clip.catalog import BackboneInfo
from blocklora.config import AdapterConfig, TrainingConfig
from blocklora.errors import JobError, TrainingError
from blocklora.jobs.devices import devices, resolve
from blocklora.jobs.events import Event, ExportStarted, FormStarted
from blocklora.jobs.launcher import Launcher, LocalLauncher
from blocklora.jobs.run_folder import RunFolder
from blocklora.jobs.spec import RunSpec
from blocklora.plan import Plan, seconds, step_seconds
from blocklora.projects.dataset import Dataset
from blocklora.projects.folds import MOST
from blocklora.projects.library import Library
from blocklora.projects.project import Project
from blocklora.projects.splits import Split
from blocklora.services.backbones import Backbones
from blocklora.services.exported import FORMS, LABELS, exported
from blocklora.services.going_on import Changes, GoingOn
from blocklora.services.opened import OpenedFile, OpenedFiles
from blocklora.services.planning import PROBE, depth_of, planned, words_of
from blocklora.services.predicting import Predictor, PredictorFactory, Predictors
from blocklora.services.previews import Head, Preview, Previews
from blocklora.services.rejecting import RULE
from blocklora.services.runs import (
    RunRequest,
    Runs,
    RunSummary,
    check_dataset,
    created,
    make_run,
    new_run_dir,
    reasons_not_ready,
    split_of,
)
from blocklora.services.status import RunStatus
from blocklora.speeds import recall, recall_footprint

CURRENT_RUN = "current_run"
AGAIN = 0.5
"""Steps of a training that goes on, as a share of a whole one's."""


@dataclass(frozen=True)
class Estimate:
    """How long a run would take if nothing stops it early. `seconds` is None until this machine's speed is known."""

    seconds: float | None
    words: str


@dataclass(frozen=True)
class Answering:
    """A model that answers: that of a project's `run`, its `preview`, or an opened `file`. `key` is another one for every other model."""

    key: str
    open: Callable[[], Predictor]
    run: RunFolder | None = None
    preview: Head | None = None
    file: OpenedFile | None = None


@dataclass(frozen=True)
class QueueEntry:
    """A run that waits or works. `project_id` is empty for one from the command line."""

    project_id: str
    project_name: str
    run_id: str
    path: Path
    waiting: bool
    status: RunStatus


class Studio:
    """Everything the product can do, over one data home.

    Args:
        home: the data home.
        exporter: worker module that makes the ONNX file of a finished run (injected, so that this package does not know it).
        predictor: opens a published ONNX file (injected likewise).
        launcher: starts workers.
        previewer: worker module that keeps the preview of a project (injected likewise); none for no previews.
        preview_model: opens a preview by the folder that the previewer left.
    """

    def __init__(
        self,
        home: Path,
        exporter: str,
        predictor: PredictorFactory,
        launcher: Launcher | None = None,
        previewer: str = "",
        preview_model: PredictorFactory | None = None,
    ) -> None:
        self.home = home
        self.library = Library(home)
        self._launcher = launcher or LocalLauncher()
        self.run_service = Runs(home, self._launcher)
        self.backbone_service = Backbones(home, self._launcher)
        self._exporter = exporter
        self._probed: set[tuple[str, str]] = set()
        self._predictors = Predictors(predictor)
        self.opened = OpenedFiles(home, Predictors(predictor))
        self._previews = Previews(home, self._launcher, previewer)
        self._preview_models = Predictors(preview_model or predictor)

    # What there is to work with

    def device_line(self) -> str:
        """Name and memory of the device that training will take."""
        return devices()[0].line()

    def backbones(self) -> list[BackboneInfo]:
        """The backbones that can be chosen, and where each is."""
        return self.backbone_service.all()

    def trash_project(self, project_id: str) -> str:
        """Move a project to the trash; returns what `Library.restore` takes.

        One that cannot be opened can be thrown away as well.

        Raises:
            JobError: a run of it is going on, and its worker would go on writing into the trash.
        """
        if any(RunFolder(path).alive() for path in (self.library.folder(project_id) / "runs").glob("*")):
            raise JobError("a run of this project is still going on.", "Stop or cancel it, then delete the project.")
        return self.library.trash(project_id)

    # Training

    def not_ready(self, project: Project) -> list[str]:
        """Why training cannot start yet, in words; empty when it can."""
        classes = project.classes()
        return reasons_not_ready([c.name for c in classes], [c.count for c in classes])

    def plan(self, project: Project, preset: str, backbone: str, seed: int = 1, device: str = "auto") -> Plan:
        """What a preset means for a project on this machine, from image counts and measured speeds alone."""
        classes = project.classes()
        return planned(self.home, preset, backbone, sum(c.count for c in classes), len(classes), seed, device)

    def preset(self, project: Project, preset: str, backbone: str, seed: int = 1) -> TrainingConfig:
        """The training configuration of `plan`."""
        return self.plan(project, preset, backbone, seed).training

    def estimate(self, project: Project, config: TrainingConfig, backbone: str, adapter: AdapterConfig | None = None) -> Estimate:
        """How long a run would take here if nothing stops it early, from speeds that workers measured on this machine.

        Args:
            adapter: what is adapted; by default what the plan of the preset says.
        """
        speed, depth = recall(self.home, resolve(config.device), backbone), depth_of(self.home, backbone)
        if speed is None:
            return Estimate(None, self._measure_speed(resolve(config.device), backbone))
        plan = self.plan(project, config.preset, backbone, config.seed, config.device)
        used = adapter or plan.adapter
        classes = project.classes()
        images = sum(c.count for c in classes)
        needed = seconds(speed, depth, config, used, images, len(classes))
        words = f"About {duration(needed)}{self._memory(project, config, backbone, images)} on this machine."
        words += " It may stop earlier by itself." if config.patience is not None else ""
        words += words_of(plan, depth, config, used, duration(plan.whole or 0))
        words += self._judging(config, config.steps * step_seconds(speed, depth, config, used, len(classes)))
        return Estimate(needed, words)

    def _judging(self, config: TrainingConfig, seconds: float) -> str:
        """Whether every image will be judged by a model that has not seen it, in words; `seconds` is one whole training."""
        if config.estimate_minutes <= 0:
            return ""
        needed = seconds * (MOST if config.held_out == 0 else min(MOST, round(1 / config.held_out)) - 1)
        most = duration(60 * config.estimate_minutes)
        if needed <= 60 * config.estimate_minutes:
            return f" Then about {duration(needed)} to judge every image by a model that has not seen it."
        return (
            f" It is measured on the held-out images; judging all takes about {duration(needed)}, more than the {most} allowed (Advanced)."
        )

    def _memory(self, project: Project, config: TrainingConfig, backbone: str, images: int) -> str:
        """How much memory a run would take, in words; '' while nobody knows."""
        footprint = recall_footprint(self.home, resolve(config.device), backbone)
        if footprint is None:
            return ""
        tokens = sum(len(info.name) // 4 + 7 for info in project.classes()) * len(config.templates)  # a token is about four letters
        side = 2 * next((info.resolution for info in self.backbones() if info.name == backbone), 224)
        size = footprint.bytes(config.batch_size, tokens, cached=images * 3 * side * side)
        return f" and {size / 2**30:.1f} GB of memory"

    def _measure_speed(self, device: str, backbone: str) -> str:
        """Have a worker time this machine, once; says so in words. A busy device is not timed: it would look slow."""
        folder = self.home / "queue"
        if not self.backbone_service.is_here(backbone):
            return "How long it takes is known once the backbone is on this machine."
        if (device, backbone) not in self._probed and not self.run_service.active():
            self._probed.add((device, backbone))
            self._launcher.call(PROBE, [str(self.home), backbone, device], folder / "probe.log")
        return "Measuring how fast this machine is..."

    def start_training(self, project: Project, config: TrainingConfig, backbone: str, adapter: AdapterConfig | None = None) -> RunFolder:
        """Write a run and start its worker; returns at once.

        Raises:
            TrainingError: the project has too few classes or images.
        """
        dataset = project.dataset()
        check_dataset(dataset)
        parts = split_of(dataset, config)
        tests = project.test_dataset()
        request = RunRequest(backbone, config, adapter or AdapterConfig(), (self._exporter,), project.id, project.name, tests)
        return self._start(project, dataset, parts, request)

    def _start(self, project: Project, dataset: Dataset, parts: Split, request: RunRequest) -> RunFolder:
        run = make_run(new_run_dir(project.runs_dir, request.training.preset), self.home, dataset, parts, request)
        self.run_service.launch(run)
        project.set_setting(CURRENT_RUN, run.name)
        return run

    def changes(self, project: Project, run: RunFolder) -> Changes:
        """What was done to a project's images since a run began; nothing where the run cannot be gone on from."""
        start = GoingOn.of(run)
        return Changes() if start is None else start.changes(project.dataset(), project.test_dataset())

    def train_again(self, project: Project, run: RunFolder) -> RunFolder:
        """Start a training that goes on from a finished run, with its settings, on the images as they are now.

        Raises:
            TrainingError: the run, or what has become of the classes, does not allow it.
        """
        start = GoingOn.of(run)
        if start is None:
            raise TrainingError("this run cannot be gone on from: an older version made it.", "Start a new training in Train.")
        spec, dataset = RunSpec.from_dict(run.spec()), project.dataset()
        check_dataset(dataset)
        # A run that went on itself has as few steps already; halved each time, they would come to nothing where people mend often.
        share = 1 if run.start_info_path.is_file() else AGAIN
        config = replace(spec.training, steps=max(1, round(spec.training.steps * share)))
        parts = start.split(dataset, config.held_out, config.seed)
        tests = project.test_dataset()
        request = RunRequest(spec.backbone, config, spec.adapter, (self._exporter,), project.id, project.name, tests, start)
        return self._start(project, dataset, parts, request)

    def status(self, run: Path) -> RunStatus:
        """A run as it is now."""
        return self.run_service.status(run)

    def stop(self, run: Path) -> None:
        """Stop soon and keep the best version so far."""
        self.run_service.stop(run)

    def cancel(self, run: Path) -> None:
        """End a run at once; nothing of it is kept but its log."""
        self.run_service.cancel(run)

    def resume(self, run: Path) -> None:
        """Go on from the last checkpoint of a run whose worker died."""
        self.run_service.resume(run)

    def delete_run(self, project: Project, run: Path) -> None:
        """Remove a run that is over."""
        self.run_service.delete(run)
        if project.get_setting(CURRENT_RUN, None) == run.name:
            left = self.runs(project)
            project.set_setting(CURRENT_RUN, left[0].id if left else None)

    # Runs of a project

    def runs(self, project: Project) -> list[RunSummary]:
        """All runs of a project, newest first."""
        current = project.get_setting(CURRENT_RUN, None)
        folders = [path.parent for path in project.runs_dir.glob("*/spec.json")] if project.runs_dir.is_dir() else []
        summaries = [self.run_service.summary(path, current) for path in folders]
        return sorted(summaries, key=lambda summary: summary.created, reverse=True)

    def current_run(self, project: Project) -> RunFolder | None:
        """The run that Results, Predict and Export show, if there is one."""
        name = project.get_setting(CURRENT_RUN, None)
        if not isinstance(name, str) or Path(name).name != name or not (project.runs_dir / name / "spec.json").exists():
            return None
        return RunFolder(project.runs_dir / name)

    def make_current(self, project: Project, run_id: str) -> None:
        """Let Results, Predict and Export show an earlier run.

        Raises:
            JobError: the project has no such run.
        """
        if Path(run_id).name != run_id or not (project.runs_dir / run_id / "spec.json").exists():
            raise JobError(f"the project has no run {run_id!r}.", "Choose one from the list.")
        project.set_setting(CURRENT_RUN, run_id)

    def finished_run(self, project: Project) -> RunFolder | None:
        """The current run if its result is there, else the newest finished one: a new training does not take the old answer away."""
        current = self.current_run(project)
        if current is not None and current.result_path.exists():
            return current
        done = [RunFolder(path.parent) for path in project.runs_dir.glob("*/result.json") if path.with_name("spec.json").is_file()]
        return max(done, key=created, default=None)

    def queue(self) -> list[QueueEntry]:
        """What works and what waits on this machine's devices, in order, whichever project or command line it came from."""
        return [self._entry(path, waiting) for path, waiting in self.run_service.active()]

    def _entry(self, path: Path, waiting: bool) -> QueueEntry:
        spec = RunSpec.from_dict(RunFolder(path).spec())
        return QueueEntry(spec.project_id, spec.project_name, path.name, path, waiting, self.status(path))

    def move_in_queue(self, run: Path, position: int) -> None:
        """Give a waiting run another place; 0 is next."""
        self.run_service.move(run, position)

    # Previews

    def preview(self, project: Project, backbone: str) -> Preview | None:
        """The classifier that needs no training, brought up to date in the background; None where there cannot be one yet.

        A machine that trains is left alone: what is there is shown, and new images wait.
        """
        if self.not_ready(project) or not self.backbone_service.is_here(backbone):
            return None
        return self._previews.of(project, backbone, may_start=not self.run_service.active())

    # Export and prediction

    def answering(self, project: Project, backbone: str) -> Answering | None:
        """What answers for a project: its finished run, else its preview, once that is there. A run may still lack its file."""
        run = self.finished_run(project)
        if run is not None:
            return Answering(run.name, lambda: self.predictor(run), run=run)
        preview = self.preview(project, backbone)
        if preview is None or preview.head is None:
            return None
        path = preview.folder.head
        return Answering(f"preview-{preview.head.mark}", lambda: self._preview_models.get(path), preview=preview.head)

    def answering_file(self, file: OpenedFile) -> Answering:
        """An opened file, as what answers."""
        return Answering(f"file-{file.key}", lambda: self.opened.predictor(file), file=file)

    def start_export(self, run: RunFolder) -> None:
        """Make the ONNX file of a finished run (again).

        Raises:
            TrainingError: the run has not finished.
            JobError: a worker is at work on it.
        """
        if run.result() is None:
            raise TrainingError("this run has not finished, so there is nothing to export yet.", "Train first.")
        self._launch(run, ExportStarted())

    def _launch(self, run: RunFolder, started: Event, *arguments: str) -> None:
        """Start the export worker. It takes a second to say its first word; who pressed must see something at once."""
        self.run_service.launch(run, self._exporter, *arguments)
        run.writer()(started)

    def renamed(self, project: Project, run: RunFolder) -> list[tuple[str, str]]:
        """Classes whose names were changed since the run's file was made: (name in the file, name now)."""
        found = exported(run)
        names = {info.id: info.name for info in project.classes()}
        known = found.labels.items() if found is not None else ()
        return [(label, names[class_id]) for class_id, label in known if names.get(class_id, label) != label]

    def start_form(self, run: RunFolder, form: str) -> None:
        """Make something of a run's published file (see `exported.FORMS`) in the background.

        Raises:
            JobError: there is no such form, no published file, or a worker is at work on the run.
        """
        if form not in (*FORMS, LABELS, RULE):
            raise JobError(f"there is no form {form!r}.", f"Choose one of: {', '.join(FORMS)}.")
        if not run.onnx_path.exists():
            raise JobError("this run has no exported file yet.", "Export it first.")
        self._launch(run, FormStarted(form), form)

    def predictor(self, run: RunFolder) -> Predictor:
        """The published file of a run, opened.

        Raises:
            JobError: there is no published file.
        """
        if not run.onnx_path.exists():
            raise JobError("this run has no exported file yet.", "Export it first.")
        return self._predictors.get(run.onnx_path)


def duration(seconds: float) -> str:
    """A length of time in words, rounded as a person would."""
    if seconds < 50:
        return f"{max(5, round(seconds / 5) * 5)} seconds"
    if seconds < 90:
        return "a minute"
    if seconds < 3600:
        return f"{round(seconds / 60)} minutes"
    hours = seconds / 3600
    return f"{hours:.1f} hours" if hours < 10 else f"{round(hours)} hours"
