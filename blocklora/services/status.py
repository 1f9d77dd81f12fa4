"""What a run looks like from outside: its events folded into one picture that a page can show."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from typing import Literal

from blocklora.jobs.events import (
    Caching,
    Cancelled,
    Downloading,
    Estimating,
    Evaluating,
    Event,
    ExportFailed,
    ExportFinished,
    ExportProgress,
    ExportStarted,
    Failed,
    Finished,
    FormFailed,
    FormFinished,
    FormProgress,
    FormStarted,
    Note,
    Prepared,
    Queued,
    Stamped,
    Started,
    Step,
    Validation,
)
from blocklora.jobs.run_folder import RunFolder

State = Literal["queued", "running", "finished", "failed", "cancelled"]
ExportState = Literal["none", "running", "done", "failed"]
CURVE_POINTS = 240
DIED = "Stopped unexpectedly"  # the stage of a run whose worker is gone


@dataclass(frozen=True)
class Making:
    """Something that is being made of the published ONNX file (`form`), or that was not made, and why."""

    form: str
    stage: str = "Starting"
    fraction: float = 0.0
    failed: bool = False
    reason: str = ""
    advice: str = ""


@dataclass(frozen=True)
class RunStatus:
    """One run, now. Times in seconds; `fraction` 0..1 is the share of the whole training done."""

    state: State = "queued"
    stage: str = "Waiting for its turn"
    fraction: float = 0.0
    eta: float | None = None
    step: int = 0
    steps: int = 0
    loss_curve: tuple[tuple[int, float], ...] = ()
    held_out_curve: tuple[tuple[int, float], ...] = ()
    held_out_n: int = 0
    best_step: int = 0
    learning_rate: float = 0.0
    images_per_second: float = 0.0
    device: str = ""
    class_weights_note: str = ""
    notes: tuple[str, ...] = ()
    reason: str = ""
    advice: str = ""
    started: float | None = None
    seconds: float = 0.0
    stopped_early: bool = False
    export: ExportState = "none"
    export_stage: str = ""
    export_fraction: float = 0.0
    export_reason: str = ""
    export_advice: str = ""
    making: Making | None = None
    resumable: bool = False
    log_tail: str = ""

    @property
    def busy(self) -> bool:
        """Whether something of this run is still going on."""
        return self.state in ("queued", "running") or self.exporting

    @property
    def exporting(self) -> bool:
        """Whether a worker makes the ONNX file or something of it."""
        return self.export == "running" or (self.making is not None and not self.making.failed)


@dataclass
class Folder:
    """Reads a run's events as they come and keeps what has been folded so far. Several pages ask at once: one reads at a time."""

    run: RunFolder
    offset: int = 0
    status: RunStatus = field(default_factory=RunStatus)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def read(self) -> RunStatus:
        """The status now, with the last word on whether the worker is alive."""
        with self.lock:
            events, self.offset = self.run.events(self.offset)
            for stamped in events:
                self.status = fold(self.status, stamped)
            return self._with_liveness()

    def _with_liveness(self) -> RunStatus:
        status = self.status
        if status.state == "running" and status.started:
            status = replace(status, seconds=time.time() - status.started)
        if status.busy and not self.run.alive():
            # The process may have written its last events between our reading and its end: look once more.
            events, self.offset = self.run.events(self.offset)
            for stamped in events:
                self.status = status = fold(self.status, stamped)
            if status.state in ("queued", "running"):
                status = replace(
                    status,
                    state="failed",
                    stage=DIED,
                    reason="The training process ended without a word: it was killed, or the machine went down.",
                    advice="Nothing up to the last checkpoint is lost. Resume goes on from there."
                    if self.run.checkpoint_path.exists()
                    else "There is no checkpoint yet, so trying again begins anew.",
                )
            elif status.export == "running":
                status = replace(
                    status, export="failed", export_reason="The export process ended without a word.", export_advice="Export again."
                )
            elif status.making is not None and not status.making.failed:
                ended = replace(status.making, failed=True, reason="The process ended without a word.", advice="Try again.")
                status = replace(status, making=ended)
        if status.state == "failed":
            status = replace(status, resumable=True, log_tail=self.run.log_tail())
        return status


