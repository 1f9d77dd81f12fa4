"""One decoding child and its parent's side: a crash or a hang of the child is one file's reason, not our end."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blocklora.projects import wire
from blocklora.projects.limits import DEFAULT_LIMITS, IntakeLimits, words

if TYPE_CHECKING:
    import numpy as np

Source = Path | bytes

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Inspected:
    """What is known of a picture after it was decoded once: upright size in pixels, format, hashes, thumbnail (WebP bytes)."""

    width: int
    height: int
    format: str
    size: int
    sha256: str
    phash: str
    frames: int
    thumbnail: bytes


@dataclass(frozen=True)
class Refused:
    """Why a file is not taken: `kind` for programs, `reason` for people."""

    kind: str
    reason: str


class Decoder:
    """One decoding child, started when first needed and again when it died. Asked one thing at a time (a lock sees to it)."""

    def __init__(self, limits: IntakeLimits = DEFAULT_LIMITS) -> None:
        self.limits = limits
        self._child: subprocess.Popen[bytes] | None = None
        self._process = os.getpid()
        self._lock = threading.Lock()

    def inspect(self, source: Source) -> Inspected | Refused:
        """Decode a picture once and tell size, format, hashes and thumbnail."""
        answer = self._ask({"op": "inspect"}, source)
        return answer if isinstance(answer, Refused) else Inspected(**answer[0], thumbnail=answer[1])

    def view(self, source: Source) -> bytes | Refused:
        """A re-encoded WebP of at most `VIEW_SIDE` pixels."""
        answer = self._ask({"op": "view"}, source)
        return answer if isinstance(answer, Refused) else answer[1]

    def pixels(self, source: Source, short_side: int | None = None, max_side: int | None = None) -> np.ndarray | Refused:
        """Upright RGB pixels (H, W, 3) uint8; with a side given, made smaller (never larger) to fit it."""
        import numpy as np

        answer = self._ask({"op": "pixels", "short_side": short_side, "max_side": max_side}, source)
        if isinstance(answer, Refused):
            return answer
        return np.frombuffer(answer[1], dtype=np.uint8).reshape(answer[0]["shape"])

    def close(self) -> None:
        """Let the child go."""
        with self._lock:
            self._end()

    def _ask(self, request: dict[str, Any], source: Source) -> tuple[dict[str, Any], bytes] | Refused:
        refused = _weigh(source, self.limits)
        if refused:
            return refused
        payload = source if isinstance(source, bytes) else b""
        path = None if isinstance(source, bytes) else str(source.absolute())
        request |= {"path": path, "max_bytes": self.limits.image_bytes, "max_pixels": self.limits.image_pixels}
        with self._lock:
            # A second try in a fresh child: the first may have died of what earlier files left behind.
            answer = self._try(request, payload)
            if answer is None:
                answer = self._try(request, payload)
        if answer is None:
            return Refused("crashed", "the decoder crashed on it, so it is left out")
        if isinstance(answer, Refused):
            return answer
        header, data = answer
        if not header.pop("ok"):
            return Refused(str(header["kind"]), str(header["reason"]))
        return header, data

    def _try(self, request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes] | Refused | None:
        """One question to the child; None where it died over it."""
        child = self._running()
        assert child.stdin and child.stdout
        late = threading.Event()

        def too_long() -> None:
            late.set()
            child.kill()

        timer = threading.Timer(self.limits.seconds, too_long)
        timer.start()
        try:
            wire.send(child.stdin, request, payload)
            answer = wire.receive(child.stdout, payload_cap=self.limits.image_pixels * 3 + (1 << 20))
        except (OSError, ValueError):
            answer = None
        except BaseException:
            self._end()  # interrupted between question and answer: the next answer would be the wrong one
            raise
        finally:
            timer.cancel()
        if answer is None or late.is_set():
            self._end()
        if late.is_set():
            return Refused("slow", f"takes longer than {self.limits.seconds:g} seconds to decode")
        return answer

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process != os.getpid():  # this process was forked from the child's parent: the pipes are not ours to use
            self._child, self._process = None, os.getpid()
        if self._child is not None and self._child.poll() is not None:
            self._end()
        if self._child is None:
            self._child = _start(self.limits.memory_bytes)
        return self._child

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        for stream in (child.stdin, child.stdout):
            if stream:
                with suppress(OSError):  # unsent bytes of a child that died
                    stream.close()
        child.wait()


def _start(memory_bytes: int) -> subprocess.Popen[bytes]:
    environment = dict(os.environ)
    paths = [str(ROOT), *filter(None, [environment.get("PYTHONPATH")])]
    # One thread for NumPy: more only cost address space. SAFEPATH: nothing is imported from a current folder.
    environment |= {"PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "blocklora.projects.decode_worker", str(memory_bytes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        env=environment,
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )


def _weigh(source: Source, limits: IntakeLimits) -> Refused | None:
    """What can be refused without decoding: not a file, empty, too large."""
    if isinstance(source, bytes):
        size = len(source)
    else:
        try:
            found = source.stat()
        except (OSError, ValueError):
            return Refused("missing", "the file is no longer there")
        if not stat.S_ISREG(found.st_mode):
            return Refused("unsupported", "not a regular file")
        size = found.st_size
    if size == 0:
        return Refused("empty", "empty file (0 bytes)")
    if size > limits.image_bytes:
        return Refused("too large", f"{words(size)}; one picture may have at most {words(limits.image_bytes)}")
    return None
