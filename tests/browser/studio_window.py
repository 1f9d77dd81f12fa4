"""The real program as a child process and a Chromium to look at it with; shared by the browser tests and the screenshot tool."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, Request

ROOT = Path(__file__).parents[2]
GUARD = ROOT / "tests" / "guard"
SAMPLE = ROOT / "assets" / "sample"
WIDE, NARROW = {"width": 1280, "height": 860}, {"width": 390, "height": 844}
START_SECONDS = 180
# Chromium's own errands (updates, safe browsing, field trials) would look like the program's.
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)

# A camera that shows a moving picture, in a browser that has none.
CAMERA = """navigator.mediaDevices.getUserMedia = async () => {
  const canvas = Object.assign(document.createElement('canvas'), {width: 320, height: 240});
  const pen = canvas.getContext('2d');
  let turn = 0;
  setInterval(() => { pen.fillStyle = `hsl(${turn++ % 360} 80% 50%)`; pen.fillRect(0, 0, 320, 240); }, 40);
  return canvas.captureStream(25);
};"""


@dataclass
class Server:
    """A running `python app.py`. `network_log` is where its processes write each attempt to leave the machine."""

    process: subprocess.Popen[str]
    url: str
    home: Path
    network_log: Path

    def interrupt(self) -> int:
        """Ctrl-C, as a person ends it; returns the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=60)

    def kill(self) -> None:
        """End it without warning, as a power cut would."""
        self.process.kill()
        self.process.wait(timeout=60)

    def foreign(self) -> str:
        """The attempts to leave the machine so far."""
        return self.network_log.read_text(encoding="utf-8") if self.network_log.exists() else ""


def start(home: Path, port: int = 0, hub: str = "") -> Server:
    """Start the program on a data home and wait until it says its address. It runs from an empty folder, guarded.

    Without the address of a `hub` on this machine it is told to stay offline.

    Raises:
        RuntimeError: it ended, or said no address in time; with what it printed.
    """
    work = home.parent / f"{home.name}-cwd"
    work.mkdir(parents=True, exist_ok=True)
    log = home.parent / f"{home.name}-network.log"
    path = os.pathsep.join(filter(None, [str(GUARD), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": path, "BLOCKLORA_NETWORK_LOG": str(log), "PYTHONUNBUFFERED": "1"}
    environment |= {"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0"} if hub else {"HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(ROOT / "app.py"), "--no-browser", "--port", str(port), "--home", str(home)]
    process = subprocess.Popen(command, cwd=work, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_drain, args=(process, lines), daemon=True).start()
    said, deadline = "", time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(queue.Empty):
            line = lines.get(timeout=0.2)
            if line is None:
                raise RuntimeError(f"app.py ended with {process.wait()}:\n{said}")
            said += line
            if found := re.search(r"https?://\S+", line):
                return Server(process, found.group(0).rstrip("/"), home, log)
    process.kill()
    raise RuntimeError(f"app.py said no address in {START_SECONDS} s:\n{said}")


def _drain(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    assert process.stdout is not None
    with process.stdout as stream:
        for line in stream:
            lines.put(line)
    lines.put(None)


@contextlib.contextmanager
def serving(home: Path, workers_stay: bool = False, hub: str = "") -> Iterator[Server]:
    """A server for as long as the block lasts; it must end cleanly on Ctrl-C if it is still there.

    Nothing of it stays, except workers where `workers_stay` says so and the block went well.
    """
    server = start(home, hub=hub)
    try:
        yield server
    except BaseException:
        server.kill()
        end_workers(home)
        raise
    try:
        if server.process.poll() is None:
            server.interrupt()
    finally:
        server.kill()
        if not workers_stay:
            end_workers(home)


def end_workers(home: Path) -> None:
    """End what a server left at work on a data home: workers outlive their window on purpose, but not a test."""
    for process in psutil.process_iter(["cmdline"]):
        if any(str(home) in word for word in process.info["cmdline"] or ()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
                process.wait(timeout=30)


def find_chromium() -> str | None:
    """The Chromium to use: BLOCKLORA_CHROMIUM, else one on the PATH, else None for Playwright's own."""
    names = (os.environ.get("BLOCKLORA_CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((found for name in names if name and (found := shutil.which(name))), None)


def launch(playwright: Playwright) -> Browser:
    """A headless Chromium. Where there is none, Playwright's own error says how to get one (`bash tests/run` does)."""
    return playwright.chromium.launch(executable_path=find_chromium(), args=list(QUIET))


@dataclass
class Watch:
    """Remembers what a page must not do: console errors, uncaught exceptions, requests to another machine."""

    problems: list[str] = field(default_factory=list)
    forgiven: tuple[str, ...] = ()

    def over(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self._note(f"uncaught: {error}"))
        page.on("request", self._request)

    def _note(self, problem: str) -> None:
        if not any(word in problem for word in self.forgiven):
            self.problems.append(problem)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._note(f"console: {message.text} ({message.location.get('url', '')})")

    def _request(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme in ("http", "https", "ws", "wss") and address.hostname not in ("127.0.0.1", "localhost", "::1"):
            self._note(f"request: {request.url}")
