"""This machine's processor, without importing torch."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path


def cpu_name() -> str:
    """What its maker calls it, or at least its architecture."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "CPU"


def is_amd(name: str) -> bool:
    """Whether a `cpu_name` is that of an AMD processor (Windows says AMD64 of Intel's, too)."""
    return name.startswith("AMD ") or "AuthenticAMD" in name


def cpu_cores() -> int:
    """Cores that this process may use (a container may be given fewer than the machine has)."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return os.cpu_count() or 1


def give_way() -> None:
    """Let other processes come first from now on, on systems where a process can say so. For workers, which have sessions of their own.

    Linux may share a processor out among sessions first (autogroups, sched(7)). `nice` then counts within a session alone, so the session
    is put back too.
    """
    if hasattr(os, "nice"):
        os.nice(10)
    with contextlib.suppress(OSError):  # another system, or one without autogroups
        Path("/proc/self/autogroup").write_text("10")
