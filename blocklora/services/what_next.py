"""What to add next: the classes of which a trained model was least sure, and the pictures that were hard for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from blocklora.services.data_check import images_judged

UNSURE = 0.6
"""A right answer with a lower probability than this could as well have been another one."""
LEAST, MOST = 2, 3
"""So many hard pictures make a class worth naming, and so many classes are named."""


@dataclass(frozen=True)
class Weak:
    """A class: `hard` of `n` pictures that were judged unseen were wrong or unsure; `images` are the ids of these, hardest first."""

    name: str
    hard: int
    n: int
    images: tuple[str, ...]


def weakest(result: Mapping[str, Any]) -> list[Weak]:
    """The classes to add pictures to, the weakest first; none where the model was sure of all."""
    section = result.get("cross_validated") or result.get("held_out") or {}
    names = [str(row.get("name", "")) for row in section.get("per_class", [])]
    rows: dict[int, list[tuple[float, str]]] = {}
    counts: dict[int, int] = {}
    for row in images_judged(result):
        label, wrong, probability = int(row["label"]), row["label"] != row["predicted"], float(row["probability"])
        counts[label] = counts.get(label, 0) + 1
        if wrong or probability < UNSURE:
            rows.setdefault(label, []).append((-probability if wrong else probability, str(row["image_id"])))
    found = [
        Weak(names[label], len(hard), counts[label], tuple(image for _, image in sorted(hard)))
        for label, hard in rows.items()
        if label < len(names) and len(hard) >= LEAST
    ]
    return sorted(found, key=lambda weak: (-weak.hard / weak.n, -weak.n, weak.name))[:MOST]
