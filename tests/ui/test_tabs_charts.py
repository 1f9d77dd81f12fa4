"""Charts: round axes, everything in words as well, nothing drawn outside its box."""

from __future__ import annotations

import re

import pytest

from blocklora.ui.charts import accuracy_chart, axis, loss_chart, nice_ticks, steps_axis


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 2.3, (0.0, 1.0, 2.0, 3.0)),
        (0.55, 1, (0.4, 0.6, 0.8, 1.0)),
        (0, 0.034, (0.0, 0.01, 0.02, 0.03, 0.04)),
        (0, 8000, (0.0, 2000.0, 4000.0, 6000.0, 8000.0)),
        (0, 0, (0.0, 0.5, 1.0)),
    ],
)
def test_ticks_are_round_and_cover_the_range(low: float, high: float, ticks: tuple[float, ...]) -> None:
    assert nice_ticks(low, high) == ticks


def test_last_step_is_labelled_and_no_label_runs_into_it() -> None:
    assert steps_axis(200).ticks == (0, 50, 100, 150, 200)
    assert steps_axis(210).ticks == (0, 100, 210)


def test_values_beyond_an_axis_stay_in_the_box() -> None:
    assert axis(0, 1).share(7) == 1 and axis(0, 1).share(-7) == 0


def test_loss_says_itself_in_words() -> None:
    drawn = loss_chart([(5, 2.0), (10, 0.5)], 100)
    assert 'aria-label="Training loss: 2.00 at step 5, 0.50 at step 10."' in drawn
    assert "<b>0.50</b>" in drawn


def test_accuracy_marks_the_best_and_names_it() -> None:
    drawn = accuracy_chart([(20, 0.5), (40, 0.9), (60, 0.8)], 100, 30, best_step=40)
    assert "50 % at step 20, 80 % at step 60; best 90 % at step 40." in drawn
    assert len(re.findall(r'class="dot small"', drawn)) == 3 and len(re.findall(r'class="dot "', drawn)) == 1


def test_a_loss_of_almost_nothing_is_drawn_as_almost_nothing() -> None:
    """Its luck of 1e-5 would otherwise fill the chart and look like a training that goes wrong."""
    drawn = loss_chart([(5, 1e-5), (10, 4e-5), (15, 2e-5)], 20)
    heights = [float(y) for y in re.findall(r"[ML][\d.]+,([\d.]+)", drawn.split('class="line"')[1])]
    assert max(heights) - min(heights) < 1
    assert "<i>0.1</i>" in drawn


@pytest.mark.parametrize("drawn", [loss_chart([], 100), accuracy_chart([], 100, 0, 0), loss_chart([], 0)])
def test_no_points_are_no_error(drawn: str) -> None:
    assert "yet" in drawn and "nan" not in drawn.lower()