def _thin(curve: tuple[tuple[int, float], ...]) -> tuple[tuple[int, float], ...]:
    """At most CURVE_POINTS points: every second one is dropped when there are more, the newest is kept."""
    return curve if len(curve) <= CURVE_POINTS else (*curve[:-1:2], curve[-1])


def fold(status: RunStatus, stamped: Stamped) -> RunStatus:
    """`status` after one more event."""
    event: Event = stamped.event
    match event:
        case Queued():
            return replace(status, state="queued", stage="Waiting for its turn", reason="", advice="", export="none")
        case Started(resumed_at=step):
            stage = "Getting ready" if not step else f"Going on from step {step}"
            return replace(status, state="running", stage=stage, started=stamped.time, reason="", advice="", eta=None)
        case Downloading(name=name, done=done, total=total):
            return replace(status, stage=f"Downloading {name}: {done / 2**20:.0f} of {total / 2**20:.0f} MB")
        case Caching(done=done, total=total, views=views):
            what = "views" if views else "the images"
            return replace(status, stage=f"Looking at {what}: {done} of {total}")
        case Prepared():
            return replace(
                status,
                stage="Training",
                steps=event.steps,
                device=event.device,
                held_out_n=event.held_out_images,
                class_weights_note=event.note,
            )
        case Step():
            return replace(
                status,
                stage="Training",
                step=event.step,
                steps=event.steps,
                fraction=event.step / max(1, event.steps),
                eta=event.eta,
                learning_rate=event.learning_rate,
                images_per_second=event.images_per_second,
                loss_curve=_thin((*(p for p in status.loss_curve if p[0] < event.step), (event.step, event.loss))),
            )
        case Validation():
            point = (event.step, event.correct / event.n if event.n else 0.0)
            curve = _thin((*(p for p in status.held_out_curve if p[0] < event.step), point))
            return replace(status, held_out_curve=curve, held_out_n=event.n, best_step=event.step if event.best else status.best_step)
        case Note(message=message):
            return replace(status, notes=(*(n for n in status.notes if n != message), message)[-8:])
        case Evaluating():
            return replace(status, stage="Measuring the best version", eta=None)
        case Estimating(part=part, parts=parts, eta=eta):
            stage = f"Judging every image by a model that has not seen it: part {part} of {parts}"
            return replace(status, stage=stage, eta=eta)
        case Finished(seconds=seconds, stopped_early=early):
            return replace(status, state="finished", stage="Finished", fraction=1.0, eta=None, seconds=seconds, stopped_early=early)
        case Failed(reason=reason, advice=advice):
            return replace(status, state="failed", stage="Failed", eta=None, reason=reason, advice=advice)
        case Cancelled() if status.state == "finished":
            # The training was over: only what was being made is gone.
            if status.making is not None and not status.making.failed:
                return replace(status, making=None)
            return replace(status, export="none", export_stage="Cancelled")
        case Cancelled():
            return replace(status, state="cancelled", stage="Cancelled", eta=None)
        case ExportStarted():
            return replace(status, export="running", export_stage="Starting", export_fraction=0.0, export_reason="", export_advice="")
        case ExportProgress(stage=stage, fraction=fraction):
            return replace(status, export="running", export_stage=stage, export_fraction=fraction)
        case ExportFinished():
            return replace(status, export="done", export_stage="Ready", export_fraction=1.0)
        case ExportFailed(reason=reason, advice=advice):
            return replace(status, export="failed", export_stage="Failed", export_reason=reason, export_advice=advice)
        case FormStarted(form=form):
            return replace(status, making=Making(form))
        case FormProgress(form=form, stage=stage, fraction=fraction):
            return replace(status, making=Making(form, stage, fraction))
        case FormFinished():
            return replace(status, making=None)
        case FormFailed(form=form, reason=reason, advice=advice):
            return replace(status, making=Making(form, "Failed", failed=True, reason=reason, advice=advice))
    return status
