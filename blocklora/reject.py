"""When to say "none of these": two questions about a picture, each with a least value that a known picture must reach.

Is it a picture of any class at all? Its *familiarity* is the largest cosine between its embedding and a class mean: far from all means is
something else. And is it clear which class? It is as *sure* as its largest probability. The first tells other things apart, the second
wrong answers; neither does the other's work (README, "Does it know what it does not know?").

A familiarity is comparable only within one model: adapters move the means and the pictures. So what is measured on held-out pictures is
kept in spreads of the training pictures around their own means (`Scale`), and becomes a cosine for the model that a file is made of.

NumPy only: window, training and export use it alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from blocklora.intervals import wilson

EVERYTHING = -2.0  # no cosine is below -1
KEPT = 0.95
ENOUGH = 20
"""Held-out pictures from which their own order says where the outermost twentieth begins; with fewer a distribution is assumed."""
FEWEST = 5
T95 = (6.31, 2.92, 2.35, 2.13, 2.02, 1.94, 1.89, 1.86, 1.83, 1.81, 1.80, 1.78, 1.77, 1.76, 1.75, 1.75, 1.74, 1.73, 1.73)
"""Student's t that 95 % lie below, for 1 to 19 degrees of freedom."""

DEFAULT, SEPARATED, PERSON, PRECISION, OFF, UNKNOWN = "default", "something else", "person", "precision", "off", "too few pictures"


@dataclass(frozen=True)
class Scale:
    """Where the training pictures of a model lie: mean and spread of the cosine to their class's mean, each left out of that mean."""

    mean: float
    spread: float

    def standard(self, cosines: np.ndarray) -> np.ndarray:
        """Cosines in spreads from the mean."""
        return (cosines - self.mean) / self.spread

    def cosine(self, standard: float) -> float:
        """The cosine at so many spreads from the mean; below every cosine for -infinity."""
        return EVERYTHING if math.isinf(standard) else max(EVERYTHING, self.mean + self.spread * standard)


@dataclass(frozen=True)
class Wish:
    """What a picture must reach to be answered: `familiar` in spreads of a `Scale` (None for anything), `sure` as a probability.

    `how` says who chose: `DEFAULT`, `SEPARATED`, `PERSON`, `PRECISION` (then `precision` was wished), `OFF` or `UNKNOWN`.
    """

    familiar: float | None = None
    sure: float = 0.0
    how: str = DEFAULT
    precision: float | None = None

    @property
    def always(self) -> bool:
        """Whether every picture is answered."""
        return self.familiar is None and self.sure <= 0

    def answers(self, scores: Scores) -> np.ndarray:
        """Whether each picture is answered, (N,) bool."""
        least = -math.inf if self.familiar is None else self.familiar
        return (scores.familiar >= least) & (scores.sure >= self.sure)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> Wish | None:
        """The wish in JSON values; None where they are none."""
        if not isinstance(values, dict):
            return None
        familiar, sure, precision = values.get("familiar"), values.get("sure", 0.0), values.get("precision")
        numbers = [value for value in (familiar, sure, precision) if value is not None]
        if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in numbers) or not isinstance(sure, (int, float)):
            return None
        return cls(familiar, min(max(float(sure), 0.0), 1.0), str(values.get("how", PERSON)), precision)


@dataclass(frozen=True)
class Scores:
    """What is known of pictures that the model did not learn from: `familiar` (N,) in spreads, `sure` (N,) 0..1, `right` (N,) bool."""

    familiar: np.ndarray
    sure: np.ndarray
    right: np.ndarray

    @classmethod
    def of_rows(cls, rows: Sequence[dict[str, Any]]) -> Scores:
        """The scores in a report's rows of pictures. Rows without a familiarity (of an older run) are left out."""
        known = [row for row in rows if isinstance(row.get("familiar"), (int, float))]
        return cls(
            np.array([row["familiar"] for row in known], dtype=np.float64),
            np.array([row["probability"] for row in known], dtype=np.float64),
            np.array([row["predicted"] == row.get("label") for row in known], dtype=bool),
        )

    def __len__(self) -> int:
        return len(self.sure)


