"""Is the worker of a run still there? A heartbeat file names the process; the operating system has the last word."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

import psutil

from blocklora.files import read_json, write_json


def beat(path: Path, pid: int | None = None) -> None:
    """Write which process works on a run. A process id alone can be reused: its start time and host go along."""
    process = psutil.Process(pid or os.getpid())
    write_json(path, {"pid": process.pid, "created": process.create_time(), "host": platform.node(), "time": time.time()})


def alive(path: Path) -> bool:
    """Whether the process that the heartbeat file names still runs on this machine."""
    values = read_json(path)
    if not isinstance(values, dict) or values.get("host") != platform.node():
        return False
    try:
        process = psutil.Process(int(values["pid"]))
        same = abs(process.create_time() - float(values["created"])) < 0.05
        return same and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, KeyError, TypeError, ValueError):
        return False


def process_of(path: Path) -> psutil.Process | None:
    """The live process that the heartbeat file names, if any."""
    if not alive(path):
        return None
    try:
        return psutil.Process(int(read_json(path)["pid"]))
    except (psutil.Error, TypeError, KeyError):
        return None
