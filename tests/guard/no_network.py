"""Refuses every connection that would leave the machine, and remembers that it was tried.

A library may swallow the refusal, so the tests look at `attempts` (this process) or at the file named by the environment
variable `BLOCKLORA_NETWORK_LOG` (child processes, through `sitecustomize.py` beside this file) afterwards.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path
from typing import Any

LOG_VARIABLE = "BLOCKLORA_NETWORK_LOG"

attempts: list[str] = []


class NetworkRefused(RuntimeError):
    """A test, or the program under test, tried to leave the machine."""


def is_local(host: object) -> bool:
    """Whether `host`, a name or an address, means this machine."""
    name = host.decode() if isinstance(host, bytes) else str(host)
    if name in ("", "localhost"):
        return True
    try:
        address = ipaddress.ip_address(name.split("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _refuse(what: str) -> None:
    attempts.append(what)
    log = os.environ.get(LOG_VARIABLE)
    if log:
        with Path(log).open("a", encoding="utf-8") as stream:
            stream.write(f"pid {os.getpid()}: {what}\n")
    raise NetworkRefused(f"{what} would leave this machine; tests stay on it.")


def install() -> None:
    """Put the guard in front of name look-ups and connections of this process."""
    real_connect, real_connect_ex, real_lookup = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo
    internet = (socket.AF_INET, socket.AF_INET6)

    def connect(self: socket.socket, address: Any) -> None:
        # A datagram socket's connect sends nothing; psutil and others use it to learn their own address.
        if self.family in internet and self.type == socket.SOCK_STREAM and not is_local(address[0]):
            _refuse(f"connect to {address}")
        return real_connect(self, address)

    def connect_ex(self: socket.socket, address: Any) -> int:
        if self.family in internet and self.type == socket.SOCK_STREAM and not is_local(address[0]):
            _refuse(f"connect to {address}")
        return real_connect_ex(self, address)

    def getaddrinfo(host: Any, *rest: Any, **named: Any) -> Any:
        if host is not None and not is_local(host) and host != socket.gethostname():
            _refuse(f"look up {host!r}")
        return real_lookup(host, *rest, **named)

    socket.socket.connect = connect  # type: ignore[assignment,method-assign]
    socket.socket.connect_ex = connect_ex  # type: ignore[assignment,method-assign]
    socket.getaddrinfo = getaddrinfo