@dataclass(frozen=True)
class Outcome:
    """What a rule does on pictures: how many of `n` it answers, how many of these are right, and how many of `others` it refuses."""

    n: int
    answered: int
    right: int
    others: int = 0
    refused: int = 0

    @property
    def share(self) -> float | None:
        """Share answered."""
        return self.answered / self.n if self.n else None

    @property
    def precision(self) -> float | None:
        """Share right of those answered."""
        return self.right / self.answered if self.answered else None

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of `precision`."""
        return wilson(self.right, self.answered)


def outcome(wish: Wish, scores: Scores, others: Scores | None = None) -> Outcome:
    """What `wish` does on held-out pictures and on pictures of something else (whose `right` does not matter)."""
    answered = wish.answers(scores)
    refused = 0 if others is None else int((~wish.answers(others)).sum())
    return Outcome(len(scores), int(answered.sum()), int((answered & scores.right).sum()), 0 if others is None else len(others), refused)


def default(scores: Scores, others: Scores | None = None) -> Wish:
    """The rule when nobody chose: refuse what is less familiar than 95 % of held-out pictures; with pictures of something else, what
    separates the two best.

    With fewer than `ENOUGH` pictures the fifth percentile is that of Student's prediction interval, which is wider the fewer there are;
    with fewer than `FEWEST` everything is answered.
    """
    if len(scores) < FEWEST:
        return Wish(how=UNKNOWN)
    if others is not None and len(others) >= FEWEST:
        return Wish(_separating(scores.familiar, others.familiar), how=SEPARATED)
    return Wish(_lowest(scores.familiar), how=DEFAULT)


def _lowest(familiar: np.ndarray) -> float:
    n = len(familiar)
    if n >= ENOUGH:
        return float(np.quantile(familiar, 1 - KEPT))
    return float(familiar.mean() - T95[n - 2] * familiar.std(ddof=1) * math.sqrt(1 + 1 / n))


def _separating(own: np.ndarray, others: np.ndarray) -> float:
    """The least familiarity with the largest sum of own pictures kept and others refused (Youden 1950), the lowest of equals; never one
    that refuses more than a fifth of the own pictures, whatever the others look like.
    """
    own, floor = np.sort(own), float(np.quantile(own, 0.2))
    candidates = np.unique(np.concatenate([own[own <= floor], [own[0] - 1e-6]]))
    gain = [float((own >= least).mean() + (others < least).mean()) for least in candidates]
    best = int(np.argmax(gain))
    below = others[others < candidates[best]]
    # Half way to the most familiar of the others that it refuses: as far from both as can be.
    return float((candidates[best] + below.max()) / 2) if len(below) else float(candidates[best])


def for_precision(scores: Scores, wished: float, others: Scores | None = None) -> Wish | None:
    """The rule that refuses fewest held-out pictures and is right on at least `wished` (0..1) of those it answers; None where none is.

    It keeps the default's least familiarity where that allows it, and raises how sure an answer must be.
    """
    if len(scores) < FEWEST:
        return None
    found: list[tuple[int, Wish]] = []
    start = default(scores, others).familiar
    for familiar in (start, None):
        for sure in (0.0, *np.unique(scores.sure)):
            wish = Wish(familiar, _below(float(sure)), PRECISION, wished)
            done = outcome(wish, scores)
            if done.answered and done.right >= wished * done.answered - 1e-9:
                found.append((done.answered, wish))
                break  # higher ones refuse more
        if found:
            return found[0][1]
    return None


def _below(sure: float) -> float:
    """Just below a picture's own probability, so that rounding on the way into the file does not refuse it."""
    return max(0.0, math.floor(sure * 1e4 - 1) / 1e4) if sure > 0 else 0.0


def curve(scores: Scores, others: Scores | None = None, familiar: float | None = None, steps: int = 50) -> list[dict[str, Any]]:
    """Rows of least sureness, share answered, share right of these and share of others refused, from answering all to answering few."""
    levels = np.unique(np.concatenate([[0.0], np.quantile(scores.sure, np.linspace(0, 0.98, steps))])) if len(scores) else np.zeros(1)
    rows = []
    for sure in levels:
        done = outcome(Wish(familiar, float(sure)), scores, others)
        refused = done.refused / done.others if done.others else None
        rows.append({"sure": float(sure), "answered": done.share, "right": done.precision, "refused": refused})
    return rows
