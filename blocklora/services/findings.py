"""What the data check finds, as a record on disk: which pictures may be wrong, and how sure that is. Arrays in, a small JSON file out.

The process that embeds the pictures writes it (see `exporters.checker`); the window reads it (see `data_check`). The cuts were chosen by
measurement with planted errors (`tests/benchmarks/data_check.py`; the README has the table): a list of doubts is worth something only
while most of it is right and it is short enough to be looked through.

cleanlab's filters (version 2.9, Apache 2.0) were tried on the same probabilities: their lists were several times as long and less often
right. Confident learning (Northcutt et al. 2021, arXiv 1911.00068) counts on a class threshold from many pictures a class; with
16 it lets too much through. Ranking by the odds and cutting where they are clear does better, and needs neither pandas nor scikit-learn.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from blocklora.files import read_json, write_atomic
from blocklora.projects.dataset import Item

WORTH_KEEPING = 1.0
"""Natural log of the odds, other class against its own, from which a doubt is written down; a trained model may confirm it later."""
MOST_KEPT = 0.15
LEAST_OF_CLASS = 4
"""In a class of fewer pictures than this there is too little to hold one of them against."""
FAR = 3.5
"""Robust standard deviations (median and median absolute deviation; Iglewicz and Hoaglin 1993) below what is usual."""
LEAST_FOR_FAR = 20
MOST_FAR = 0.03
VERSION = 1


@dataclass(frozen=True)
class Doubt:
    """A picture that may be in the wrong class: ids of the picture, its class and the likelier one, and the log of the odds."""

    image: str
    labelled: str
    likelier: str
    odds: float


@dataclass(frozen=True)
class Check:
    """All findings of one state of the pictures (`mark`). Ids throughout; `poor` are (image, kind of `quality.KINDS`).

    `n` counts the pictures that were looked at. `failed` says that there was a bug: nothing was found, and trying again would not help.
    """

    mark: str
    n: int = 0
    doubts: tuple[Doubt, ...] = ()
    alike: tuple[tuple[str, ...], ...] = ()
    far: tuple[str, ...] = ()
    poor: tuple[tuple[str, str], ...] = ()
    failed: bool = False

    def write(self, path: Path) -> None:
        write_atomic(path, json.dumps({"version": VERSION, **asdict(self)}).encode())

    @classmethod
    def read(cls, path: Path) -> Check | None:
        """The record, or None where there is none that this version understands."""
        try:
            values = read_json(path)
            if not isinstance(values, dict) or values.pop("version", None) != VERSION:
                return None
            return cls(
                mark=str(values["mark"]),
                n=int(values["n"]),
                doubts=tuple(Doubt(**row) for row in values["doubts"]),
                alike=tuple(tuple(map(str, group)) for group in values["alike"]),
                far=tuple(map(str, values["far"])),
                poor=tuple((str(image), str(kind)) for image, kind in values["poor"]),
                failed=bool(values["failed"]),
            )
        except (KeyError, TypeError, ValueError, OSError):
            return None


@lru_cache(maxsize=32)
def _read(path: Path, stamp: int, size: int) -> Check | None:
    return Check.read(path)


def recent(path: Path) -> Check | None:
    """The record in a file, read only when the file is another one; it is asked for at every tick."""
    try:
        found = path.stat()
    except OSError:
        return None
    return _read(path, found.st_mtime_ns, found.st_size)


def latest(path: Path, mark: str) -> Check | None:
    """The record, where it is of the pictures as they are."""
    found = recent(path)
    return found if found is not None and found.mark == mark else None


def doubts(items: Sequence[Item], class_ids: Sequence[str], probabilities: np.ndarray) -> tuple[Doubt, ...]:
    """The doubts about labels, clearest first, from probabilities (N, C) of heads that a picture had no part in."""
    labels = np.array([item.label for item in items])
    rows = np.arange(len(labels))
    own = probabilities[rows, labels]
    others = probabilities.copy()
    others[rows, labels] = -1.0
    likelier = others.argmax(axis=1)
    odds = np.log(np.maximum(others[rows, likelier], 1e-12)) - np.log(np.maximum(own, 1e-12))
    odds[np.bincount(labels, minlength=len(class_ids))[labels] < LEAST_OF_CLASS] = -np.inf
    order = [int(i) for i in np.argsort(-odds, kind="stable") if odds[i] > WORTH_KEEPING]
    most = int(np.ceil(MOST_KEPT * len(labels)))
    return tuple(
        Doubt(items[i].image_id, class_ids[labels[i]], class_ids[likelier[i]], round(float(min(odds[i], 25.0)), 2)) for i in order[:most]
    )


def far_from_all(items: Sequence[Item], nearness: np.ndarray) -> tuple[str, ...]:
    """Ids of pictures that lie unusually far from every class, farthest first, from their cosines (N,) to the nearest class."""
    if len(items) < LEAST_FOR_FAR:
        return ()
    middle = np.median(nearness)
    spread = 1.4826 * np.median(np.abs(nearness - middle))
    if spread <= 0:
        return ()
    far = (middle - nearness) / spread
    order = [int(i) for i in np.argsort(-far, kind="stable") if far[i] > FAR]
    return tuple(items[i].image_id for i in order[: int(np.ceil(MOST_FAR * len(items)))])


def record(mark: str, items: Sequence[Item], found: dict[str, Any]) -> Check:
    """The record of what was found about `items`: `doubts` and `far` as above, `groups` of positions that are alike, `kinds` of quality."""
    poor = tuple((item.image_id, kind) for item, kind in zip(items, found["kinds"], strict=True) if kind)
    gone = {image for image, _ in poor}
    return Check(
        mark=mark,
        n=len(items),
        doubts=found["doubts"],
        alike=tuple(tuple(items[i].image_id for i in group) for group in found["groups"]),
        far=tuple(image for image in found["far"] if image not in gone),
        poor=poor,
    )
