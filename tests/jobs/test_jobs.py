"""Run folders, events, liveness and turns, with real processes where the operating system decides."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from blocklora.config import AdapterConfig, TrainingConfig
from blocklora.errors import JobError
from blocklora.files import read_json, write_json
from blocklora.jobs.devices import devices, resolve
from blocklora.jobs.events import KINDS, EventWriter, Failed, Note, Step, Validation, read_events
from blocklora.jobs.liveness import alive, beat
from blocklora.jobs.run_folder import STOP, RunFolder
from blocklora.jobs.spec import RunSpec
from blocklora.jobs.turns import Turns
from blocklora.training.worker import Watcher


def test_events_come_back_as_they_were(tmp_path: Path) -> None:
    say = EventWriter(tmp_path / "events.jsonl")
    written = [Note("größe ✓"), Step(3, 10, 0.5, 1e-4, 99.0, 7.0), Validation(3, 4, 5, 0.1, True), Failed("r", "a")]
    for event in written:
        say(event)
    events, offset = read_events(say.path)
    assert [stamped.event for stamped in events] == written
    say(Note("later"))
    more, _ = read_events(say.path, offset)
    assert [stamped.event for stamped in more] == [Note("later")]


def test_a_stump_of_a_killed_writer_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    EventWriter(path)(Note("whole"))
    with path.open("ab") as stream:
        stream.write(b'{"time": 1, "type": "no')
    events, offset = read_events(path)
    assert len(events) == 1 and offset < path.stat().st_size  # the stump may still be being written
    EventWriter(path)(Note("next"))
    assert [stamped.event for stamped in read_events(path)[0]] == [Note("whole"), Note("next")]


def test_unknown_kinds_of_a_newer_version_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"time": 1, "type": "novelty", "x": 1}\n{"time": 2, "type": "note", "message": "m", "extra": 1}\n[]\n')
    assert read_events(path)[0] == []
    assert len(KINDS) == len({kind.type for kind in KINDS.values()})


def test_liveness_follows_the_process(tmp_path: Path) -> None:
    path = tmp_path / "heartbeat.json"
    assert not alive(path)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    beat(path, child.pid)
    assert alive(path)
    child.kill()
    # Not waited for: the child is a zombie now, which is dead enough.
    deadline = time.monotonic() + 5
    while alive(path):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.wait()
    assert child.stdin is not None
    child.stdin.close()


def test_a_reused_process_id_is_not_alive(tmp_path: Path) -> None:
    path = tmp_path / "heartbeat.json"
    beat(path)
    assert alive(path)
    write_json(path, {"pid": os.getpid(), "created": 1.0, "host": "elsewhere", "time": 0})
    assert not alive(path)
    import platform

    write_json(path, {"pid": os.getpid(), "created": 1.0, "host": platform.node(), "time": 0})
    assert not alive(path)
    write_json(path, {"pid": "x"})
    assert not alive(path)


def living_run(folder: Path) -> RunFolder:
    folder.mkdir()
    run = RunFolder(folder)
    beat(run.heartbeat_path)
    return run


def test_one_at_a_time_in_the_order_people_chose(tmp_path: Path) -> None:
    runs = [living_run(tmp_path / name) for name in "abc"]
    turns = Turns(tmp_path / "home", "cpu")
    for run in runs:
        turns.enter(run)
    turns.move(runs[2], 0)
    assert [p.name for p in turns.waiting()] == ["c", "a", "b"]
    slot = turns.take(runs[2], lambda: False)
    assert slot is not None
    assert [p.name for p in turns.waiting()] == ["a", "b"]
    got: list[str] = []

    def wait(run: RunFolder) -> None:
        held = Turns(tmp_path / "home", "cpu").take(run, lambda: False)
        assert held is not None
        got.append(run.name)
        held.release()

    threads = [threading.Thread(target=wait, args=(run,)) for run in (runs[1], runs[0])]
    for thread in threads:
        thread.start()
    time.sleep(0.5)  # both are waiting for the slot that this thread holds
    assert got == []
    slot.release()
    for thread in threads:
        thread.join(10)
    assert got == ["a", "b"]


def test_waiting_can_be_given_up_and_dead_runs_do_not_block(tmp_path: Path) -> None:
    turns = Turns(tmp_path / "home", "cpu")
    dead = tmp_path / "dead"
    dead.mkdir()
    write_json(tmp_path / "home" / "queue" / "cpu.json", [str(dead)])
    run = living_run(tmp_path / "a")
    turns.enter(run)
    assert turns.waiting() == [run.path]
    assert turns.take(run, lambda: True) is None
    assert turns.waiting() == []


def test_a_killed_worker_gives_its_turn_back(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from blocklora.jobs.turns import Turns; from blocklora.jobs.run_folder import RunFolder;"
        "from blocklora.jobs.liveness import beat\n"
        "run = RunFolder(pathlib.Path(sys.argv[2])); run.path.mkdir(); beat(run.heartbeat_path)\n"
        "t = Turns(pathlib.Path(sys.argv[1]), 'cpu'); t.enter(run); s = t.take(run, lambda: False); print('held', flush=True); input()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "home"), str(tmp_path / "a")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None and child.stdin is not None
    assert child.stdout.readline() == b"held\n"
    run, turns = living_run(tmp_path / "b"), Turns(tmp_path / "home", "cpu")
    turns.enter(run)
    began = time.monotonic()
    assert turns.take(run, lambda: time.monotonic() - began > 0.5) is None
    child.kill()
    child.wait()
    child.stdout.close()
    child.stdin.close()
    turns.enter(run)
    assert turns.take(run, lambda: time.monotonic() - began > 20) is not None


def test_a_wish_is_heard_after_a_hiccup_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class End(Exception):
        pass

    run = RunFolder(tmp_path / "run")
    run.control_path.mkdir(parents=True)  # can be neither read nor written as a file
    run.heartbeat_path.mkdir()
    watcher, wishes = Watcher(run, run.writer()), []
    watcher.trained = True
    watcher.control = SimpleNamespace(stop=lambda: wishes.append("stop"))  # type: ignore[assignment]
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 1:
            run.control_path.rmdir()
        elif len(slept) == 2:
            write_json(run.control_path, {"action": STOP})
        elif len(slept) == 4:
            raise End

    monkeypatch.setattr("blocklora.training.worker.time.sleep", sleep)
    with pytest.raises(End):
        watcher.run()
    assert wishes == ["stop"] and run.heartbeat_path.is_dir()


def test_a_file_that_somebody_reads_is_replaced_when_they_are_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, where that is refused meanwhile."""
    path, tries = tmp_path / "file.json", []
    real = Path.replace

    def replace_(self: Path, target: Path) -> Path:
        tries.append(target)
        if len(tries) < 3:
            raise PermissionError(13, "in use")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace_)
    with pytest.raises(PermissionError):  # where a refusal means what it says
        write_json(path, 1)
    tries.clear()
    monkeypatch.setattr("blocklora.files.WAITS", (0.0, 0.0, 0.0))
    write_json(path, 2)
    assert read_json(path) == 2 and len(tries) == 3 and [entry.name for entry in tmp_path.iterdir()] == ["file.json"]


