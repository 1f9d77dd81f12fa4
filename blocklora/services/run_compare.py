"""Two runs side by side: what was set otherwise, and on which pictures their answers differ."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from blocklora.errors import JobError
from blocklora.jobs.run_folder import RunFolder
from blocklora.services.results import KINDS
from blocklora.services.run_data import RunData, has, read_run_data

FEW = 20  # shared pictures; below, a comparison says little
CHANCE = 0.05
UNTOLD = ("device",)  # settings that say where, not what
NAMES = {
    "backbone": "Backbone",
    "preset": "Recipe",
    "held_out": "Share held out",
    "class_weights": "Class weights from",
    "rotations": "Quarter turns",
    "templates": "Prompts",
    "last_layers": "Adapted layers, from the end",
    "learning_rate": "Step size",
    "head_learning_rate": "Step size of the class weights",
}


@dataclass(frozen=True)
class Flip:
    """A picture that the two runs answer differently: its true class and both answers as names, with their probabilities."""

    image_id: str
    sha256: str
    true: str
    first: str
    first_sure: float
    second: str
    second_sure: float


@dataclass(frozen=True)
class Comparison:
    """The second run against the first, on the `shared` pictures that neither trained on.

    `gained` were wrong and are right, `lost` were right and are wrong, `moved` are wrong in both, but otherwise. `relabelled` pictures
    have another class in the second run and are left out. `only_first` and `only_second` count what the other has no answer to.
    `section` is that of the result. `settings` are (name, first, second).
    """

    section: str
    settings: tuple[tuple[str, str, str], ...]
    shared: int
    right_first: int
    right_second: int
    gained: tuple[Flip, ...]
    lost: tuple[Flip, ...]
    moved: tuple[Flip, ...]
    only_first: int
    only_second: int
    relabelled: int
    same_data: bool

    @property
    def p_value(self) -> float:
        return sign_test(len(self.gained), len(self.lost))


def sign_test(gained: int, lost: int) -> float:
    """How often chance alone would flip so unevenly, or more: the exact two-sided McNemar test, 0..1 (McNemar 1947)."""
    n, least = gained + lost, min(gained, lost)
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(least + 1)) / 2**n)


def compare(first: RunFolder, second: RunFolder) -> Comparison:
    """Hold two finished runs against each other.

    Raises:
        JobError: it is one run twice, or one has no result.
    """
    if first.path == second.path:
        raise JobError("this is one run twice.", "Choose two.")
    try:
        return _compare(first, second)
    except (KeyError, IndexError, TypeError, ValueError) as error:  # a result from elsewhere may hold anything
        raise JobError(f"the result of one of these runs is damaged ({error!r}).", "Choose other runs.") from error


def _compare(first: RunFolder, second: RunFolder) -> Comparison:
    results = [_result(run) for run in (first, second)]
    data = [read_run_data(run) for run in (first, second)]
    section = next((name for name in KINDS if all(has(result, name) for result in results)), "held_out")
    rows = [_rows(result, found, section) for result, found in zip(results, data, strict=True)]
    gained: list[Flip] = []
    lost: list[Flip] = []
    moved: list[Flip] = []
    shared = right_first = right_second = relabelled = 0
    for sha256, before in rows[0].items():
        after = rows[1].get(sha256)
        if after is None:
            continue
        if before.true_key != after.true_key:
            relabelled += 1
            continue
        shared += 1
        right_first, right_second = right_first + before.right, right_second + after.right
        if before.said_key != after.said_key:
            flip = Flip(after.image_id or before.image_id, sha256, after.true, before.said, before.sure, after.said, after.sure)
            (gained if after.right else lost if before.right else moved).append(flip)
    return Comparison(
        section=section,
        settings=tuple(_settings(first, second, results, data)),
        shared=shared,
        right_first=right_first,
        right_second=right_second,
        gained=tuple(gained),
        lost=tuple(lost),
        moved=tuple(moved),
        only_first=len(rows[0].keys() - rows[1].keys()),
        only_second=len(rows[1].keys() - rows[0].keys()),
        relabelled=relabelled,
        same_data=data[0].dataset.data_hash == data[1].dataset.data_hash,
    )


@dataclass(frozen=True)
class _Row:
    image_id: str
    true: str
    true_key: str
    said: str
    said_key: str
    sure: float

    @property
    def right(self) -> bool:
        return self.true_key == self.said_key


def _result(run: RunFolder) -> dict[str, Any]:
    result = run.result()
    if result is None:
        raise JobError(f"the run {run.name} has no result.", "Choose runs that have finished.")
    return result


def _rows(result: Mapping[str, Any], data: RunData, section: str) -> dict[str, _Row]:
    """A section's answers by content of the picture. Classes are told apart by id, so that a new name makes no flip."""
    images = (result.get(section) or {}).get("images", [])
    items, names, ids = data.items(section, images), data.dataset.class_names, data.dataset.class_ids
    if len(images) != len(items):
        return {}
    rows = {}
    for row, item in zip(images, items, strict=True):
        true, said = int(row["label"]), int(row["predicted"])
        keys = [ids[i] or names[i] for i in (true, said)]
        rows[item.sha256] = _Row(item.image_id, names[true], keys[0], names[said], keys[1], float(row["probability"]))
    return rows


def _settings(first: RunFolder, second: RunFolder, results: list[dict[str, Any]], data: list[RunData]) -> list[tuple[str, str, str]]:
    """What was set, or came out, otherwise: (name, first, second)."""
    flat = [_flat(run.spec()) for run in (first, second)]
    lines = [(name, flat[0].get(name, "–"), flat[1].get(name, "–")) for name in dict.fromkeys([*flat[0], *flat[1]])]
    for name, values in (
        ("Images", [f"{len(found.dataset.items):,}" for found in data]),
        ("Classes", [f"{len(found.dataset.class_names):,}" for found in data]),
        ("Trained parameters", [f"{result.get('trainable_parameters', 0):,}" for result in results]),
    ):
        lines.append((name, values[0], values[1]))
    return [line for line in lines if line[1] != line[2]]


def _flat(spec: Mapping[str, Any]) -> dict[str, str]:
    parts = {"backbone": spec.get("backbone"), **dict(spec.get("training") or {}), **dict(spec.get("adapter") or {})}
    return {NAMES.get(key, key.replace("_", " ").capitalize()): _words(value) for key, value in parts.items() if key not in UNTOLD}


def _words(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return "–" if value is None else str(value)


# ---- in words


def verdict(found: Comparison) -> str:
    """What the flips say, and whether they say anything."""
    gained, lost = len(found.gained), len(found.lost)
    if not found.shared:
        return "They were measured on no picture in common, so they cannot be compared picture by picture."
    few = f" They share only {found.shared} pictures: so few say little." if found.shared < FEW else ""
    if not gained and not lost:
        return f"Both are right on the same pictures.{few}"
    flips = f"{gained} flipped to right, {lost} to wrong"
    if found.p_value >= CHANCE:
        return f"{flips}: that may be chance. Two equally good models would differ as unevenly {often(found.p_value)}.{few}"
    better = "The second is better" if gained > lost else "The first is better"
    return f"{flips}. {better} on these pictures: two equally good models would differ as unevenly {often(found.p_value)}.{few}"


def often(p_value: float) -> str:
    """A probability as how often something happens."""
    if p_value >= 0.995:
        return "every time"
    if p_value >= 0.1:
        return f"about {round(100 * p_value)} times in 100"
    if p_value >= 0.01:
        return f"about {round(1000 * p_value):,} times in 1,000"
    return "less than once in 100"
