"""How fast this machine was and how much memory it took, measured by workers and remembered in the data home, for estimates."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from blocklora.files import read_json, write_json


@dataclass(frozen=True)
class Speed:
    """Seconds: once a run, for looking at an image (decode, embed), for an image in a training step of all layers, for the export, for
    a class's name in a training step, and for an image in a forward pass as torch does it by itself (these two where they were measured by
    themselves, else 0).
    """

    fixed: float
    look: float
    step_image: float
    export: float
    step_class: float = 0.0
    forward: float = 0.0

    @property
    def unit(self) -> float:
        """Seconds of a forward pass of one image, which budgets are counted in."""
        return self.forward or self.look


def _path(home: Path) -> Path:
    return home / "speeds.json"


def _key(device: str, backbone: str) -> str:
    return f"{device}|{backbone}"


def recall(home: Path, device: str, backbone: str) -> Speed | None:
    """The last measured speed of a backbone on a device, if any."""
    values = read_json(_path(home), {}).get(_key(device, backbone))
    try:
        return Speed(**values) if values else None
    except TypeError:  # written by another version
        return None


SLOWER = 1.25  # a measurement made while the machine did other work may raise what is known by no more than this


def remember(home: Path, device: str, backbone: str, speed: Speed) -> None:
    """Write a measured speed. A quicker one counts at once, a slower one little by little."""
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / "speeds.lock"):
        known = recall(home, device, backbone)
        if known is not None:
            speed = Speed(**{name: min(value, SLOWER * getattr(known, name) or value) for name, value in asdict(speed).items()})
        write_json(_path(home), {**read_json(_path(home), {}), _key(device, backbone): asdict(speed)})


@dataclass(frozen=True)
class Depth:
    """Layers of a backbone's image tower, and whether it can be parted below its last ones (`clip.split`)."""

    image: int
    parted: bool


PROGRAM = 700 * 2**20  # bytes of a worker with its libraries, before it has loaded a backbone
SPARE = 2.1  # measured peak over what is kept: gradients under way, the work space of a layer, and what malloc cannot give back
CACHE_BYTES = 2**30  # decoded training pictures beyond so many bytes are kept in a file (`training.image_cache`)
FEW_ENOUGH = 1_000  # images of a run up to which class weights are made of views too: more images say by themselves how they differ
ROTATED_AT_MOST = 400  # images that are looked at turned, to find out whether they have a top (`training.rotations`)
TEXT_TOKENS = 16_384  # prompts of more tokens in all go through the text tower in chunks of so many (`clip.prompts`)


@dataclass(frozen=True)
class Footprint:
    """Bytes: the frozen weights, and what training keeps for an image of a step and for a token of a prompt."""

    weights: int
    image: int
    token: int

    def bytes(self, batch: int, tokens: int, cached: int = 0) -> int:
        """What a run takes: `batch` images at once, prompts of `tokens` tokens in all, `cached` bytes of decoded images."""
        kept = batch * self.image + min(tokens, TEXT_TOKENS) * self.token
        return PROGRAM + self.weights + min(cached, CACHE_BYTES) + round(SPARE * kept)


def recall_depth(home: Path, backbone: str) -> Depth | None:
    """The layers of a backbone, where a worker has counted them."""
    values = read_json(_path(home), {}).get("depths", {}).get(backbone)
    try:
        return Depth(**values) if values else None
    except TypeError:  # written by another version
        return None


def remember_depth(home: Path, backbone: str, depth: Depth) -> None:
    """Write how many layers a backbone has."""
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / "speeds.lock"):
        known = read_json(_path(home), {})
        write_json(_path(home), {**known, "depths": {**known.get("depths", {}), backbone: asdict(depth)}})


def recall_footprint(home: Path, device: str, backbone: str) -> Footprint | None:
    """The measured memory of a backbone on a device, if any."""
    values = read_json(_path(home), {}).get("footprints", {}).get(_key(device, backbone))
    try:
        return Footprint(**values) if values else None
    except TypeError:  # written by another version
        return None


def remember_footprint(home: Path, device: str, backbone: str, footprint: Footprint) -> None:
    """Write a measured one; it follows from the model alone, so the newest counts."""
    home.mkdir(parents=True, exist_ok=True)
    with FileLock(home / "speeds.lock"):
        known = read_json(_path(home), {})
        write_json(_path(home), {**known, "footprints": {**known.get("footprints", {}), _key(device, backbone): asdict(footprint)}})


EXPORT_GUESS = 15.0  # seconds; stands in until the first export was timed


class Stopwatch:
    """Times a run by the events that pass, for the next estimate."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._caching: list[tuple[float, int]] = []  # when, images done; of the first span of looking
        self._trained: float | None = None
        self._ready: float | None = None
        self._viewing = 0.0  # seconds of looking at views, which estimates count by themselves
        self._step_image: float | None = None

    def hear(self, event: Any) -> None:
        """Take note of an event; only caching, step and prepared ones matter here."""
        now = time.monotonic()
        if event.type == "caching":
            if event.views:
                self._viewing += now - (self._ready or now)
            elif not self._caching or event.done >= self._caching[-1][1]:
                self._caching.append((now, event.done))
            self._ready = now
        elif event.type == "step":
            self._step_image = 1 / max(event.images_per_second, 1e-6)
            self._trained = now

    def speed(self, known: Speed | None, exported: bool, share: float | None = 1.0) -> Speed | None:
        """What was measured, or None where too little was seen.

        Args:
            share: of the layers that the steps ran through. A step of all layers takes no longer than that many times a step of a part, so
                what is `known` of it may be lowered, and is never raised. None where a part of the layers was trained and all were run:
                that says nothing of steps of all.
        """
        if self._step_image is None or self._trained is None or self._ready is None or not self._caching:
            return None
        first, last = self._caching[0], self._caching[-1]
        # A single event means that all was seen within one span: count from the start, which errs on the careful side.
        look = (last[0] - first[0]) / (last[1] - first[1]) if last[1] > first[1] else (last[0] - self._began) / max(1, last[1])
        fixed = max(0.0, self._ready - self._began - self._viewing - look * last[1])
        export = time.monotonic() - self._trained if exported else known.export if known else EXPORT_GUESS
        if share is None and known is None:
            return None
        step_image = self._step_image / (share or 1.0)
        if known is not None and share != 1.0:
            step_image = known.step_image if share is None else min(known.step_image, step_image)
        return Speed(fixed, look, step_image, export, known.step_class if known else 0.0, known.forward if known else 0.0)
