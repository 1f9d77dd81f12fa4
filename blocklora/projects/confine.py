"""What a process gives up before it touches a stranger's file. Called in that process itself, once."""

from __future__ import annotations

import contextlib


def confine(memory_bytes: int, seconds: int | None = None) -> None:
    """Give up what reading does not need: more memory (address space) than said, writing files, core dumps; processor time, if said.

    Windows has no such limits; there, whoever started the process watches it.
    """
    try:
        import resource
    except ImportError:
        return
    limits = {"RLIMIT_AS": memory_bytes, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0}
    if seconds is not None:
        limits["RLIMIT_CPU"] = seconds
    for name, value in limits.items():
        with contextlib.suppress(ValueError, OSError, AttributeError):
            resource.setrlimit(getattr(resource, name), (value, value))
