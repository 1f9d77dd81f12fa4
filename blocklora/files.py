"""Files that are either whole or not there: everything the product publishes goes through a temporary file and a rename."""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHUNK = 1 << 20
WAITS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.3) if os.name == "nt" else ()
"""Seconds between tries to replace a file: Windows refuses it while anybody has the old one open, as readers have for moments."""


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a reader sees the old file or the new one, never a part, even after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}.tmp"
    try:
        with temporary.open("xb") as stream:  # not mkstemp: that would hide published files from everybody but their owner
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        _replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON to `path`, atomically."""
    write_atomic(path, json.dumps(value, ensure_ascii=False, indent=1).encode("utf-8"))


def read_json(path: Path, default: Any = None) -> Any:
    """The JSON value in `path`, or `default` where there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return default


Stamp = tuple[int, int, int]


def stamp(path: Path) -> Stamp | None:
    """Another one for a file that was written again: its number, its time in nanoseconds and its size; None where there is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def publish(temporary: Path, final: Path) -> None:
    """Move a finished file into place: flush it to disk, then rename over `final` (same file system)."""
    with temporary.open("rb+") as stream:
        os.fsync(stream.fileno())
    final.parent.mkdir(parents=True, exist_ok=True)
    _replace(temporary, final)


def _replace(temporary: Path, final: Path) -> None:
    for seconds in WAITS:
        try:
            temporary.replace(final)
            return
        except PermissionError:
            time.sleep(seconds)
    temporary.replace(final)


@contextmanager
def published(path: Path) -> Iterator[Path]:
    """A place beside `path` to write a file to, piece by piece; it takes its name when the block is left, and is gone where that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}.tmp"
    try:
        yield temporary
        publish(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(CHUNK):
            digest.update(piece)
    return digest.hexdigest()
