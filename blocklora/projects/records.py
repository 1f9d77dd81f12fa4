"""What a project tells of its classes and images, as plain frozen records."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

OTHER_ID, OTHER_ROLE = "c_other", "other"
"""The class of pictures of nothing that is taught: every project has it (migration 3), and it is none of `Project.classes()`."""

TRAINING, TEST = "", "test"
"""The two parts of a class's pictures: those to learn from (some held out), and the person's own to test with, never trained on."""


@dataclass(frozen=True)
class ClassInfo:
    """A class: `id` never changes, `name` may at any time, `position` from 0, `count` of living images to learn from, `tests` of those to
    test with."""

    id: str
    name: str
    position: int
    count: int
    tests: int = 0


@dataclass(frozen=True)
class ImageInfo:
    """An image: upright size in pixels, `added` in seconds since the epoch, `original_name` as it came (not to be trusted in HTML)."""

    id: str
    class_id: str
    sha256: str
    format: str
    width: int
    height: int
    bytes: int
    phash: str
    original_name: str
    added: float
    part: str = TRAINING


@dataclass(frozen=True)
class ImagePage:
    """One page of images. `page` counts from 0 and is the one delivered (the last there is, where a later one was asked for)."""

    items: list[ImageInfo]
    total: int
    page: int
    pages: int


@dataclass(frozen=True)
class UndoEntry:
    """Something that can be undone: its token, and in words what was done."""

    token: str
    words: str
    created: float


@dataclass(frozen=True)
class UndoResult:
    """What an undo did: how many images are back, which not and why, in words."""

    restored: int
    skipped: int
    words: str


def new_id(kind: str) -> str:
    """A fresh id, 'c_...' or 'i_...': random, so that copies of a project and imports never clash."""
    return f"{kind}_{secrets.token_hex(8)}"
