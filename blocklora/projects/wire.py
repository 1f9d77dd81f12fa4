"""How the decoding child and its parent talk: one JSON header and one block of bytes a message, each with its length in front."""

from __future__ import annotations

import json
import struct
from typing import IO, Any

_LENGTHS = struct.Struct(">IQ")
_HEADER_CAP = 1 << 20


def send(stream: IO[bytes], header: dict[str, Any], payload: bytes | memoryview = b"") -> None:
    """Write one message and flush it."""
    text = json.dumps(header).encode()
    stream.write(_LENGTHS.pack(len(text), len(payload)) + text)
    if payload:
        stream.write(payload)
    stream.flush()


def receive(stream: IO[bytes], payload_cap: int) -> tuple[dict[str, Any], bytes] | None:
    """Read one message; None where the other side is gone.

    Raises:
        ValueError: lengths beyond what is allowed, or a header that is no JSON object (the other side is broken).
    """
    lengths = _exactly(stream, _LENGTHS.size)
    if lengths is None:
        return None
    header_length, payload_length = _LENGTHS.unpack(lengths)
    if header_length > _HEADER_CAP or payload_length > payload_cap:
        raise ValueError(f"a message of {header_length} + {payload_length} bytes is not allowed")
    text, payload = _exactly(stream, header_length), _exactly(stream, payload_length)
    if text is None or payload is None:
        return None
    header = json.loads(text)
    if not isinstance(header, dict):
        raise ValueError("a message without a header")
    return header, payload


def _exactly(stream: IO[bytes], size: int) -> bytes | None:
    data = stream.read(size) if size else b""
    return data if len(data) == size else None
