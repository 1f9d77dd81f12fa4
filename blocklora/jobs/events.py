"""What a worker says while it works: typed events, one JSON object a line, appended to a file."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar


@dataclass(frozen=True)
class Event:
    """Something that happened in a run. `type` is the word written to the file."""

    type: ClassVar[str] = "event"


@dataclass(frozen=True)
class Queued(Event):
    """The run waits for its device."""

    type: ClassVar[str] = "queued"
    device: str


@dataclass(frozen=True)
class Started(Event):
    """The worker has its turn. `resumed_at` is the step a resumed run goes on from, 0 for a fresh one."""

    type: ClassVar[str] = "started"
    resumed_at: int = 0


@dataclass(frozen=True)
class Downloading(Event):
    """A backbone is being fetched; sizes in bytes."""

    type: ClassVar[str] = "downloading"
    name: str
    done: int
    total: int


@dataclass(frozen=True)
class Caching(Event):
    """Pictures are being decoded and looked at once; `views`: random views of them are looked at."""

    type: ClassVar[str] = "caching"
    done: int
    total: int
    views: bool = False


@dataclass(frozen=True)
class Prepared(Event):
    """Everything before the first step is known."""

    type: ClassVar[str] = "prepared"
    device: str
    precision: str
    steps: int
    train_images: int
    held_out_images: int
    trainable_parameters: int
    class_weights: str
    note: str


@dataclass(frozen=True)
class Step(Event):
    """Progress of the optimiser; loss is the mean since the last such event, ETA in seconds."""

    type: ClassVar[str] = "step"
    step: int
    steps: int
    loss: float
    learning_rate: float
    images_per_second: float
    eta: float


@dataclass(frozen=True)
class Validation(Event):
    """The held-out images were looked at. `best` says whether this is the best so far."""

    type: ClassVar[str] = "validation"
    step: int
    correct: int
    n: int
    loss: float
    best: bool


@dataclass(frozen=True)
class Checkpoint(Event):
    """The run can be resumed from this step."""

    type: ClassVar[str] = "checkpoint"
    step: int


@dataclass(frozen=True)
class Note(Event):
    """Something a person should know: a cut prompt, a halved batch, an early stop."""

    type: ClassVar[str] = "note"
    message: str


@dataclass(frozen=True)
class Evaluating(Event):
    """Steps are over; the best adapters are being measured."""

    type: ClassVar[str] = "evaluating"
    step: int


@dataclass(frozen=True)
class Estimating(Event):
    """Each image is being judged by a model that has not seen it: part `part` of `parts`, `done` 0..1 of all that, ETA in seconds."""

    type: ClassVar[str] = "estimating"
    part: int
    parts: int
    done: float
    eta: float


@dataclass(frozen=True)
class Finished(Event):
    """Training is done; the adapter file and the result are in the folder."""

    type: ClassVar[str] = "finished"
    seconds: float
    stopped_early: bool = False


@dataclass(frozen=True)
class ExportStarted(Event):
    """The ONNX file is being made."""

    type: ClassVar[str] = "export_started"


@dataclass(frozen=True)
class ExportProgress(Event):
    """A stage of the export began; `fraction` is the share done, 0..1."""

    type: ClassVar[str] = "export_progress"
    stage: str
    fraction: float


@dataclass(frozen=True)
class ExportFinished(Event):
    """The ONNX file passed its gate and was published."""

    type: ClassVar[str] = "export_finished"
    size: int
    seconds: float


@dataclass(frozen=True)
class ExportFailed(Event):
    """Nothing was published."""

    type: ClassVar[str] = "export_failed"
    reason: str
    advice: str = ""


@dataclass(frozen=True)
class FormStarted(Event):
    """Something else is being made of the published ONNX file (see `blocklora.services.exported.FORMS`)."""

    type: ClassVar[str] = "form_started"
    form: str


@dataclass(frozen=True)
class FormProgress(Event):
    """A stage of it began; `fraction` is the share done, 0..1."""

    type: ClassVar[str] = "form_progress"
    form: str
    stage: str
    fraction: float


@dataclass(frozen=True)
class FormFinished(Event):
    """It is there."""

    type: ClassVar[str] = "form_finished"
    form: str
    seconds: float


@dataclass(frozen=True)
class FormFailed(Event):
    """It was not made; an earlier one stays."""

    type: ClassVar[str] = "form_failed"
    form: str
    reason: str
    advice: str = ""


@dataclass(frozen=True)
class Failed(Event):
    """The run cannot go on."""

    type: ClassVar[str] = "failed"
    reason: str
    advice: str = ""


@dataclass(frozen=True)
class Cancelled(Event):
    """A person ended the run; nothing of it is kept but its log."""

    type: ClassVar[str] = "cancelled"


def _subclasses(kind: type[Event]) -> Iterator[type[Event]]:
    for child in kind.__subclasses__():
        yield child
        yield from _subclasses(child)


KINDS: dict[str, type[Event]] = {kind.type: kind for kind in _subclasses(Event)}


@dataclass(frozen=True)
class Stamped:
    """An event with the time it was written, in seconds since 1970."""

    time: float
    event: Event


class EventWriter:
    """Appends events to a file; one line is one write, so a reader never sees two lines mixed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        # A worker killed in the middle of a line leaves a stump: end it, so that the next line is whole.
        if path.exists() and path.stat().st_size and not path.read_bytes().endswith(b"\n"):
            with path.open("ab") as stream:
                stream.write(b"\n")

    def __call__(self, event: Event) -> None:
        line = json.dumps({"time": time.time(), "type": event.type, **dataclasses.asdict(event)}, ensure_ascii=False)
        with self.path.open("ab") as stream:
            stream.write(line.encode("utf-8") + b"\n")


def parse(line: bytes | str) -> Stamped | None:
    """The event in one line, or None for a stump or a kind this version does not know."""
    try:
        values: dict[str, Any] = json.loads(line)
        kind = KINDS[values.pop("type")]
        stamp = float(values.pop("time"))
        return Stamped(stamp, kind(**values))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def read_events(path: Path, offset: int = 0) -> tuple[list[Stamped], int]:
    """The events from byte `offset` on, and the offset after the last whole line (to go on reading from)."""
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            data = stream.read()
    except FileNotFoundError:
        return [], offset
    whole = data.rfind(b"\n") + 1
    events = [stamped for line in data[:whole].splitlines() if (stamped := parse(line)) is not None]
    return events, offset + whole
