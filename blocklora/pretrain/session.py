"""One run from start to finished folder: budget, log, validation, checkpoints, export."""

from __future__ import annotations

import datetime
import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from blocklora.errors import TrainingError
from blocklora.files import read_json
from blocklora.pretrain import schedule
from blocklora.pretrain.config import Recipe
from blocklora.pretrain.data import ImageArray, load_images, read_classes
from blocklora.pretrain.evaluate import zero_shot_top1
from blocklora.pretrain.export import METADATA, export_state, load_exported
from blocklora.pretrain.loop import Task, steps
from blocklora.pretrain.memory import keep_freed_memory
from blocklora.pretrain.names import PromptBook, read_superclasses
from blocklora.pretrain.network import centre_text
from blocklora.pretrain.state import TrainState, fresh_state, load_state, save_state

PROJECTIONS = ("visual.head.proj.weight", "text_projection", "visual.proj")
"""What may be of another width in the model that a run begins with."""
SCALE_IMAGES = 512
"""Training images that the logit scale of the finished model is set on."""
LATEST, BEFORE_DECAY, LOG = "latest.safetensors", "before-decay.safetensors", "log.jsonl"


@dataclass(frozen=True)
class RunOptions:
    """Where a run reads and writes, and how long it may take."""

    data: tuple[Path, ...]
    classes: Path
    work: Path
    out: Path
    validation: tuple[Path, ...] = ()
    passes: int | None = None
    minutes: float | None = None
    until: datetime.datetime | None = None
    resume_from: Path | None = None
    start_from: Path | None = None
    """Folder of a finished model whose weights a new run begins with, instead of random ones."""
    device: str = "cpu"
    precision: str = "auto"
    log_every: int = 50
    validate_every: float = 600.0
    """Seconds between validations on `validation_sample` images."""
    validation_sample: int = 1000
    checkpoint_every: float = 120.0
    """Seconds between checkpoints."""
    reserve: float = 300.0
    """Seconds kept back from `until` for the last validation and the export."""


class Log:
    """One JSON object a line, in a file, and the same as a short line for whoever watches."""

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._say = path, say

    def write(self, event: str, **values: Any) -> None:
        line = {"event": event, "time": datetime.datetime.now().isoformat(timespec="seconds"), **values}
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        self._say(f"{line['time'][11:]} {event} " + " ".join(f"{k}={v}" for k, v in values.items()))


