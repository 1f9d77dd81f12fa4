"""Follows a background run on a terminal: a progress bar from its events, until it is over."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from blocklora.errors import TrainingError
from blocklora.services.runs import Runs
from blocklora.services.status import RunStatus
from blocklora.services.studio import duration

POLL_SECONDS = 0.25


@contextlib.contextmanager
def _bar(quiet: bool) -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[detail]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet) as progress:
        yield progress


def _detail(status: RunStatus) -> str:
    words = f"step {status.step} of {status.steps}" if status.steps else ""
    if status.held_out_curve:
        words += f", held-out {status.held_out_curve[-1][1]:.0%}"
    if status.eta:
        words += f", {duration(status.eta)} left"
    return words


def follow(runs: Runs, path: Path, quiet: bool) -> RunStatus:
    """Wait until a run is over. Ctrl-C asks it to stop and keep the best; a second Ctrl-C cancels.

    Raises:
        TrainingError: the run failed or was cancelled.
    """
    interrupts = 0
    with _bar(quiet) as progress:
        task = progress.add_task("Starting", total=1.0, detail="")
        while True:
            try:
                status = runs.status(path)
                progress.update(task, description=status.stage, completed=status.fraction, detail=_detail(status))
                if not status.busy:
                    break
                time.sleep(POLL_SECONDS)
            except KeyboardInterrupt:
                interrupts += 1
                (runs.stop if interrupts == 1 else runs.cancel)(path)
    if status.state == "cancelled":
        raise TrainingError("the run was cancelled.", "Start it again in another folder when you like.")
    if status.state == "failed":
        tail = f"\n{status.log_tail}" if status.log_tail else ""
        raise TrainingError(status.reason, status.advice + tail)
    return status
