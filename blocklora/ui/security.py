"""The door: which requests reach the window, and the headers every answer carries.

A local server is reachable by every page that the person's browser has open, so it must tell its own page from others:
a Host that is not one of ours is a rebound name (400), an Origin that is not our Host is another page (403). Behind that,
only the routes that the window uses exist, file references in a request must be uploads of this server (never an address
or a path of the machine), and a program without a browser may call the documented `predict` and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from blocklora.ui.rules import HEADERS, PUBLIC_CALLS, Hosts, foreign_files, known_route, same_origin

MAX_JSON = 32 * 1024 * 1024  # bytes of a call: event data and forms; files travel by /upload


class Door:
    """The ASGI layer in front of everything.

    Args:
        app: what is behind the door.
        hosts: the names this server answers to.
        uploads: the folder that uploads of this server land in.
        public: tells whether the handler of that number is one that programs may call.
    """

    def __init__(self, app: ASGIApp, hosts: Hosts, uploads: Path, public: Callable[[int], bool]) -> None:
        self.app, self.hosts, self.uploads, self.public = app, hosts, uploads.resolve(), public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope["path"], headers)
        if refusal is None and self._is_call(scope, headers):
            body = await _read(receive, MAX_JSON)
            refusal = self._call_refusal(scope["path"], headers, body)
            receive = _replay(body or b"", receive)
        if refusal is not None:
            await PlainTextResponse(refusal[1], refusal[0], headers=HEADERS)(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    answer[name] = value
            await send(message)

        await self.app(scope, receive, send_with_headers)

    def _refusal(self, path: str, headers: Headers) -> tuple[int, str] | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if len(headers.getlist("host")) != 1 or not self.hosts.allow(host):
            return 400, "This server does not go by that name."
        if origin is not None and not same_origin(origin, host):
            return 403, "Requests from other pages are refused."
        if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
            return 403, "Requests from other pages are refused."
        if not known_route(path):
            return 404, "There is nothing here."
        return None

    @staticmethod
    def _is_call(scope: Scope, headers: Headers) -> bool:
        multipart = headers.get("content-type", "").startswith("multipart/form-data")
        return scope["method"] == "POST" and scope["path"].startswith("/gradio_api/") and not multipart

    def _call_refusal(self, path: str, headers: Headers, body: bytes | None) -> tuple[int, str] | None:
        if body is None:
            return 413, f"A call is at most {MAX_JSON // 2**20} MB; upload files instead."
        try:
            call = json.loads(body) if body else {}
        except ValueError:
            return 400, "The call is not JSON."
        for name in foreign_files(call, self.uploads):
            kind = "an address" if "://" in name else "a path"
            return 400, f"A file is given by {kind}; upload it first."
        if path.startswith("/gradio_api/queue/join") and headers.get("origin") is None:
            number = call.get("fn_index") if isinstance(call, dict) else None
            if not isinstance(number, int) or not self.public(number):
                return 403, f"Programs may call {', '.join('/' + name for name in PUBLIC_CALLS)} and nothing else."
        return None


async def _read(receive: Receive, limit: int) -> bytes | None:
    """The whole body, or None where it is longer than `limit` bytes."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b"".join(parts)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            return None
        if not message.get("more_body"):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A receive channel that gives `body` once and then listens on."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
