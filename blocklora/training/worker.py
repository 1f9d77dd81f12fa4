"""The background worker: `python -m blocklora.training.worker RUN_DIR`.

It waits for its turn without torch, then trains, writes the adapter file and the result, and starts what follows (the export).
Everything it has to say goes into the run folder; it has no other connection to whoever started it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from blocklora.errors import StudioError
from blocklora.files import write_json
from blocklora.jobs.events import Cancelled, Event, EventWriter, Failed, Finished, Note, Prepared, Queued, Started, Step
from blocklora.jobs.events import Checkpoint as CheckpointSaid
from blocklora.jobs.liveness import beat
from blocklora.jobs.run_folder import CANCEL, STOP, RunFolder
from blocklora.jobs.spec import RunSpec
from blocklora.jobs.turns import Turns
from blocklora.plan import share_of
from blocklora.speeds import Stopwatch, recall, recall_depth, remember

if TYPE_CHECKING:
    from blocklora.training.control import Control
    from blocklora.training.evaluate import Measured
    from blocklora.training.setup import Setup
    from blocklora.training.state import State

Said = TypeVar("Said")
Value = TypeVar("Value")

WATCH_SECONDS = 0.2
BEAT_SECONDS = 2.0


class Watcher(threading.Thread):
    """Keeps the heartbeat, and brings a person's wish to stop or cancel to whatever is running.

    `trained` says whether there is something to keep: before the first step, Stop ends the run as Cancel does.
    """

    def __init__(self, run: RunFolder, say: EventWriter) -> None:
        super().__init__(daemon=True)
        self._run, self._say = run, say
        self.control: Control | None = None
        self.trained = False
        self.follower: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self._beaten = float("-inf")

    def run(self) -> None:
        while True:
            # A full disk, or a hiccup of a home on the network, passes; a thread that ended by it would leave every later wish unheard.
            with suppress(OSError, ValueError):
                self.look()
            time.sleep(WATCH_SECONDS)

    def look(self) -> None:
        """Once: beat where it is time to, and do what is wished."""
        wish = self._run.requested()
        if wish == CANCEL:
            self._cancel()
        elif wish == STOP and not self.trained:
            self._cancel(Note("Stopped before the first step: there was nothing to keep."))
        elif wish == STOP and self.control is not None and not self._stopped:
            self._stopped = True
            self.control.stop()
        if time.monotonic() - self._beaten > BEAT_SECONDS:
            beat(self._run.heartbeat_path)
            self._beaten = time.monotonic()

    def _cancel(self, *first: Event) -> None:
        """End at once: nothing that a cancelled run was doing is kept, and every file it publishes is written atomically."""
        if self.follower is not None:
            self.follower.kill()
        with suppress(OSError):  # a full disk keeps nobody from ending it
            for event in (*first, Cancelled()):
                self._say(event)
        os._exit(0)


def _relay(work: Generator[Said, None, Value], tell: Callable[[Said], None]) -> Value:
    """Do what a generator does, handing each thing that it yields to `tell`; what it returns."""
    while True:
        try:
            tell(next(work))
        except StopIteration as done:
            value: Value = done.value
            return value


def _train(run: RunFolder, spec: RunSpec, say: EventWriter, watcher: Watcher, stopwatch: Stopwatch) -> None:
    """Train, or go on from the checkpoint, and write down what came of it."""
    import torch

    from blocklora.training.checkpoint import load_checkpoint, save_checkpoint
    from blocklora.training.control import Control
    from blocklora.training.data import Data
    from blocklora.training.device import choose
    from blocklora.training.environment import write_environment
    from blocklora.training.going_on import Start
    from blocklora.training.loop import train
    from blocklora.training.retrain import finish
    from blocklora.training.setup import prepare
    from blocklora.training.state import Snapshot, start_state

    began = time.time()
    torch.manual_seed(spec.training.seed)
    compute = choose(spec.device, spec.training.precision, lambda message: say(Note(message)))
    write_environment(run, compute)
    snapshot = load_checkpoint(run.checkpoint_path)
    watcher.trained = snapshot is not None
    say(Started(0 if snapshot is None else snapshot.progress.step))
    control = Control()
    data = Data.read(run.dataset_path)
    start = Start.read(run.path)

    def tell(event: Event) -> None:
        stopwatch.hear(event)
        say(event)

    setup = _relay(prepare(spec, data, compute, control, run.path, None if snapshot is None else snapshot.choice, start), tell)
    state = start_state(setup)
    if snapshot is not None:
        state.restore(snapshot)
    watcher.control, watcher.trained = control, True
    whole, piece = spec.training.batch_size, state.progress.micro_batch
    if piece < whole:
        say(Note(f"Memory is short: steps of {whole} images go through the model in pieces of {piece}, a little slower."))
    steps, planned = spec.training.steps, spec.training.steps_planned
    trainable = sum(parameter.numel() for parameter in state.named.values())
    mode = setup.choice.mode
    counts = (len(setup.cache), len(setup.held_out), trainable)
    say(Prepared(compute.memory_line(), compute.precision, planned, *counts, mode, setup.choice.note))

    def keep_or_tell(item: Event | Snapshot) -> None:
        if isinstance(item, Snapshot):
            save_checkpoint(run.checkpoint_path, item)
            say(CheckpointSaid(item.progress.step))
        else:
            tell(item)

    early = _relay(train(setup, state, steps, control, planned - steps), keep_or_tell)
    save_checkpoint(run.checkpoint_path, state.snapshot())  # what follows begins here again, should it be interrupted
    measured = _relay(
        finish(setup, state, control, go_on=run.requested() is None), lambda event: tell(event) if isinstance(event, Step) else say(event)
    )
    watcher.control = None  # there is nothing left to stop
    seconds = (0.0 if snapshot is None else snapshot.progress.seconds) + time.time() - began
    if start is not None:
        measured.result["since"] = start.since(measured.result["held_out"], data.dataset)
    _write(run, setup, state, measured, early, seconds)
    run.checkpoint_path.unlink(missing_ok=True)
    say(Finished(seconds, early))


def _write(run: RunFolder, setup: Setup, state: State, measured: Measured, early: bool, seconds: float) -> None:
    """The result and the adapter file of the version that is kept; the result last, since it says that the run is complete."""
    from blocklora.training.publish import publish_adapter

    result = {
        **measured.result,
        "seconds": seconds,
        "steps": setup.spec.training.steps,
        "steps_done": state.progress.step,
        "best_step": state.progress.best_step,
        "stopped_early": early,
        "device": setup.compute.memory_line(),
        "precision": setup.compute.precision,
        "train_n": len(setup.cache),
        "discriminant": setup.choice.discriminant > 0,
        "class_names": list(setup.data.dataset.class_names),
        "class_ids": list(setup.data.dataset.class_ids),
        "backbone": setup.spec.backbone,
        "preset": setup.spec.training.preset,
        "data_hash": setup.spec.data_hash,
    }
    result["adapter_bytes"], result["trainable_parameters"] = publish_adapter(run, setup, measured)
    write_json(run.result_path, result)


def _follow(run: RunFolder, modules: tuple[str, ...], watcher: Watcher) -> None:
    """Run what comes after training, one after the other, each in a process of its own."""
    for module in modules:
        watcher.follower = subprocess.Popen([sys.executable, "-m", module, str(run.path)], stdin=subprocess.DEVNULL)
        watcher.follower.wait()
        watcher.follower = None


def work(run: RunFolder) -> int:
    """The whole life of a worker; returns the exit code."""
    say = run.writer()
    watcher = Watcher(run, say)
    beat(run.heartbeat_path)
    watcher.start()
    try:
        spec = RunSpec.from_dict(run.spec())
        turns = Turns(Path(spec.home), spec.device)
        say(Queued(spec.device))
        turns.enter(run)
        slot = turns.take(run, give_up=lambda: run.requested() is not None)
        if slot is None:
            say(Cancelled())
            return 0
        with slot:
            stopwatch = Stopwatch()
            result = run.result()
            if result is None:
                _train(run, spec, say, watcher, stopwatch)
            else:  # it died between its result and its last word, or what follows is to be done again
                watcher.trained = True
                say(Finished(result["seconds"], result["stopped_early"]))
            _follow(run, spec.then, watcher)
            known = recall(Path(spec.home), spec.device, spec.backbone)
            share = share_of(recall_depth(Path(spec.home), spec.backbone), spec.adapter)
            speed = stopwatch.speed(known, exported=bool(spec.then), share=share)
            if speed is not None:
                remember(Path(spec.home), spec.device, spec.backbone, speed)
        return 0
    except StudioError as error:
        print(error, file=sys.stderr)
        say(Failed(error.message, error.advice))
        return 1
    except Exception as error:
        traceback.print_exc()
        say(
            Failed(
                f"Something unexpected went wrong: {type(error).__name__}: {error}",
                "The log below has the details; Resume goes on from the last checkpoint.",
            )
        )
        return 1


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python -m blocklora.training.worker RUN_DIR", file=sys.stderr)
        return 2
    return work(RunFolder(Path(sys.argv[1]).resolve()))


if __name__ == "__main__":
    # Leave without tearing torch down: its threads can hold an exit up for seconds after everything has been written.
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
