"""Backbones of a data home: real workers that fetch from a hub on this machine, and what is said of them meanwhile."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from blocklora.clip.catalog import folder_of
from blocklora.clip.download import lock_of, partial_folder
from blocklora.clip.fetching import DONE, FAILED, RUNNING, STOPPED, Fetch, read_fetch, state_path, write_fetch
from blocklora.errors import BackboneError
from blocklora.jobs.launcher import LocalLauncher
from blocklora.services.backbones import Backbones
from blocklora.speeds import Speed, remember

sys.path.append(str(Path(__file__).parents[1] / "clip"))
from hub_server import Hub

NAME = "ViT-L-14"  # of its weights only the hub knows the hash, so a hub of our own can serve others
FILES = {"open_clip_model.safetensors": bytes(300_000), "open_clip_config.json": b"{}"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub(dict(FILES)) as made:
        monkeypatch.setenv("HF_ENDPOINT", made.address)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        yield made


@pytest.fixture
def backbones(tmp_path: Path) -> Backbones:
    return Backbones(tmp_path, LocalLauncher())


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def state(backbones: Backbones) -> str:
    fetch = read_fetch(backbones.home, NAME)
    return fetch.state if fetch is not None else ""


def test_a_download_goes_on_in_the_background_and_ends_with_a_backbone(hub: Hub, backbones: Backbones) -> None:
    assert not backbones.is_here(NAME) and "is not on this machine" in backbones.missing(NAME)
    backbones.fetch(NAME)
    with pytest.raises(BackboneError, match="being fetched already"):
        backbones.fetch(NAME)
    wait_for(lambda: state(backbones) == DONE)
    assert backbones.is_here(NAME) and not backbones.missing(NAME)
    assert backbones.fetch_of(NAME) is None and not backbones.fetching()


def test_a_cancelled_download_is_kept_and_goes_on_later(hub: Hub, backbones: Backbones) -> None:
    hub.delay = 0.1
    backbones.fetch(NAME)
    wait_for(lambda: (read_fetch(backbones.home, NAME) or Fetch(NAME)).done > 20_000)
    assert [fetch.name for fetch in backbones.fetching()] == [NAME]
    backbones.stop(NAME)
    stopped = backbones.fetch_of(NAME)
    assert stopped is not None and stopped.state == STOPPED and 8_000 < stopped.done < stopped.total
    assert not backbones.is_here(NAME)
    hub.delay = 0.0
    backbones.fetch(NAME)
    going_on = read_fetch(backbones.home, NAME)
    assert going_on is not None and going_on.done >= stopped.done
    wait_for(lambda: state(backbones) == DONE)
    assert hub.fetched("open_clip_model.safetensors")[-1].startswith("bytes=")
    assert backbones.is_here(NAME)


def test_what_has_arrived_can_be_thrown_away(hub: Hub, backbones: Backbones) -> None:
    hub.delay = 0.1
    backbones.fetch(NAME)
    wait_for(lambda: (read_fetch(backbones.home, NAME) or Fetch(NAME)).done > 8_000)
    backbones.discard(NAME)
    assert backbones.fetch_of(NAME) is None
    assert [path.name for path in (backbones.home / "backbones").iterdir() if not path.name.endswith(".lock")] == []


def test_a_failure_says_why_and_what_to_do(hub: Hub, backbones: Backbones) -> None:
    hub.status = 503
    backbones.fetch(NAME)
    wait_for(lambda: state(backbones) == FAILED)
    failed = backbones.fetch_of(NAME)
    assert failed is not None and "could not be fetched" in failed.message
    assert str(backbones.home / "backbones" / NAME) in failed.advice


def test_a_local_file_of_another_model_is_refused_by_the_worker(backbones: Backbones, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"no")
    backbones.fetch(NAME, str(tmp_path / "x.safetensors"))
    wait_for(lambda: state(backbones) == FAILED)
    failed = backbones.fetch_of(NAME)
    assert failed is not None and "cannot be read as safetensors" in failed.message


def test_a_worker_that_died_counts_as_stopped(backbones: Backbones) -> None:
    write_fetch(backbones.home, Fetch(NAME, RUNNING, done=5, total=10, speed=3.0))
    part = partial_folder(folder_of(NAME, backbones.home)) / "open_clip_model.safetensors.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"1234567")  # it died before it could say so
    dead = backbones.fetch_of(NAME)
    assert dead is not None and dead.state == STOPPED and dead.speed == 0 and dead.done == 7
    state_path(backbones.home, NAME).write_text('{"unknown": 1}', encoding="utf-8")
    assert backbones.fetch_of(NAME) is None


def test_what_is_missing_is_named(backbones: Backbones) -> None:
    assert backbones.missing("builtin") == ""
    assert "“mine”" in backbones.missing("mine") and str(backbones.home) in backbones.missing("mine")
    with pytest.raises(BackboneError, match="no backbone 'mine'"):
        backbones.fetch("mine")


@pytest.mark.parametrize("name", ["../../victim/precious", "/tmp/victim", "mine", ""])
def test_only_known_names_can_be_stopped_or_thrown_away(backbones: Backbones, tmp_path: Path, name: str) -> None:
    for act in (backbones.stop, backbones.discard, backbones.fetch):
        with pytest.raises(BackboneError, match="There is no backbone"):
            act(name)


def test_two_windows_that_press_at_once_start_one_worker(tmp_path: Path) -> None:
    started: list[str] = []

    class Slow:
        def launch(self, module: str, run: object, *arguments: str) -> int:
            raise NotImplementedError

        def call(self, module: str, arguments: list[str], log: Path) -> int:
            time.sleep(0.2)
            started.append(module)
            return os.getpid()

    backbones, refused = Backbones(tmp_path, Slow()), []

    def press() -> None:
        try:
            backbones.fetch(NAME)
        except BackboneError as error:
            refused.append(error)

    threads = [threading.Thread(target=press) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(started) == 1 and len(refused) == 2


def test_what_another_program_fetches_is_not_thrown_away(backbones: Backbones) -> None:
    folder = backbones.home / "backbones" / NAME
    partial_folder(folder).mkdir(parents=True)
    with lock_of(folder), pytest.raises(BackboneError, match="Another program is fetching"):
        backbones.discard(NAME)
    assert partial_folder(folder).exists()
    backbones.discard(NAME)
    assert not partial_folder(folder).exists()


def test_speed_is_told_once_it_is_known(backbones: Backbones) -> None:
    assert backbones.speed("builtin") is None
    remember(backbones.home, "cpu", "builtin", Speed(1.0, 0.01, 0.02, 5.0))
    assert backbones.speed("builtin") == pytest.approx(50)
