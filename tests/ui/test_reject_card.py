"""The card "When it should say none of these": what it gives the page, what a press keeps, and what is said of the file."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any

import numpy as np
import pytest
from tab_parts import Bench, Said, finish, new_run, publish

from blocklora.errors import JobError
from blocklora.files import read_json, write_json
from blocklora.jobs.run_folder import RunFolder
from blocklora.reject import OFF, PERSON, Outcome, Scores, Wish
from blocklora.services.exported import exported
from blocklora.services.rejecting import CHOSEN, RULE, rejecting, wish_of
from blocklora.services.status import Making
from blocklora.ui import predict_view, reject_card
from blocklora.ui.forms import Act
from blocklora.ui.predict_view import Answer
from blocklora.ui.reject_room import RejectRoom


def room_of(bench: Bench) -> RejectRoom:
    room: Any = "room"
    state: Any = "state"
    return RejectRoom(bench.ctx, room, state)


@pytest.fixture
def run(bench: Bench) -> RunFolder:
    """A finished run with a published file and twenty scored pictures, of which the least sure are wrong."""
    made = new_run(bench, "20260101-000000-quick")
    result = finish(made, bench)
    rows = [{"label": 0, "predicted": int(i < 4), "probability": 0.5 + i / 50, "familiar": i / 10 - 1.0} for i in range(20)]
    write_json(made.result_path, {**result, "held_out": {**result["held_out"], "images": rows, "n": 20}})
    publish(made)
    write_json(made.export_dir / "export.json", {**(read_json(made.export_dir / "export.json") or {}), "reject": wish_of(made).to_dict()})
    return made


def data_of(drawn: str) -> dict[str, Any]:
    found = re.search(r'data-reject="([^"]*)"', drawn)
    assert found
    values: dict[str, Any] = json.loads(unescape(found[1]))
    return values


def test_the_page_gets_what_it_counts_with(bench: Bench, run: RunFolder) -> None:
    drawn = room_of(bench).show(bench.project)
    data = data_of(drawn["room"])
    assert len(data["points"]) == 20 and data["points"][0] == [-1.0, 0.5, 0] and data["others"] == []
    assert data["now"] == data["suggested"] and data["now"]["how"] == "default"
    assert data["levels"][0] is None and data["now"]["familiar"] in data["levels"], "the slider can stand exactly where the rule is"
    assert data["levels"][1:] == sorted(data["levels"][1:])
    assert data["ready"]["0.95"]["sure"] > 0.5 and data["ready"]["0.95"]["how"] == "precision"
    assert "Answers <b>19 of 20</b>" in drawn["room"] and "Only 20 pictures to go by" in drawn["room"]
    assert "The exported file does this" in drawn["state"]


def test_apply_keeps_the_choice_and_writes_it_into_the_file(bench: Bench, run: RunFolder) -> None:
    room = room_of(bench)
    drawn = room.answer(Act("apply", {"familiar": -0.55, "sure": 0.6, "how": PERSON, "precision": None}), bench.values)
    assert wish_of(run) == Wish(-0.55, 0.6, PERSON) and bench.launcher.started[-1] == ("exporters.worker rule", run.path)
    assert "Chosen by hand" in drawn["room"] and "Writing it into the file" in drawn["state"]
    assert data_of(drawn["room"])["now"]["sure"] == 0.6


def test_suggested_comes_back_and_off_answers_everything(bench: Bench, run: RunFolder) -> None:
    room = room_of(bench)
    drawn = room.answer(Act("apply", {"familiar": 3, "sure": 0.9, "how": OFF}), bench.values)
    assert wish_of(run) == Wish(how=OFF) and "Switched off" in drawn["room"] and "checked" in drawn["room"]
    assert re.search(r'name="sure"[^>]* disabled', drawn["room"])
    room.answer(Act("apply", {"how": "suggested"}), bench.values)
    assert not (run.path / CHOSEN).exists() and wish_of(run).how == "default"


def test_what_the_page_sends_is_doubted(bench: Bench, run: RunFolder) -> None:
    for data in ({}, {"how": PERSON, "sure": "x"}, {"how": "<b>", "sure": 0.5}, {"how": PERSON, "familiar": [1], "sure": 0.5}):
        with pytest.raises(JobError, match="no choice"):
            room_of(bench).answer(Act("apply", data), bench.values)
    assert not (run.path / CHOSEN).exists()


def test_a_run_without_scores_and_a_project_without_runs(bench: Bench) -> None:
    room = room_of(bench)
    assert room.show(None) == room.show(bench.project) == {"room": "", "state": ""}
    finish(new_run(bench, "20260101-000000-quick"), bench)
    drawn = room.show(bench.project)
    assert "train again to choose" in drawn["room"] and drawn["state"] == "" and room.tick(bench.values) == {"state": ""}
    with pytest.raises(JobError):
        room.answer(Act("apply", {"how": OFF}), bench.values)


def test_the_state_of_the_file_in_words(bench: Bench, run: RunFolder) -> None:
    found, file = rejecting(run), exported(run)
    assert found is not None and file is not None
    assert "when the run is exported" in reject_card.state(found, None, None, False)
    write_json(run.path / CHOSEN, Wish(0.0, 0.7, PERSON).to_dict())
    waiting = rejecting(run)
    assert waiting is not None
    drawn = reject_card.state(waiting, file, None, False)
    assert "does not do this yet" in drawn and 'data-act="write"' in drawn
    failed = reject_card.state(waiting, file, Making(RULE, failed=True, reason="off by <0.2>", advice="again"), False)
    assert "off by &lt;0.2&gt;" in failed and 'data-act="write"' in failed
    assert 'aria-valuenow="30.0"' in reject_card.state(waiting, file, Making(RULE, "Checking", 0.3), True)


def test_a_rule_that_answers_nothing_or_knows_others() -> None:
    assert "<b>none</b>" in reject_card.words(Outcome(5, 0, 0))
    assert "Refuses <b>4 of 6</b> pictures of something else" in reject_card.words(Outcome(5, 5, 5, 6, 4))


def test_many_pictures_are_thinned_for_the_page() -> None:
    n = 5000
    own = Scores(np.linspace(-3, 3, n), np.full(n, 0.9), np.full(n, True))
    assert len(reject_card._points(own)) == 2000
    levels = reject_card.levels(own, Scores(np.array([-9.0]), np.array([0.5]), np.array([False])), [])
    assert levels[1] is not None and levels[1] < -9, "the slider reaches below the pictures of something else"


# ---- where answers are shown


def test_a_refused_picture_is_none_of_these_and_can_still_teach() -> None:
    found = Said("<mug>", 0.41, [("<mug>", 0.41), ("pear", 0.3)], known=False)
    drawn = predict_view.answer(Answer(found, "CPUExecutionProvider"))
    assert "None of these" in drawn and "Nearest: &lt;mug&gt;, 41 %" in drawn and "Add to class" in drawn
    for known in (True, None):
        plain = predict_view.answer(Answer(Said("mug", 0.41, [("mug", 0.41)], known=known), "CPUExecutionProvider"))
        assert "None of these" not in plain and "<h2>mug</h2>" in plain
