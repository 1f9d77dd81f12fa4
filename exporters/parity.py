"""The gate: an exported file is published only if it answers like the model that was trained, on pictures of the project itself.

The model side is the adapted torch model before its adapters were merged; the file side is the predictor that people use. So one
comparison covers merging, tracing, preprocessing, the runtime, and the metadata's order of classes. Every picture is compared at its
own size (batch 1). For batches of 2 and 5, pictures must share a size: some are stretched to one canvas first, for both sides alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from blocklora.errors import ParityError
from exporters.predictor import Prediction

BATCHES = (2, 5)
CANVAS = (256, 320)  # height and width; neither square nor a model's own size, so cropping and resizing take part
CANVAS_PICTURES = 20
ADVICE = "Nothing was published. Export again; if it happens again, report it with the run's log."


@dataclass(frozen=True)
class Tolerance:
    """How far the file may be from the model. fp32 files are off by 1e-5 or less; a real fault is off by tenths."""

    probability: float = 1e-3
    """Largest difference of one probability."""
    cosine: float = 1e-4
    """Largest 1 - cos between the two embeddings."""
    disagreements: float = 0.0
    """Share of pictures whose first answer may differ, where the model's own lead is larger than `lead`."""
    lead: float = 2e-3
    """Lead of the model's first answer over its second up to which the choice is a coin toss."""
    edge: float = 1e-3
    """Distance from a threshold of the rule (a cosine, a probability) up to which "known" or not is a coin toss."""


@dataclass(frozen=True)
class Picture:
    """One picture to compare on: what to call it, its class, and its pixels, uint8 (H, W, 3)."""

    name: str
    label: int
    pixels: np.ndarray


@dataclass(frozen=True)
class Familiar:
    """What the rule says of one picture, and by how much it is beyond the least familiarity and the least sureness; both inf where only
    the answer is known.
    """

    known: bool
    familiar_by: float = math.inf
    sure_by: float = math.inf

    def clear(self, edge: float) -> bool:
        """Whether rounding cannot change it: refused by more than `edge` on one side, or known by more than that on both."""
        lower = min(self.familiar_by, self.sure_by)
        return lower > edge if self.known else lower < -edge or math.isinf(lower)


@dataclass(frozen=True)
class Answer:
    """What the model says of one picture: probabilities (C,), embedding (D,), and what its rule says where it has one."""

    probabilities: np.ndarray
    embedding: np.ndarray
    familiar: Familiar | None = None


@dataclass(frozen=True)
class Reference:
    """The trained model's answers, to hold any number of files against; `on_canvas` are stretched pictures with theirs."""

    answers: list[Answer]
    on_canvas: list[tuple[Picture, Answer]]


@dataclass(frozen=True)
class BatchReport:
    """The worst that was found at one batch size, and where."""

    batch: int
    images: int
    same_top1: int
    same_known: int
    probability: float
    probability_at: str
    cosine: float
    cosine_at: str


