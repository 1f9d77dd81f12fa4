"""A hub on this machine: the headers, redirects and ranges of huggingface.co over HTTP, and the ways in which it fails."""

from __future__ import annotations

import hashlib
import http.server
import re
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Hub:
    """Serves `files` (name -> content) for every repository and revision.

    `breaks` are byte counts of the weights after which a connection is cut, one for each request of them; `delay` seconds pass before
    every piece; `ranges` False ignores Range, as some proxies do; `more` bytes come after the end; `status` answers everything with an
    error.
    """

    files: dict[str, bytes]
    breaks: list[int] = field(default_factory=list)
    delay: float = 0.0
    ranges: bool = True
    more: int = 0
    status: int = 200
    stated_hash: str = ""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """(method, path, range) of every request."""
    address: str = ""

    def __enter__(self) -> Hub:
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

            def do_HEAD(self) -> None:
                hub._answer(self, body=False)

            def do_GET(self) -> None:
                hub._answer(self, body=True)

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fetched(self, name: str) -> list[str]:
        """The ranges in which the bytes of a file were asked for; '' for all of it."""
        return [ranged for method, path, ranged in self.asked if method == "GET" and path.startswith("/cdn/") and path.endswith(name)]

    def _answer(self, request: http.server.BaseHTTPRequestHandler, body: bool) -> None:
        self.asked.append((request.command, request.path, request.headers.get("Range", "")))
        name = request.path.rsplit("/", 1)[1]
        if self.status != 200 or name not in self.files:
            request.send_response(self.status if self.status != 200 else 404)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        content = self.files[name]
        if request.path.startswith("/cdn/"):
            self._bytes(request, name, content)
            return
        request.send_response(302)  # the hub itself only says where the bytes are
        digest = self.stated_hash or hashlib.sha256(content).hexdigest()
        large = name.endswith(".safetensors")
        request.send_header("Location", f"http://localhost:{self._server.server_port}/cdn/{name}")  # another host, as the real one
        request.send_header("X-Repo-Commit", request.path.split("/")[4])
        request.send_header("X-Linked-Size", str(len(content)))
        request.send_header("X-Linked-Etag", f'"{digest if large else digest[:40]}"')
        request.send_header("Content-Length", "0")
        request.end_headers()

    def _bytes(self, request: http.server.BaseHTTPRequestHandler, name: str, content: bytes) -> None:
        found = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", "")) if self.ranges else None
        start = int(found[1]) if found else 0
        content = content + bytes(self.more)
        request.send_response(206 if found else 200)
        if found:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        if request.command == "HEAD":
            return
        end = len(content)
        if name.endswith(".safetensors") and self.breaks:
            end = min(end, start + self.breaks.pop(0))
        for at in range(start, end, 4096):
            time.sleep(self.delay)
            try:
                request.wfile.write(content[at : min(at + 4096, end)])
            except OSError:  # whoever asked is gone
                return
        if end < len(content):
            request.connection.close()


def hub_of(folder: Path, **ways: object) -> Hub:
    """A hub that serves the files of `folder`."""
    return Hub({path.name: path.read_bytes() for path in folder.iterdir()}, **ways)  # type: ignore[arg-type]
