"""Who may ask for what: names of this server, origins, routes, file references, and the headers of every answer."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PUBLIC_CALLS = ("predict",)

LOOPBACK = ("127.0.0.1", "localhost", "::1")

# What the page needs of Gradio. Its proxy, remote files, recordings, run history, monitoring and code assistant are not among it.
PAGES = frozenset(
    ["", "config", "config/", "theme.css", "favicon.ico", "manifest.json", "robots.txt", "login", "login/", "logout", "pwa_icon"]
)
FOLDERS = ("assets/", "static/", "svelte/", "studio/", "media/", "download/")
API = frozenset(
    [
        *("info", "info/", "upload", "upload_progress", "queue/join", "queue/data", "startup-events", "theme.css"),
        *("login_check", "user", "app_id", "reset", "cancel"),
    ]
)
API_FOLDERS = ("heartbeat/", "stream/")

HEADERS = {
    "content-security-policy": "; ".join(
        [
            "default-src 'self'",
            # Gradio starts from inline scripts and compiles its HTML templates, hence inline and eval; nothing from elsewhere.
            "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "media-src 'self' data: blob:",
            "font-src 'self' data:",
            "connect-src 'self' data: blob:",
            "worker-src 'self' blob:",
            "object-src 'none'",
            "base-uri 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        ]
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), clipboard-read=(self), microphone=(), geolocation=()",
}


def is_loopback(host: str) -> bool:
    """Whether a bind address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Hosts:
    """The names this server answers to.

    On a loopback bind: the loopback names. On another bind also addresses (an address cannot be rebound, only a name
    can) and this machine's own names.
    """

    bind: str
    names: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def of(cls, bind: str) -> Hosts:
        names = {*LOOPBACK, bind.strip("[]").lower()} - {"0.0.0.0", "::"}
        if not is_loopback(bind):
            own = socket.gethostname().lower()
            names |= {own, f"{own}.local"}
        return cls(bind, frozenset(names))

    def allow(self, header: str) -> bool:
        """Whether a Host header is one of ours, whatever its port."""
        name = urlsplit(f"//{header}").hostname or ""
        if name in self.names:
            return True
        if is_loopback(self.bind):
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def same_origin(origin: str, host: str) -> bool:
    """Whether an Origin header names the very server that the Host header names, port included ("null" never does)."""
    parts = urlsplit(origin)
    if parts.scheme not in ("http", "https"):
        return False
    default = {"http": ":80", "https": ":443"}[parts.scheme]
    return parts.netloc.lower().removesuffix(default) == host.lower().removesuffix(default)


def known_route(path: str) -> bool:
    """Whether the window has a use for `path`."""
    inner = path.lstrip("/")
    if inner in PAGES or inner.startswith(FOLDERS):
        return True
    if not inner.startswith("gradio_api/"):
        return False
    call = inner.removeprefix("gradio_api/")
    by_name = call.split("/")[:2]
    return call in API or call.startswith(API_FOLDERS) or by_name in [["call", name] for name in PUBLIC_CALLS]


def foreign_files(value: Any, uploads: Path) -> Iterable[str]:
    """Every file reference inside a JSON value that is not a file below `uploads`: web addresses and paths of the machine."""
    if isinstance(value, dict):
        path = value.get("path")
        if isinstance(path, str) and path:
            try:
                inside = "://" not in path and Path(path).resolve().is_relative_to(uploads)
            except (OSError, ValueError):
                inside = False
            if not inside:
                yield path
        for part in value.values():
            yield from foreign_files(part, uploads)
    elif isinstance(value, list):
        for part in value:
            yield from foreign_files(part, uploads)
