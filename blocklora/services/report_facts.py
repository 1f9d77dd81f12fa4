"""What a report tells, gathered (`report`) before it is drawn (`report_page`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from blocklora.jobs.spec import RunSpec


@dataclass(frozen=True)
class Shot:
    """A picture that was answered wrongly: its true class, the answer, how sure, and a small copy as an address ('' where it is gone)."""

    true: str
    said: str
    sure: float
    source: str


@dataclass(frozen=True)
class Facts:
    """What a report is written from.

    `section` names the part of `result` that the headline comes from. `trained` and `held_out` count pictures of each class in `names`.
    `file` is (name, bytes, SHA-256) of the ONNX file. `figures` are (title, SVG) that the product drew.
    """

    title: str
    created: float
    note: str
    spec: RunSpec
    backbone: str
    result: dict[str, Any]
    section: str
    names: tuple[str, ...]
    trained: tuple[int, ...]
    held_out: tuple[int, ...]
    wrong: tuple[Shot, ...]
    n_wrong: int
    file: tuple[str, int, str] | None
    adapter_sha256: str
    environment: dict[str, Any]
    figures: tuple[tuple[str, str], ...] = ()