@dataclass(frozen=True)
class ParityReport:
    """What the gate saw. `correct` counts pictures at batch 1 that the file puts into their own class."""

    images: int
    correct: int
    tolerance: Tolerance
    canvas: tuple[int, int]
    batches: tuple[BatchReport, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


Pictures = Callable[[], Iterable[Picture]]
Ask = Callable[[np.ndarray], Answer]
Predict = Callable[[Sequence[np.ndarray]], Sequence[Prediction]]


def choose(labels: Sequence[int], limit: int) -> list[int]:
    """Positions of at most `limit` pictures, taken from each class in turn, in rising order."""
    by_class: dict[int, list[int]] = {}
    for position, label in enumerate(labels):
        by_class.setdefault(label, []).append(position)
    turns = sorted((turn, label, position) for label, positions in by_class.items() for turn, position in enumerate(positions))
    return sorted(position for _, _, position in turns[:limit])


def reference(ask: Ask, pictures: Pictures) -> Reference:
    """The answers of a model to pictures, one at a time; `pictures` is gone through once.

    Raises:
        ParityError: there are no pictures to compare on.
    """
    answers: list[Answer] = []
    on_canvas: list[tuple[Picture, Answer]] = []
    for picture in pictures():
        answers.append(ask(picture.pixels))
        if len(on_canvas) < CANVAS_PICTURES:
            stretched = Picture(picture.name, picture.label, _stretch(picture.pixels))
            on_canvas.append((stretched, ask(stretched.pixels)))
    if not answers:
        raise ParityError("there is no picture left to check the exported file with.", "Add images to the project and train again.")
    return Reference(answers, on_canvas)


def gate(predict: Predict, expected: Reference, pictures: Pictures, tolerance: Tolerance | None = None) -> ParityReport:
    """Hold a file's predictions against the reference at batch 1, 2 and 5.

    Args:
        predict: the file's predictions for pictures; it runs equal sizes as one batch.
        pictures: the same pictures in the same order as the reference saw.

    Raises:
        ParityError: one deviates by more than the tolerance; names it and says how far off.
    """
    limits = tolerance or Tolerance()
    correct = 0
    single = _Comparison(1, limits)
    for picture, answer in zip(pictures(), expected.answers, strict=True):
        (found,) = predict([picture.pixels])
        single.add(picture.name, answer, found)
        correct += int(np.argmax(found.probabilities)) == picture.label
    reports = [single.report()]
    for batch in BATCHES:
        comparison = _Comparison(batch, limits)
        for group in _batches(expected.on_canvas, batch):
            for (picture, answer), found in zip(group, predict([picture.pixels for picture, _ in group]), strict=True):
                comparison.add(picture.name, answer, found)
        reports.append(comparison.report())
    return ParityReport(len(expected.answers), correct, limits, CANVAS, tuple(reports))


class _Comparison:
    """Collects the worst deviations at one batch size, and refuses the first that is too large."""

    def __init__(self, batch: int, tolerance: Tolerance) -> None:
        self.batch, self.tolerance = batch, tolerance
        self.images = self.same = self.same_known = 0
        self.others: list[str] = []
        self.probability = self.cosine = (-1.0, "")

    def add(self, name: str, expected: Answer, found: Prediction) -> None:
        where = f"On {name} (batch of {self.batch}) the exported file"
        if found.probabilities.shape != expected.probabilities.shape or found.embedding.shape != expected.embedding.shape:
            raise ParityError(f"{where} gives {found.probabilities.shape[0]} probabilities, not {expected.probabilities.shape[0]}.", ADVICE)
        off = float(np.abs(found.probabilities - expected.probabilities).max())
        turned = 1.0 - float(np.dot(found.embedding.astype(np.float64), expected.embedding.astype(np.float64)))
        # Written so that a value that is not a number fails.
        if not off <= self.tolerance.probability:
            raise ParityError(f"{where} is off by {off:.2g} in a probability; allowed: {self.tolerance.probability:g}.", ADVICE)
        if not turned <= self.tolerance.cosine:
            raise ParityError(f"{where} turns the embedding by 1 - cos = {turned:.2g}; allowed: {self.tolerance.cosine:g}.", ADVICE)
        best, second = np.sort(expected.probabilities)[::-1][:2]
        same = int(found.probabilities.argmax()) == int(expected.probabilities.argmax())
        if not same and best - second > self.tolerance.lead:
            self.others.append(f"{name} is taken for {found.label!r}")
        self.same_known += self._rule(name, where, expected.familiar, found.known)
        self.images, self.same = self.images + 1, self.same + same
        self.probability, self.cosine = max(self.probability, (off, name)), max(self.cosine, (max(turned, 0.0), name))

    def _rule(self, name: str, where: str, expected: Familiar | None, found: bool | None) -> bool:
        """Whether both say the same about none of the classes; a clear difference is kept, the lack of a rule refused at once."""
        if (expected is None) != (found is None):
            raise ParityError(f"{where} {'lacks its' if found is None else 'has a'} rule for pictures of none of the classes.", ADVICE)
        same = expected is None or expected.known == found
        if not same and expected is not None and expected.clear(self.tolerance.edge):
            self.others.append(f"{name} is {'known' if found else 'none of the classes'} to it")
        return same

    def report(self) -> BatchReport:
        if len(self.others) > self.tolerance.disagreements * self.images:
            others = f"answers otherwise on {len(self.others)} of {self.images} pictures (batch of {self.batch})"
            raise ParityError(f"The exported file {others}; {self.others[0]}, which the trained model does not do.", ADVICE)
        return BatchReport(self.batch, self.images, self.same, self.same_known, *self.probability, *self.cosine)


def _stretch(pixels: np.ndarray) -> np.ndarray:
    """A picture at `CANVAS` size; its proportions change, which is the same for both sides."""
    height, width = CANVAS
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))


def _batches(pictures: list[tuple[Picture, Answer]], batch: int) -> Iterator[list[tuple[Picture, Answer]]]:
    """Full batches only; the last one, and the only one of a handful of pictures, begins again from the first."""
    for start in range(0, len(pictures), batch):
        yield [pictures[(start + i) % len(pictures)] for i in range(batch)]