def test_specification_round_trip_and_refusal() -> None:
    spec = RunSpec("builtin", "/home", AdapterConfig(rank=4, blocks=2), TrainingConfig(templates=("a {}",)), then=("exporters.worker",))
    assert RunSpec.from_dict(spec.to_dict()) == spec
    with pytest.raises(JobError, match="format 99"):
        RunSpec.from_dict({**spec.to_dict(), "format": 99})


def test_a_run_belongs_where_it_lies(tmp_path: Path) -> None:
    """A project that was copied by hand, or a data home that was moved: what the run says of its place is no longer true."""
    spec = RunSpec("builtin", "/old/home", project_id="first", then=("exporters.worker",))
    run = RunFolder(tmp_path / "projects" / "first copy" / "runs" / "r")
    write_json(run.spec_path, spec.to_dict())
    found = RunSpec.from_dict(run.spec())
    assert found == replace(spec, home=str(tmp_path), project_id="first copy")
    old = tmp_path / "old"
    old.mkdir()
    still = replace(spec, home=str(old))  # whose home is there: a copy of its projects elsewhere is no home
    write_json(run.spec_path, still.to_dict())
    assert RunSpec.from_dict(run.spec()) == still
    (tmp_path / "queue").mkdir()  # until a studio has been at work in it
    assert RunSpec.from_dict(run.spec()) == found
    elsewhere = RunFolder(tmp_path / "first" / "runs" / "r")  # in no data home
    write_json(elsewhere.spec_path, spec.to_dict())
    assert RunSpec.from_dict(elsewhere.spec()) == spec
    write_json(run.spec_path, replace(spec, project_id="").to_dict())  # of the command line: its home is not where its output lies
    assert run.spec()["home"] == "/old/home"


def test_a_run_from_before_a_setting_is_done_again_as_it_was() -> None:
    spec = RunSpec("builtin", "/home")
    values = spec.to_dict()
    assert values["training"].pop("rotations") == "auto"
    assert RunSpec.from_dict(values).training == replace(spec.training, rotations="no")


def test_the_log_tail_is_the_end(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert run.log_tail() == ""
    run.log_path.write_text("\n".join(map(str, range(5000))))
    assert run.log_tail(2) == "4998\n4999"


def test_this_machine_has_a_device() -> None:
    assert devices()[-1].kind == "cpu" and devices()[-1].memory > 2**28
    assert resolve("cpu") == "cpu" and resolve("auto") == devices()[0].kind
    assert "GB" in devices()[0].line()
