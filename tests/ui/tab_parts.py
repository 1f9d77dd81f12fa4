"""Tabs without a page: a studio whose workers are only noted down, projects with pictures, and runs written by hand."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from safetensors.numpy import save_file

from blocklora.config import TrainingConfig
from blocklora.files import write_json
from blocklora.jobs import events as said
from blocklora.jobs.liveness import beat
from blocklora.jobs.run_folder import RunFolder
from blocklora.presets import preset_config
from blocklora.projects import intake
from blocklora.projects.library import Library
from blocklora.projects.project import Project
from blocklora.services.heat import HeatMap, Reason
from blocklora.services.previews import Head, PreviewFolder
from blocklora.services.runs import RunRequest, make_run, split_of
from blocklora.services.studio import Studio
from blocklora.training.metrics import report
from blocklora.ui.downloads import Downloads
from blocklora.ui.images_tab import ImagesTab
from blocklora.ui.tab import Context

LABELS = ("class-0", "class-1", "class-2")
STAGE, RAIL, NOTICE, PROJECT = "stage", "rail", "notice", "project"  # stand in for components


@dataclass
class NotedLauncher:
    """Starts nothing; says what it was asked to start. A run that was launched counts as alive: this process stands in for its worker."""

    started: list[tuple[str, Path]] = field(default_factory=list)

    def launch(self, module: str, run: RunFolder, *arguments: str) -> int:
        self.started.append((" ".join((module, *arguments)), run.path))
        beat(run.heartbeat_path, os.getpid())
        return os.getpid()

    def call(self, module: str, arguments: Sequence[str], log: Path) -> int:
        self.started.append((module, log))
        return os.getpid()


@dataclass(frozen=True)
class Said:
    """One picture's answer."""

    label: str
    probability: float
    top: Sequence[tuple[str, float]]
    milliseconds: float = 4.2
    known: bool | None = None


