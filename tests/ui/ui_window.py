"""The window as a process of its own, asked over a real socket, without a browser."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from blocklora.projects.library import Library

ROOT = Path(__file__).parents[2]
START_SECONDS = 180.0


@dataclass(frozen=True)
class Served:
    """A window that answers at `url`, over the data home `home`."""

    url: str
    home: Path
    process: subprocess.Popen[bytes]

    @property
    def library(self) -> Library:
        return Library(self.home)

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(self.url + path, headers=headers, timeout=60)

    def post(self, path: str, json: object, **headers: str) -> httpx.Response:
        return httpx.post(self.url + path, json=json, headers=headers, timeout=60)


def serve(root: Path, *options: str) -> Iterator[Served]:
    """A window over the data home root/home until the generator is closed; it must end cleanly on Ctrl-C."""
    root.mkdir(parents=True, exist_ok=True)
    printed = root / "printed.txt"
    command = [sys.executable, str(ROOT / "app.py"), "--no-browser", "--port", "0", "--home", str(root / "home"), *options]
    with printed.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=root)
    try:
        yield Served(_address(process, printed), root / "home", process)
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == 0, printed.read_text()
        assert len(printed.read_text().splitlines()) == 1, printed.read_text()
    finally:
        process.kill()
        process.wait()


def _address(process: subprocess.Popen[bytes], printed: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        words = printed.read_text().split()
        found = next((word for word in words if word.startswith("http://")), None)
        if found:
            return found
        assert process.poll() is None, printed.read_text()
        time.sleep(0.1)
    raise AssertionError(f"no address in {START_SECONDS} s: {printed.read_text()}")
