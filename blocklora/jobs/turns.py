"""One job a device at a time; the others wait in an order that people can see and change.

The order is a small file, guarded by a lock; the turn itself is a second lock that the working process holds for as long as it
lives, so that a killed worker gives its turn back without anybody's help.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from blocklora.files import read_json, write_json
from blocklora.jobs.run_folder import QUEUE, RunFolder

POLL_SECONDS = 0.2


class Turns:
    """The queue of one device, in `home`/queue."""

    def __init__(self, home: Path, device: str) -> None:
        folder = home / QUEUE
        folder.mkdir(parents=True, exist_ok=True)
        self._order = folder / f"{device}.json"
        self._running = folder / f"{device}.running.json"
        self._guard = FileLock(folder / f"{device}.order.lock")
        self._slot = FileLock(folder / f"{device}.slot.lock")

    def _live(self) -> list[str]:
        """The waiting runs whose process is still there, in order. Call with the guard held."""
        listed = read_json(self._order, [])
        live = [entry for entry in listed if RunFolder(Path(entry)).alive()]
        if live != listed:
            write_json(self._order, live)
        return live

    def waiting(self) -> list[Path]:
        """The runs that wait, next one first."""
        with self._guard:
            return [Path(entry) for entry in self._live()]

    def running(self) -> Path | None:
        """The run that has the device now, if its process is still there."""
        entry = read_json(self._running)
        return Path(entry) if isinstance(entry, str) and RunFolder(Path(entry)).alive() else None

    def enter(self, run: RunFolder) -> None:
        """Put a run at the end of the order."""
        with self._guard:
            order = self._live()
            if str(run.path) not in order:
                write_json(self._order, [*order, str(run.path)])

    def leave(self, run: RunFolder) -> None:
        """Take a run out of the order."""
        with self._guard:
            write_json(self._order, [entry for entry in self._live() if entry != str(run.path)])

    def move(self, run: RunFolder, position: int) -> None:
        """Give a waiting run another place; 0 is the next to start."""
        with self._guard:
            order = self._live()
            if str(run.path) in order:
                order.remove(str(run.path))
                order.insert(max(0, position), str(run.path))
                write_json(self._order, order)

    def take(self, run: RunFolder, give_up: Callable[[], bool]) -> FileLock | None:
        """Wait for the turn of `run`; returns the held slot (release it to give the turn back), or None if `give_up` said so."""
        while not give_up():
            with self._guard:
                order = self._live()
                if not order or order[0] == str(run.path):
                    try:
                        self._slot.acquire(timeout=0)
                    except Timeout:
                        pass
                    else:
                        write_json(self._order, order[1:])
                        write_json(self._running, str(run.path))
                        return self._slot
            time.sleep(POLL_SECONDS)
        self.leave(run)
        return None
