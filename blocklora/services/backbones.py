"""Backbones as a person chooses them: which there are, which are being brought here, and how fast each is on this machine."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import replace
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from blocklora.clip.catalog import CAN_BE_DOWNLOADED, BackboneInfo, find, folder_of, is_present, known, list_backbones
from blocklora.clip.download import arrived_in, lock_of, partial_folder
from blocklora.clip.fetching import DONE, RUNNING, STOPPED, Fetch, heartbeat_path, log_path, read_fetch, state_path, write_fetch
from blocklora.errors import BackboneError
from blocklora.jobs.devices import resolve
from blocklora.jobs.launcher import Launcher
from blocklora.jobs.liveness import alive, beat, process_of
from blocklora.presets import is_builtin
from blocklora.speeds import recall

FETCH = "blocklora.clip.fetch"
PATIENCE = 3.0  # seconds that a process gets to end by itself


class Backbones:
    """The backbones of one data home. Fetching happens in a process of its own, which outlives the window."""

    def __init__(self, home: Path, launcher: Launcher) -> None:
        self.home, self._launcher = home, launcher

    def all(self) -> list[BackboneInfo]:
        """The backbones that can be chosen, and where each is."""
        return list_backbones(self.home)

    def find(self, name: str) -> BackboneInfo | None:
        """The entry of `name`, where the list has it."""
        return find(name, self.home)

    def is_here(self, name: str) -> bool:
        """Whether the backbone can be used at once."""
        return is_present(folder_of(name, self.home))

    def missing(self, name: str) -> str:
        """Why the backbone that a project remembers cannot be used, in a sentence; '' where it can."""
        if self.is_here(name):
            return ""
        info = known(name)
        if info is not None:
            return f"{info.title} is not on this machine."
        if is_builtin(name):
            return "The built-in backbone is missing; install the program again."
        return f"The backbone “{name}” is not on this machine: its two files are missing from {folder_of(name, self.home)}."

    def speed(self, name: str) -> float | None:
        """Images a second in training on this machine's best device, once it was measured."""
        measured = recall(self.home, resolve("auto"), name)
        return 1 / measured.step_image if measured is not None and measured.step_image > 0 else None

    # Fetching

    def _known(self, name: str) -> BackboneInfo:
        info = known(name)
        if info is None:
            raise BackboneError(f"There is no backbone {name!r} to fetch.", "Choose one of the list.")
        return info

    def _starting(self, name: str) -> FileLock:
        """Held while a worker is started: two windows may press at once."""
        (self.home / "backbones").mkdir(parents=True, exist_ok=True)
        return FileLock(self.home / "backbones" / f".{name}.start.lock")

    def fetch_of(self, name: str) -> Fetch | None:
        """The fetch of `name` that goes on or did not end well; None where there is nothing to tell."""
        fetch = read_fetch(self.home, name)
        if fetch is None or fetch.state == DONE:
            return None
        if fetch.state == RUNNING and not alive(heartbeat_path(self.home, name)):
            fetch = read_fetch(self.home, name) or fetch  # it may have ended well between the two looks
            if fetch.state == DONE:
                return None
            if fetch.state != RUNNING:
                return fetch
            return self._stopped(fetch)
        return fetch

    def _stopped(self, fetch: Fetch) -> Fetch:
        """A fetch whose worker is gone. Its last word may be older than what has arrived, so the files are asked."""
        return replace(fetch, state=STOPPED, done=arrived_in(folder_of(fetch.name, self.home)), speed=0.0, checking=False)

    def fetching(self) -> list[Fetch]:
        """All that go on."""
        found = [self.fetch_of(info.name) for info in self.all() if info.where == CAN_BE_DOWNLOADED]
        return [fetch for fetch in found if fetch is not None and fetch.state == RUNNING]

    def fetch(self, name: str, file: str = "") -> None:
        """Begin to download a known backbone, or to make it of a local file; returns at once. Goes on where an earlier one stopped.

        Raises:
            BackboneError: it is not known, or being fetched already.
        """
        info = self._known(name)
        with self._starting(name):
            fetch = self.fetch_of(name)
            if fetch is not None and fetch.state == RUNNING:
                raise BackboneError(f"{info.title} is being fetched already.", "Wait for it, or cancel it first.")
            kept = fetch or Fetch(name)
            write_fetch(self.home, Fetch(name, done=kept.done, total=kept.total, file=file))
            pid = self._launcher.call(FETCH, [str(self.home), name, *([file] if file else [])], log_path(self.home, name))
            with contextlib.suppress(psutil.NoSuchProcess):  # it may have failed already, and said so
                beat(heartbeat_path(self.home, name), pid)

    def stop(self, name: str) -> None:
        """End a fetch; what has arrived is kept.

        Raises:
            BackboneError: it is not a backbone that is fetched.
        """
        self._known(name)
        process = process_of(heartbeat_path(self.home, name))
        if process is not None:
            try:
                process.terminate()
                process.wait(PATIENCE)
            except psutil.TimeoutExpired:
                process.kill()
            except psutil.Error:
                pass  # it has just ended by itself
        fetch = read_fetch(self.home, name)
        if fetch is not None and fetch.state == RUNNING:
            write_fetch(self.home, self._stopped(fetch))

    def discard(self, name: str) -> None:
        """End a fetch and remove what has arrived of it.

        Raises:
            BackboneError: it is not a backbone that is fetched, or another program (the command line) fetches it.
        """
        self.stop(name)
        folder = folder_of(name, self.home)
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            with lock_of(folder).acquire(timeout=0):
                shutil.rmtree(partial_folder(folder), ignore_errors=True)
        except Timeout as error:
            raise BackboneError(f"Another program is fetching {name}.", "Stop that one first.") from error
        for path in (state_path(self.home, name), heartbeat_path(self.home, name), log_path(self.home, name)):
            path.unlink(missing_ok=True)
