"""The window as a process: arguments, a safe address, one line of output, a clean end. Gradio is imported late, torch never."""

from __future__ import annotations

import argparse
import contextlib
import logging
import logging.handlers
import os
import shutil
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blocklora.errors import ConfigError, StudioError
from blocklora.projects.home import default_home

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from blocklora.services.studio import Studio

DEFAULT_PORT = 7860
PORTS_TRIED = 40

# Set before Gradio is imported: it reads them then. Nothing is reported to anybody.
ENVIRONMENT = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "GRADIO_ALLOWED_PATHS": "",
    "GRADIO_RUN_HISTORY": "False",
    "GRADIO_SSR_MODE": "False",
    "GRADIO_MCP_SERVER": "False",
}


@dataclass(frozen=True)
class Options:
    """How the window was asked to open. `port` is None for "the first free one from 7860"; `auth` is (user, password)."""

    host: str
    port: int | None
    home: Path
    browser: bool
    auth: tuple[str, str] | None


def parse(argv: Sequence[str] | None, program: str = "app.py") -> Options:
    """The command line as options.

    Raises:
        ConfigError: an address others can reach without a password, or a password without a name.
    """
    from blocklora.ui.rules import is_loopback

    parser = argparse.ArgumentParser(prog=program, description="Open Block-LoRA Studio in the browser.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only; others need --auth)")
    parser.add_argument("--port", type=int, help=f"port (default: {DEFAULT_PORT}, or the next free one)")
    parser.add_argument("--home", type=Path, help="data folder (default: BLOCKLORA_HOME, or the system's folder for user data)")
    parser.add_argument("--auth", metavar="USER:PASSWORD", help="ask for this name and password")
    parser.add_argument("--no-browser", action="store_true", help="do not open the browser")
    given = parser.parse_args(argv)
    user, colon, password = (given.auth or "").partition(":")
    if given.auth is not None and not (user and colon and password):
        raise ConfigError("--auth is not a name and a password.", "Write it as --auth user:password.")
    if given.auth is None and not is_loopback(given.host):
        raise ConfigError(
            f"{given.host} can be reached from other machines, and nobody would be asked for a password.",
            "Add --auth user:password, or leave --host away to stay on this machine.",
        )
    if given.port is not None and not 0 <= given.port <= 65535:
        raise ConfigError(f"{given.port} is not a port; allowed: 0 to 65535.", "Choose another with --port.")
    home = (given.home or default_home()).expanduser().absolute()
    return Options(given.host, given.port, home, not given.no_browser, (user, password) if given.auth else None)


def listen(host: str, port: int | None) -> socket.socket:
    """A listening socket: on `port`, or on the first free one from 7860. Holding it from here on leaves no gap to lose it in.

    Raises:
        ConfigError: the port is taken, or the address is not this machine's.
    """
    wanted = [port] if port is not None else range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TRIED)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    problem: OSError | None = None
    for number in wanted:
        found = socket.socket(family, socket.SOCK_STREAM)
        if sys.platform != "win32":  # elsewhere it would let two programs share the port
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((host.strip("[]"), number))
            found.listen(128)
        except OSError as error:
            problem = error
            found.close()
        else:
            return found
    place = f"port {port}" if port is not None else f"any port from {DEFAULT_PORT} to {DEFAULT_PORT + PORTS_TRIED - 1}"
    raise ConfigError(f"Cannot listen on {host}, {place}: {problem}.", "Choose another with --port, or leave it away.")


@contextlib.contextmanager
def workplace(home: Path) -> Iterator[Path]:
    """A folder of this process for uploads, and an empty working directory, so that no file of the person's lies in reach."""
    root = home / "cache" / "window"
    _sweep(root)
    mine = root / str(os.getpid())
    uploads, empty = mine / "uploads", mine / "empty"
    for folder in (uploads, empty):
        folder.mkdir(parents=True, exist_ok=True)
    mine.chmod(0o700)
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    os.environ["GRADIO_EXAMPLES_CACHE"] = str(mine / "examples")
    before = Path.cwd()
    os.chdir(empty)
    try:
        yield uploads
    finally:
        os.chdir(before)
        shutil.rmtree(mine, ignore_errors=True)


def _sweep(root: Path) -> None:
    """Remove what windows that were killed left behind."""
    import psutil

    for folder in root.glob("*") if root.is_dir() else ():
        if not folder.name.isdigit() or not psutil.pid_exists(int(folder.name)):
            shutil.rmtree(folder, ignore_errors=True)


def write_log(home: Path) -> None:
    """Let everything of ours that is worth knowing later go to logs/studio.log in the data home."""
    folder = home / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(folder / "studio.log", maxBytes=2_000_000, backupCount=3, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    ours = logging.getLogger("blocklora")
    ours.setLevel(logging.INFO)
    ours.addHandler(handler)


def address(host: str, port: int) -> str:
    """What to type into a browser on this machine."""
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}"


def run(app: ASGIApp, found: socket.socket, ready: Callable[[], None], stopping: Callable[[], None]) -> None:
    """Serve until Ctrl-C. `ready` is called once requests are answered, `stopping` as soon as the end is asked for."""
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                ready()

        def handle_exit(self, sig: int, frame: Any) -> None:
            stopping()
            super().handle_exit(sig, frame)

    # Pages hold streams open for as long as they are shown; they are given a second, and their end is no error.
    config = uvicorn.Config(app, log_level="critical", access_log=False, timeout_graceful_shutdown=1, lifespan="on", server_header=False)
    with contextlib.suppress(KeyboardInterrupt):
        Server(config).run(sockets=[found])


def serve(options: Options, compose: Callable[[Path], Studio]) -> None:
    """Open the window and stay until it is closed."""
    found = listen(options.host, options.port)
    port = found.getsockname()[1]
    options.home.mkdir(parents=True, exist_ok=True)
    write_log(options.home)
    os.environ.update(ENVIRONMENT)
    with found, workplace(options.home) as uploads:
        from blocklora.ui.web import build

        studio = compose(options.home)
        window = build(studio, options.host, uploads, options.auth)
        url = address(options.host, port)

        def ready() -> None:
            print(f"Block-LoRA Studio is at {url} (Ctrl-C stops it; training goes on)", flush=True)
            if options.browser:
                threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()

        run(window.app, found, ready, window.stopping)


def main(argv: Sequence[str] | None, compose: Callable[[Path], Studio], program: str = "app.py") -> int:
    """The command line of the window; the exit code. `compose` makes the services over a data home."""
    try:
        serve(parse(argv, program), compose)
    except StudioError as error:
        print(str(error), file=sys.stderr)
        return 2
    return 0