class ColourPredictor:
    """Answers by a picture's mean colour, so that a test can foretell what it says."""

    labels = LABELS
    provider = "CPUExecutionProvider"
    metadata: dict[str, Any] = {}

    def __init__(self, path: Path) -> None:
        self.path = path

    def predict(self, images: Sequence[np.ndarray]) -> list[Said]:
        return [self._one(image) for image in images]

    def predict_each(self, items: Iterable[tuple[Any, np.ndarray | None]], top: int = 5) -> Iterator[tuple[Any, Said | None]]:
        for key, image in items:
            yield key, None if image is None else self._one(image)

    def explain(self, image: np.ndarray, labels: Sequence[str] = ()) -> HeatMap:
        """A map that is warm at the lower right, whatever the picture."""
        said, heat = self._one(image), np.zeros((8, 8), np.float32)
        heat[6:, 6:] = 1.0
        shares = dict(said.top)
        reasons = tuple(Reason(label, shares[label], 0.1, heat, False) for label in labels or [label for label, _ in said.top[:2]])
        height, width = image.shape[:2]
        side = min(height, width)
        return HeatMap(reasons, said.label, height, width, ((height - side) // 2, (width - side) // 2, side, side), 49, 0.1)

    def _one(self, image: np.ndarray) -> Said:
        order = np.argsort(-image.reshape(-1, 3).mean(axis=0))
        top = [(LABELS[i], share) for i, share in zip(order, (0.7, 0.2, 0.1), strict=True)]
        return Said(top[0][0], 0.7, top)


@dataclass
class Bench:
    """A tab at work without a page: its context, and a project as the page would name it."""

    ctx: Context
    launcher: NotedLauncher
    project: Project

    @property
    def studio(self) -> Studio:
        return self.ctx.studio

    @property
    def trained(self) -> list[str]:
        """The runs that workers were asked to train."""
        return [path.name for module, path in self.launcher.started if module.endswith("training.worker")]

    @property
    def values(self) -> dict[Any, Any]:
        """What every handler is given: the open project."""
        return {self.ctx.project: self.project.id}


def images_tab(library: Library, project: Project) -> ImagesTab:
    """The Images tab of a page that has `project` open, whatever values come."""

    class Opened(Context):
        def open_project(self, values: dict[Any, Any]) -> Project:
            return library.open(project.id)

    studio = cast(Any, SimpleNamespace(library=library, home=library.home))
    return ImagesTab(Opened(studio, Downloads(), cast(Any, PROJECT), cast(Any, RAIL), cast(Any, NOTICE), local=True), STAGE, True)


def make_bench(home: Path, pictures: Path | None, root: Path, previewer: str = "") -> Bench:
    """A studio over `home` with one project; `pictures` is a folder of class folders below `root`; no previews without a `previewer`."""
    launcher = NotedLauncher()
    studio = Studio(home, "exporters.worker", cast(Any, ColourPredictor), launcher, previewer)
    project = studio.library.create("Colours & <shapes>" if pictures is not None else "Empty")
    if pictures is not None:
        intake.accept(project, intake.plan_folder(project, pictures, local_mode=True, allowed_roots=[root]))
    rooms = {name: cast(Any, name) for name in ("project", "rail", "notice")}
    ctx = Context(studio, Downloads(), **rooms, local=True)
    return Bench(ctx, launcher, project)


def write_preview(bench: Bench) -> Head:
    """Let the preview of the project as it is now be there, as its process would leave it."""
    folder, classes = PreviewFolder.of(bench.project.path, "builtin"), bench.project.classes()
    model = bench.studio.home / "frozen.onnx"
    model.touch()
    labels, ids = tuple(info.name for info in classes), tuple(info.id for info in classes)
    head = Head(bench.project.mark(), "builtin", str(model), labels, ids, 20, 24, "images", 0.2)
    folder.path.mkdir(parents=True, exist_ok=True)
    save_file({"weights": np.zeros((4, len(classes)), np.float32)}, folder.head, {"head": head.to_json()})
    return head


def new_run(bench: Bench, name: str, preset: str = "quick", **training: Any) -> RunFolder:
    """A run of the project that has said nothing yet."""
    import dataclasses

    dataset = bench.project.dataset()
    config: TrainingConfig = dataclasses.replace(preset_config(preset, "builtin", 6), **training)
    request = RunRequest("builtin", config, project_id=bench.project.id, project_name=bench.project.name)
    return make_run(bench.project.runs_dir / name, bench.studio.home, dataset, split_of(dataset, config), request)


def train_some(run: RunFolder, steps: int = 60, of: int = 200, shares: Sequence[float] = (0.5, 0.75), alive: bool = True) -> None:
    """Let a run say what a worker says up to step `steps`; `alive` lets this process stand in for the worker."""
    say = run.writer()
    say(said.Queued("cpu"))
    say(said.Started(0))
    n = 8
    say(said.Prepared("CPU, 2 threads", "fp32", of, 16, n, 1234, "images", "Your class names do not mean enough to this model."))
    for step in range(1, steps + 1):
        say(said.Step(step, of, 2 * math.exp(-step / 40), 1e-3, 30.0, float(of - step)))
    best = -1.0
    for number, share in enumerate(shares, 1):
        say(said.Validation(number * steps // len(shares), round(share * n), n, 0.5, share > best))
        best = max(best, share)
    if alive:
        beat(run.heartbeat_path, os.getpid())


def finish(run: RunFolder, bench: Bench, wrong: int = 2, offered: bool = False, image_ids: bool = True) -> dict[str, Any]:
    """Let a run end with a result in which `wrong` held-out pictures are taken for the next class; returns the result."""
    train_some(run, alive=False)
    dataset = bench.project.dataset()
    parts = split_of(dataset, preset_config("quick", "builtin", 6))
    labels = np.array([dataset.items[i].label for i in parts.held_out])
    classes = len(dataset.class_names)
    said_labels = [(label + 1) % classes if place < wrong else label for place, label in enumerate(labels)]
    probabilities = np.full((len(labels), classes), 0.1 / (classes - 1))
    for row, label in enumerate(said_labels):
        probabilities[row, label] = 0.9 - 0.01 * row
    section = report(probabilities, labels, dataset.class_names)
    for row, index in zip(section["images"], parts.held_out, strict=True):
        row["path"], row["image_id"] = dataset.items[index].path, dataset.items[index].image_id if image_ids else ""
    n = len(labels)
    result = {
        "held_out": section,
        "zero_shot": {"n": n, "correct": 1, "top1": 1 / n, "chance": 1 / classes, "offered": offered},
        "frozen": {"n": n, "correct": 2, "top1": 2 / n},
        "class_weights": "blend" if offered else "images",
        "class_weights_note": "Your class names mean something." if offered else "Your class names do not mean enough to this model.",
        "verdict": f"Right on {section['correct']} of {n} images it never saw.",
        "seconds": 42.0,
        "steps": 200,
        "best_step": 40,
        "device": "CPU, 2 threads",
        "precision": "fp32",
        "train_n": len(parts.train),
        "backbone": "builtin",
        "class_names": list(dataset.class_names),
        "class_ids": list(dataset.class_ids),
        "preset": "quick",
        "adapter_bytes": 123_000,
        "trainable_parameters": 61_440,
    }
    write_json(run.result_path, result)
    run.writer()(said.Finished(42.0, True))
    return result


def publish(run: RunFolder) -> None:
    """Let a run have a published file, as far as anything but onnxruntime can tell."""
    run.export_dir.mkdir(parents=True, exist_ok=True)
    run.onnx_path.write_bytes(b"onnx" * 300_000)
    checked = {"images": 6, "of": 6, "correct": 5, "source": "held-out"}
    worst = {"probability": 3.2e-6, "cosine": 1e-9}
    more = {"milliseconds": 7.5, "threads": 2, "provider": "CPUExecutionProvider", "created": "2026-01-01T00:00:00Z", "seconds": 12.0}
    write_json(run.export_dir / "export.json", {"size": 1_200_000, "checked": checked, "worst": worst, **more})
