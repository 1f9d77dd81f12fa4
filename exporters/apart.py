"""Work on a stranger's file in a process of its own, with limits on memory and time, and in words how it ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

PROJECT_ROOT = Path(__file__).resolve().parents[1]
LOOK_SECONDS = 0.1
DETAIL = 300  # characters of a process's last words


@dataclass(frozen=True)
class Ended:
    """How a process ended: what it printed, line by line, and in `trouble` why it did not end by itself ('' where it did)."""

    lines: list[str]
    trouble: str


def run_apart(module: str, arguments: Sequence[str], memory: int, seconds: float) -> Ended:
    """`python -m module MEMORY arguments...`, ended after `seconds` or when it has more than `memory` bytes; it confines itself, too."""
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(part for part in (str(PROJECT_ROOT), environment.get("PYTHONPATH")) if part)
    # Nothing is imported from a current folder; one thread for NumPy, since each takes address space.
    environment |= {"PYTHONSAFEPATH": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        [sys.executable, "-m", module, str(memory), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )
    trouble, end = "", time.monotonic() + seconds
    while True:
        try:
            out, err = child.communicate(timeout=LOOK_SECONDS)
            break
        except subprocess.TimeoutExpired:
            if not trouble and time.monotonic() > end:
                trouble = f"it was not done within {seconds:g} seconds"
            elif not trouble and _memory_of(child.pid) > memory:  # where the system knows no limit of its own
                trouble = f"it takes more than the {megabytes(memory)} of memory that are allowed"
            if trouble:
                child.kill()
        except BaseException:
            child.kill()
            child.wait()
            raise
    return Ended(out.decode("utf-8", "replace").splitlines(), trouble or _words(child.returncode, err))


def _memory_of(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:  # it has just ended
        return 0


def _words(code: int, err: bytes) -> str:
    """Why a process ended as it did; '' where it ended well."""
    if code == 0:
        return ""
    if code < 0:
        return f"its reader crashed (signal {-code})"
    last = err.decode("utf-8", "replace").strip().rsplit("\n", 1)[-1][:DETAIL]
    return last or f"its reader ended with {code}"


def megabytes(size: int) -> str:
    """Bytes for people."""
    return f"{size / 2**30:.1f} GB" if size >= 2**30 else f"{size / 2**20:,.0f} MB"
