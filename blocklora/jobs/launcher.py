"""Starts workers. A Protocol, so that a cluster could take the place of the local process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from blocklora.jobs.liveness import beat
from blocklora.jobs.run_folder import RunFolder

PROJECT_ROOT = Path(__file__).resolve().parents[2]


class Launcher(Protocol):
    """Starts `python -m module` and returns at once: on a run folder (arguments after it), or with any and its output in a log."""

    def launch(self, module: str, run: RunFolder, *arguments: str) -> int: ...

    def call(self, module: str, arguments: list[str], log: Path) -> int: ...


def worker_environment() -> dict[str, str]:
    """The environment of a worker: the product's code importable from anywhere, no bytecode of a half-written module, no telemetry."""
    environment = dict(os.environ)
    known = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = str(PROJECT_ROOT) + (os.pathsep + known if known else "")
    environment["PYTHONUNBUFFERED"] = "1"
    environment["HF_HUB_DISABLE_TELEMETRY"] = "1"
    # Threads that wait for each other sleep instead of spinning: on a machine that does anything else, spinning costs many times the work.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return environment


_children: list[subprocess.Popen[bytes]] = []
"""Workers this process has started. Held so that ended ones are reaped; they outlive us, and whoever launched them."""


class LocalLauncher:
    """A detached process on this machine: its own session, its output in the run's log, not a child that dies with its parent."""

    def launch(self, module: str, run: RunFolder, *arguments: str) -> int:
        """Start the worker and write its first heartbeat, so that nobody ever sees a started run without a process."""
        run.path.mkdir(parents=True, exist_ok=True)
        pid = self.call(module, [str(run.path), *arguments], run.log_path)
        beat(run.heartbeat_path, pid)
        return pid

    def call(self, module: str, arguments: list[str], log: Path) -> int:
        """Start `python -m module ARGUMENTS`, its output appended to `log`; returns the process id."""
        _children[:] = [child for child in _children if child.poll() is None]
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stream:
            child = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=worker_environment(),
                cwd=log.parent,
                start_new_session=True,
                # The same for Windows, which knows no sessions: without a console of its own it would get the Ctrl-C of the server's.
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        _children.append(child)
        return child.pid
