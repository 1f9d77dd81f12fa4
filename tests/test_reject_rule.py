"""When to say "none of these": thresholds from scores, by hand and at the edge."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from blocklora.reject import DEFAULT, EVERYTHING, SEPARATED, UNKNOWN, Scale, Scores, Wish, curve, default, for_precision, outcome


def scores(familiar: list[float], sure: list[float] | None = None, right: list[bool] | None = None) -> Scores:
    n = len(familiar)
    return Scores(np.array(familiar, float), np.array(sure or [0.9] * n, float), np.array(right or [True] * n, bool))


def test_a_picture_at_the_threshold_is_answered_and_below_it_is_not() -> None:
    found = Wish(familiar=-1.0, sure=0.5).answers(scores([-1.0, -1.0001, 0.0, 0.0], [0.5, 0.9, 0.4999, 0.5]))
    assert found.tolist() == [True, False, False, True]
    assert Wish().answers(scores([-99.0], [0.0])).all() and Wish().always and not Wish(sure=0.1).always


def test_outcome_counts_by_hand() -> None:
    own = scores([0, -3, 0, 0], [0.9, 0.9, 0.3, 0.8], [True, True, False, False])
    others = scores([-5, 1, -5], [0.9, 0.9, 0.1])
    done = outcome(Wish(-2.0, 0.5), own, others)
    assert (done.n, done.answered, done.right, done.others, done.refused) == (4, 2, 1, 3, 2)
    assert (done.share, done.precision) == (0.5, 0.5) and done.interval[0] < 0.5 < done.interval[1]
    assert outcome(Wish(99.0), own).precision is None and outcome(Wish(), scores([])).share is None


def test_the_default_refuses_a_twentieth_of_many_pictures() -> None:
    values = np.random.default_rng(0).normal(size=200)
    wish = default(Scores(values, np.full(200, 0.9), np.full(200, True)))
    assert wish.how == DEFAULT and outcome(wish, scores(values.tolist())).answered == 190 and wish.sure == 0


def test_with_few_pictures_the_default_is_wider_and_with_fewer_still_it_answers_everything() -> None:
    rng = np.random.default_rng(1)
    for n in (5, 10, 19):
        refused = []
        for _ in range(2000):
            values = rng.normal(size=n)
            least = default(scores(values.tolist())).familiar
            assert least is not None
            refused.append(rng.normal() < least)
        assert 0.03 < np.mean(refused) < 0.07, n  # of a new picture: a twentieth, as with many
    assert default(scores([0.0] * 4)) == Wish(how=UNKNOWN)


def test_pictures_of_something_else_move_the_threshold_between_both() -> None:
    own, others = scores([0.0, 0.1, 0.2, 0.3, 0.4, 0.5]), scores([-9.0, -8.0, -7.0, -6.0, -6.0])
    wish = default(own, others)
    assert wish.how == SEPARATED and wish.familiar == pytest.approx(-3.0)  # half way from -6 to 0
    # Others that look like the classes must not make the rule refuse the classes.
    alike = default(own, scores([9.0] * 10))
    assert outcome(alike, own).answered >= 4
    assert default(own, scores([-9.0] * 4)).how == DEFAULT, "too few to go by"


def test_precision_is_reached_with_the_smallest_refusal() -> None:
    sure = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.96, 0.99]
    right = [False, True, False, True, True, True, True, True, True, True]
    own = scores([0.0] * 10, sure, right)
    wish = for_precision(own, 0.95)
    assert wish is not None and outcome(wish, own).answered == 7 and 0.599 < wish.sure < 0.6
    half = for_precision(own, 0.85)
    assert half is not None and outcome(half, own).answered == 9  # 8 of 9 right
    assert for_precision(own, 0.8) == Wish(half.familiar, 0.0, "precision", 0.8)  # 8 of 10: nothing need be refused
    assert for_precision(scores([0.0] * 6, [0.9] * 6, [False] * 6), 0.5) is None
    assert for_precision(scores([0.0] * 3), 0.5) is None


def test_the_curve_answers_less_as_it_asks_for_more() -> None:
    rng = np.random.default_rng(2)
    sure = rng.uniform(0.3, 1, 100)
    own = Scores(np.zeros(100), sure, rng.uniform(size=100) < sure)
    rows = curve(own, scores([0.0], [0.5]))
    assert rows[0]["answered"] == 1 and rows[0]["refused"] == 0 and rows[-1]["refused"] == 1
    answered = [row["answered"] for row in rows]
    assert answered == sorted(answered, reverse=True) and rows[-1]["right"] > rows[0]["right"]
    assert json.dumps(rows)


def test_a_scale_turns_spreads_into_cosines_and_back() -> None:
    scale = Scale(0.8, 0.1)
    assert scale.cosine(-2.0) == pytest.approx(0.6) and scale.standard(np.array([0.6]))[0] == pytest.approx(-2)
    assert scale.cosine(-math.inf) == EVERYTHING and scale.cosine(-99) == EVERYTHING


def test_a_choice_is_read_back_and_a_damaged_one_is_none() -> None:
    wish = Wish(-1.5, 0.4, "precision", 0.95)
    assert Wish.from_dict(json.loads(json.dumps(wish.to_dict()))) == wish
    for values in (None, [], {"familiar": "x"}, {"familiar": math.nan}, {"sure": None}, {"sure": "0.5"}):
        assert Wish.from_dict(values) is None, values
    assert Wish.from_dict({"sure": 7}) == Wish(None, 1.0, "person")


def test_rows_without_a_familiarity_are_left_out() -> None:
    rows = [{"probability": 0.5, "predicted": 1, "label": 1}, {"probability": 0.7, "predicted": 0, "label": 1, "familiar": -1.0}]
    found = Scores.of_rows(rows)
    assert len(found) == 1 and not found.right[0] and found.familiar[0] == -1.0
