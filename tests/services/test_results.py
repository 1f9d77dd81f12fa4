"""Which figure of a run is told."""

from __future__ import annotations

import pytest

from blocklora.services.results import headline

SECTION = {"n": 10, "correct": 8}


@pytest.mark.parametrize(
    ("result", "kind", "which"),
    [
        ({"held_out": SECTION}, "held_out", "images it never saw"),
        ({"held_out": {**SECTION, "since_trained_on": True}}, "held_out", "images before it was trained on these too"),
        ({"held_out": {"n": 2, "correct": 2}, "cross_validated": SECTION}, "cross_validated", "by a model that had not seen it"),
        ({"held_out": SECTION, "cross_validated": {"n": 50, "correct": 2}, "test": SECTION}, "test", "test images it never saw"),
        ({"held_out": SECTION, "test": {"n": 0}}, "held_out", "images it never saw"),
    ],
)
def test_the_most_telling_figure_is_told(result: dict, kind: str, which: str) -> None:
    found = headline(result)
    assert (found.kind, found.n, found.correct) == (kind, 10, 8) and found.which.endswith(which)


@pytest.mark.parametrize("result", [None, {}, {"held_out": {"n": 0}}, {"held_out": "damaged"}])
def test_nothing_measured_is_nothing_told(result: dict | None) -> None:
    assert headline(result).n == 0