def pick_device(name: str) -> torch.device:
    """The device of this name; "auto" is a GPU where torch sees one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise TrainingError("torch sees no GPU on this machine.", "Use --device cpu, or install a torch with CUDA.")
    return torch.device(name)


def make_task(data: ImageArray, names: dict[str, list[str]], context_length: int) -> Task:
    """The images together with the prompts of their classes and superclasses."""
    super_names, truth = read_superclasses(data.ids)
    superclasses = PromptBook(super_names, context_length) if super_names else None
    return Task(data, PromptBook([names[i] for i in data.ids], context_length), superclasses, truth)


def open_state(options: RunOptions, recipe: Recipe, model_cfg: dict[str, Any], task: Task, device: torch.device) -> TrainState:
    """The checkpoint to go on from (`resume_from`, else the work folder's own), or first weights.

    Raises:
        TrainingError: the checkpoint was made with another recipe, network or class list.
    """
    ids, latest = task.data.ids, options.work / LATEST
    source = options.resume_from or (latest if latest.exists() else None)
    if source is None:
        state = fresh_state(recipe, model_cfg, ids, device)
        if options.start_from is not None:
            begin_with(state, options.start_from)
        else:
            centre_text(state.model, task.classes.all_prompts().to(device))
        state.average.load_state_dict(state.model.state_dict())
        return state
    state = load_state(source, device)
    for what, found, wanted in (
        ("recipe", state.recipe, recipe),
        ("network", state.model_cfg, model_cfg),
        ("class list", state.ids, ids),
    ):
        if found != wanted:
            raise TrainingError(f"{source} was trained with another {what}: {found}.", "Use the same options, or an empty --work folder.")
    return state


def begin_with(state: TrainState, folder: Path) -> None:
    """Give a new run the weights of a finished model.

    Heads and projections of another width keep their first random values; all layers must fit. What that model had seen before,
    and what was not taken from it, goes into the notes.

    Raises:
        TrainingError: the folder holds no model, or one of other layers.
    """
    theirs, mine = load_exported(folder).state_dict(), state.model.state_dict()
    fresh = sorted(name for name, value in mine.items() if name not in theirs or theirs[name].shape != value.shape)
    layers = [name for name in fresh if name not in PROJECTIONS]
    if layers:
        raise TrainingError(
            f"{folder} holds another network: {len(layers)} tensors do not fit, first {layers[0]}.",
            "Begin with a model of the layers that are to be trained.",
        )
    state.model.load_state_dict({**mine, **{name: value for name, value in theirs.items() if name not in fresh}})
    earlier = read_json(folder / METADATA) or {}
    state.notes["began_with"] = {key: earlier.get(key) for key in ("sha256", "steps", "passes", "recipe", "hardware", "began_with")}
    state.notes["began_with"]["fresh"] = fresh


def make_budget(options: RunOptions, seconds_so_far: float) -> schedule.Budget:
    """The budget of the whole run, what is already trained included."""
    if options.until is not None:
        left = (options.until - datetime.datetime.now()).total_seconds() - options.reserve
        if left <= 0:
            raise TrainingError(
                f"--until {options.until:%H:%M} leaves no time: {options.reserve:.0f} s are kept for the last validation.",
                "Give a later time.",
            )
        return schedule.Budget(seconds=seconds_so_far + left)
    return schedule.Budget(passes=options.passes, seconds=None if options.minutes is None else options.minutes * 60)


def run(options: RunOptions, recipe: Recipe, model_cfg: dict[str, Any], say: Callable[[str], None] = print) -> dict[str, Any]:
    """Train, or go on training, until the budget is used; then validate and export. Returns what was measured."""
    keep_freed_memory()
    device = pick_device(options.device)
    names = read_classes(options.classes)
    size, context = model_cfg["vision_cfg"]["image_size"], model_cfg["text_cfg"]["context_length"]
    log = Log(options.work / LOG, say)
    data = load_images(options.data, list(names), size, options.work / "cache")
    validation = load_images(options.validation, list(names), size, options.work / "cache") if options.validation else None
    if device.type == "cuda":  # small enough to stay there whole, and then no step waits for the disk
        data = ImageArray(data.images.to(device), data.labels, data.ids)
    task = make_task(data, names, context)
    state = open_state(options, recipe, model_cfg, task, device)
    state.notes |= {"hardware": hardware(device), "images": len(data.labels)}
    budget = make_budget(options, state.seconds)
    log.write("start", step=state.step, passes=state.passes, images=len(data.labels), seconds=round(state.seconds), budget=str(budget))
    train(state, task, budget, validation, options, device, log)

    facts: dict[str, Any] = {}
    if validation is not None:
        facts["val_top1"] = round(zero_shot_top1(state.average, validation, task.classes, device, options.precision), 2)
        facts["val_images"] = len(validation.labels)
    books = [book for book in (task.classes, task.superclasses) if book is not None]
    export_state(state, books, options.out, facts, images=data.images[:SCALE_IMAGES])
    log.write("finished", step=state.step, passes=state.passes, seconds=round(state.seconds), out=str(options.out), **facts)
    return facts


def train(
    state: TrainState,
    task: Task,
    budget: schedule.Budget,
    validation: ImageArray | None,
    options: RunOptions,
    device: torch.device,
    log: Log,
) -> None:
    """Run the loop; log, validate and save at their times. The last checkpoint is written before it returns."""
    start = time.monotonic() - state.seconds
    saved = validated = logged = time.monotonic()
    was_in_decay = schedule.in_decay(state.recipe, budget.progress(state.passes, state.seconds))
    loss = class_loss = images = 0.0
    count = 0
    for report in steps(state, task, budget, device, options.precision):
        now = time.monotonic()
        state.seconds = now - start
        progress = budget.progress(state.passes, state.seconds)
        loss, class_loss, images, count = loss + report.loss, class_loss + report.class_loss, images + report.images, count + 1
        if state.step % options.log_every == 0:
            log.write(
                "step",
                step=state.step,
                passes=state.passes,
                progress=round(progress, 4),
                loss=round(loss / count, 4),
                class_loss=round(class_loss / count, 4),
                images_per_second=round(images / (now - logged), 1),
                lr_factor=round(report.lr_factor, 4),
                logit_scale=round(float(state.model.logit_scale.detach().exp()), 2),
            )
            loss = class_loss = images = 0.0
            count, logged = 0, now
        # between two runs of the text tower there is a text in memory that a checkpoint would miss
        if state.step % state.recipe.text_every != 0:
            continue
        if not was_in_decay and schedule.in_decay(state.recipe, progress):
            was_in_decay = True
            save_state(state, options.work / BEFORE_DECAY)
        if now - saved >= options.checkpoint_every:
            save_state(state, options.work / LATEST)
            saved = now
        if validation is not None and now - validated >= options.validate_every:
            top1 = zero_shot_top1(state.average, validation, task.classes, device, options.precision, options.validation_sample)
            log.write("validation", step=state.step, passes=state.passes, top1=round(top1, 2), images=options.validation_sample)
            validated = logged = time.monotonic()
            loss = class_loss = images = 0.0
            count = 0
    save_state(state, options.work / LATEST)


def hardware(device: torch.device) -> str:
    """What the run ran on, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} CPU threads ({platform.machine()})"
