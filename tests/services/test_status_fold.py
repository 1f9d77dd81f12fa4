"""Events folded into a status: every ending, and what a late or dead worker looks like."""

from __future__ import annotations

from pathlib import Path

from blocklora.jobs.events import (
    Caching,
    Cancelled,
    Evaluating,
    Event,
    ExportFailed,
    ExportFinished,
    ExportStarted,
    Failed,
    Finished,
    Note,
    Prepared,
    Queued,
    Stamped,
    Started,
    Step,
    Validation,
)
from blocklora.jobs.liveness import beat
from blocklora.jobs.run_folder import RunFolder
from blocklora.services.status import CURVE_POINTS, Folder, RunStatus, fold

PREPARED = Prepared("CPU, 2 threads", "fp32", 100, 30, 8, 1234, "images", "learned from images")


def folded(*events: Event) -> RunStatus:
    status = RunStatus()
    for number, event in enumerate(events):
        status = fold(status, Stamped(float(number), event))
    return status


def test_a_run_from_start_to_end() -> None:
    status = folded(Queued("cpu"), Started(), Caching(3, 10))
    assert (status.state, status.stage) == ("running", "Looking at the images: 3 of 10")
    status = folded(Queued("cpu"), Started(), Caching(10, 10), Caching(3, 10, views=True))
    assert status.stage == "Looking at views: 3 of 10"
    status = folded(Queued("cpu"), Started(), PREPARED, Step(25, 100, 0.5, 1e-4, 40.0, 9.0), Validation(25, 6, 8, 0.4, True))
    assert (status.fraction, status.eta, status.held_out_curve, status.best_step) == (0.25, 9.0, ((25, 0.75),), 25)
    assert status.class_weights_note == "learned from images"
    status = folded(Started(), PREPARED, Evaluating(25), Finished(12.0, True), ExportStarted())
    assert (status.state, status.seconds, status.stopped_early, status.export, status.busy) == ("finished", 12.0, True, "running", True)
    assert not folded(Started(), Finished(1.0), ExportStarted(), ExportFinished(10, 1.0)).busy


def test_endings() -> None:
    failed = folded(Started(), Failed("no memory", "smaller"))
    assert (failed.state, failed.reason, failed.advice) == ("failed", "no memory", "smaller")
    assert folded(Queued("cpu"), Cancelled()).state == "cancelled"
    kept = folded(Started(), Finished(1.0), ExportStarted(), Cancelled())
    assert (kept.state, kept.export) == ("finished", "none")
    gate = folded(Started(), Finished(1.0), ExportStarted(), ExportFailed("image 3 is off", "train again"))
    assert (gate.state, gate.export, gate.export_reason) == ("finished", "failed", "image 3 is off")


def test_a_resumed_run_redraws_its_curve_from_where_it_went_on() -> None:
    before = (Step(10, 100, 1.0, 1e-4, 1, 1), Step(20, 100, 0.9, 1e-4, 1, 1), Validation(20, 1, 8, 1.0, True))
    status = folded(Started(), *before, Started(10), Step(15, 100, 0.8, 1e-4, 1, 1), Validation(15, 2, 8, 1.0, True))
    assert status.loss_curve == ((10, 1.0), (15, 0.8))
    assert status.held_out_curve == ((15, 0.25),)
    assert status.reason == ""


def test_long_runs_keep_a_curve_of_bounded_length_with_its_newest_point() -> None:
    status = folded(*(Step(i, 5000, float(i), 1e-4, 1, 1) for i in range(5000)))
    assert len(status.loss_curve) <= CURVE_POINTS
    assert status.loss_curve[-1] == (4999, 4999.0)
    assert [p[0] for p in status.loss_curve] == sorted({p[0] for p in status.loss_curve})


def test_the_same_note_is_shown_once() -> None:
    assert folded(Note("a"), Note("b"), Note("a")).notes == ("b", "a")


def test_a_run_without_a_process_is_failed_and_one_with_is_not(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.writer()(Started())
    dead = Folder(run).read()
    assert dead.state == "failed" and dead.resumable and "begins anew" in dead.advice and "Resume" not in dead.advice
    run.checkpoint_path.touch()
    assert "Resume goes on from there" in Folder(run).read().advice
    run.checkpoint_path.unlink()
    beat(run.heartbeat_path)
    assert Folder(run).read().state == "running"
