"""Which figure of a run is the one to tell: result.json holds several, of different images, and they must not be confused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from blocklora.files import Stamp, read_json, stamp
from blocklora.jobs.run_folder import RunFolder

Kind = Literal["test", "cross_validated", "held_out"]
KINDS: tuple[Kind, ...] = ("test", "cross_validated", "held_out")
"""From the most to the least telling: the person's own test images; every image, judged by a model that had not seen it; a part of them."""


FEW = 20  # images; below, one more or less moves the figure so far that it must be said


@dataclass(frozen=True)
class Headline:
    """The figure to tell and the section of the result (see `blocklora.training.metrics.report`) that it comes from."""

    kind: Kind
    section: Mapping[str, Any]

    @property
    def n(self) -> int:
        return int(self.section.get("n") or 0)

    @property
    def correct(self) -> int:
        return int(self.section.get("correct") or 0)

    @property
    def which(self) -> str:
        """Of which images, as in "right on 27 of 30 ..."."""
        if self.kind == "test":
            return "test images it never saw"
        if self.kind == "cross_validated":
            return "images, each judged by a model that had not seen it"
        return "images before it was trained on these too" if self.section.get("since_trained_on") else "images it never saw"


def headline(result: Mapping[str, Any] | None) -> Headline:
    """The headline of a result; with nothing measured, an empty held-out section."""
    for kind in KINDS:
        section = (result or {}).get(kind)
        if isinstance(section, Mapping) and section.get("n"):
            return Headline(kind, section)
    found = (result or {}).get("held_out")
    return Headline("held_out", found if isinstance(found, Mapping) else {})


@dataclass(frozen=True)
class Figures:
    """The few numbers and words of a result that lists and lines tell. Results of many images are large: they are parsed once."""

    top1: float | None = None
    correct: int = 0
    n: int = 0
    which: str = ""
    interval: tuple[float, float] | None = None
    seconds: float | None = None
    verdict: str = ""


def figures(run: RunFolder) -> Figures:
    """Those of a run as it is now; nothing where it has no result."""
    return _figures(run.result_path, stamp(run.result_path))


@lru_cache(maxsize=4096)
def _figures(path: Path, written: Stamp | None) -> Figures:
    result = read_json(path) if written is not None else None
    if not isinstance(result, dict):
        return Figures()
    found = headline(result)
    interval = found.section.get("interval")
    between = (float(interval[0]), float(interval[1])) if found.n and isinstance(interval, list) and len(interval) == 2 else None
    return Figures(
        found.section.get("top1"),
        found.section.get("correct", 0),
        found.section.get("n", 0),
        found.which,
        between,
        result.get("seconds"),
        str(result.get("verdict", "")),
    )


def interval_words(section: Mapping[str, Any]) -> str:
    """What so many images can tell, in words; '' where the section has no interval."""
    n, interval = int(section["n"]), section.get("interval")
    if not isinstance(interval, (list, tuple)) or len(interval) != 2:
        return ""
    low, high, one = (f"{round(100 * share)} %" for share in (*interval, 1 / n))
    words = f"On new images like these, expect between {low} and {high} right."
    if n < FEW:
        words += f" With {n} image{'' if n == 1 else 's'} that is all one can say: one more or less moves the share by {one}."
    if section.get("since_trained_on"):
        words += " The file was then trained anew on all images, these included: the figure is from before."
    return words
