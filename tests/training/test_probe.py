"""The first estimate: what other programs take of the processor while it is measured is not counted."""

from __future__ import annotations

import itertools
import time

import pytest

from blocklora.training.probe import timed


@pytest.mark.parametrize(
    ("elapsed", "processor", "threads", "counted"),
    [
        (4.0, 2.0, 2, 1.0),  # two threads that had the processor a quarter of the time
        (1.0, 1.9, 2, 0.95),  # alone on it
        (1.0, 2.4, 2, 1.0),  # waiting threads spin: never more than passed
        (4.0, 2.0, None, 4.0),  # another device computes: its time is what passes
    ],
)
def test_only_its_own_time_counts(
    elapsed: float, processor: float, threads: int | None, counted: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    for clock, step in (("perf_counter", elapsed), ("process_time", processor)):
        ticks = itertools.count(0.0, step)
        monkeypatch.setattr(time, clock, lambda ticks=ticks: next(ticks))
    assert timed(lambda: None, threads) == pytest.approx(counted)
