"""The Results tab: the headline, what stands beside it, tables, the wrong pictures, the runs."""

from __future__ import annotations

import re
from typing import Any

import pytest
from tab_parts import Bench, finish, new_run, train_some

from blocklora.errors import JobError
from blocklora.files import write_json
from blocklora.ui.forms import Act
from blocklora.ui.results_tab import ResultsTab
from blocklora.ui.results_view import View, confusion, gallery, headline, wrong_images


def tab_of(bench: Bench) -> ResultsTab:
    room: Any = "room"
    return ResultsTab(bench.ctx, room)


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def section_of(table: list[list[int]], names: list[str]) -> dict[str, Any]:
    """A section of a result with that confusion table; every picture is 80 % sure, later ones less."""
    images = [
        {"label": i, "predicted": j, "probability": 0.8 - 0.01 * k, "image_id": f"i{i}{j}{k}"}
        for i, row in enumerate(table)
        for j, count in enumerate(row)
        for k in range(count)
    ]
    n, correct = sum(map(sum, table)), sum(table[i][i] for i in range(len(table)))
    rows = [
        {"name": name, "n": sum(table[i]), "correct": table[i][i], "predicted": sum(r[i] for r in table), "recall": None, "precision": None}
        for i, name in enumerate(names)
    ]
    return {
        "n": n,
        "correct": correct,
        "top1": correct / n,
        "interval": [0.5, 0.9],
        "per_class": rows,
        "confusion": table,
        "images": images,
    }


def test_headline_and_what_stands_beside_it(bench: Bench) -> None:
    run = new_run(bench, "20260101-000000-quick")
    result = finish(run, bench, offered=True)
    drawn = tab_of(bench).show(bench.project)["room"]
    words = text_of(drawn)
    held = result["held_out"]
    assert f"Right on {held['correct']} of {held['n']} images it never saw" in words
    assert "After training" in words and "Before training" in words and "From the names alone" in words and "By guessing" in words
    assert "On new images like these, expect between" in words and "Your class names mean something." in words


def test_zero_shot_is_left_out_where_names_mean_nothing(bench: Bench) -> None:
    finish(new_run(bench, "20260101-000000-quick"), bench, offered=False)
    words = text_of(tab_of(bench).show(bench.project)["room"])
    assert "From the names alone" not in words
    assert "The class names mean nothing to this model" in words


def test_training_that_did_not_help_is_told() -> None:
    section = section_of([[3, 1], [1, 3]], ["a", "b"])
    worse = {"frozen": {"n": 8, "correct": 7, "top1": 7 / 8}, "zero_shot": {}}
    same = {"frozen": {"n": 8, "correct": 6, "top1": 6 / 8}, "zero_shot": {}}
    assert "Training did not help here" in headline(worse, section, False)
    assert "Training changed nothing" in headline(same, section, False)
    assert "one more or less moves the share by 12 %" in headline(same, section, False)


def test_a_figure_from_before_the_last_training_says_so() -> None:
    section = section_of([[3, 1], [1, 3]], ["a", "b"])
    result = {"frozen": {"n": 8, "correct": 5, "top1": 5 / 8}, "zero_shot": {}}
    words = "trained anew on all images"
    assert words not in headline(result, section, False)
    assert words in headline(result, {**section, "since_trained_on": True}, False)


def test_no_held_out_images_is_not_a_score() -> None:
    drawn = headline({"verdict": "There were too few images."}, {"n": 0, "correct": 0}, False)
    assert "Nobody knows yet" in drawn and "There were too few images." in drawn


def test_names_are_escaped_everywhere() -> None:
    nasty = '<img src=x onerror="alert(1)">'
    section = section_of([[2, 1], [1, 2]], [nasty, "b"])
    drawn = confusion(section, View()) + gallery(section, View(), lambda row: ("t", "v"))
    assert "<img src=x" not in drawn and "&lt;img src=x onerror=&quot;alert(1)&quot;&gt;" in drawn


def test_confusion_shows_counts_and_marks_the_pressed_cell() -> None:
    section = section_of([[2, 3], [0, 4]], ["a", "b"])
    drawn = confusion(section, View(0, 0, 1))
    assert re.findall(r'<td class="right"[^>]*>(\d)</td>', drawn) == ["2", "4"]
    assert 'aria-label="3 of a taken for b"' in drawn and 'aria-pressed="true">3</button>' in drawn
    assert "<td></td>" in drawn  # an empty cell stays empty, so that a hundred classes stay light


def test_a_hundred_classes_stay_light() -> None:
    names = [f"class number {i}" for i in range(100)]
    section = section_of([[int(i == j) for j in range(100)] for i in range(100)], names)
    assert len(confusion(section, View())) < 150_000


def test_wrong_pictures_are_the_most_certain_first_and_come_in_pages(bench: Bench) -> None:
    section = section_of([[2, 40], [10, 2]], ["a", "b"])
    rows = wrong_images(section, View())
    assert len(rows) == 50 and [r["probability"] for r in rows] == sorted((r["probability"] for r in rows), reverse=True)
    drawn = gallery(section, View(page=2), lambda row: None)
    assert drawn.count("<figure") == 2 and "no longer in the project" in drawn
    only = gallery(section, View(0, 1, 0), lambda row: ("t", "v"))
    assert only.count("<figure") == 10 and "b taken for a" in only


def test_wrong_pictures_are_shown_by_id_and_their_cells_can_be_asked_for(bench: Bench) -> None:
    run = new_run(bench, "20260101-000000-quick")
    result = finish(run, bench, wrong=2)
    tab = tab_of(bench)
    drawn = tab.show(bench.project)["room"]
    wrong = wrong_images(result["held_out"], View())
    assert len(wrong) == 2
    for row in wrong:
        assert f"/media/{bench.project.id}/thumb/{row['image_id']}" in drawn
    assert str(bench.project.path) not in drawn
    true, said = wrong[0]["label"], wrong[0]["predicted"]
    drawn = tab.answer(Act("cell", {"true": str(true), "predicted": str(said)}), bench.values)["room"]
    assert f"class-{true} taken for class-{said}" in drawn
    assert "What it got wrong" in tab.answer(Act("cell", {"true": "-1", "predicted": "-1"}), bench.values)["room"]
    for odd in ({"true": "99", "predicted": "99"}, {"true": "x"}, {"true": "0", "predicted": None}):
        assert "What it got wrong" in tab.answer(Act("cell", odd), bench.values)["room"]


def test_pictures_that_are_gone_leave_a_place(bench: Bench) -> None:
    run = new_run(bench, "20260101-000000-quick")
    finish(run, bench, image_ids=False)
    assert "no longer in the project" in tab_of(bench).show(bench.project)["room"]


def test_own_test_images_come_first(bench: Bench) -> None:
    run = new_run(bench, "20260101-000000-quick")
    result = finish(run, bench)
    result["test"] = section_of([[9, 1], [2, 8]], ["class-0", "class-1"])
    write_json(run.result_path, result)
    words = text_of(tab_of(bench).show(bench.project)["room"])
    assert words.index("Right on 17 of 20 test images it never saw") < words.index("On the images held out in training")


def test_runs_are_listed_made_current_and_deleted(bench: Bench) -> None:
    old, new = new_run(bench, "20260101-000000-quick"), new_run(bench, "20260102-000000-quick", preset="balanced")
    finish(old, bench)
    finish(new, bench, wrong=1)
    bench.studio.make_current(bench.project, new.name)
    tab = tab_of(bench)
    drawn = tab.show(bench.project)["room"]
    assert drawn.count('data-act="current"') == 1 and f'data-run="{old.name}"' in drawn
    drawn = tab.answer(Act("current", {"run": old.name}), bench.values)["room"]
    assert bench.studio.finished_run(bench.project) == old
    assert '<div class="results" data-view' in drawn and f'data-run="{old.name}">' in drawn
    tab.answer(Act("delete", {"run": old.name}), bench.values)
    assert not old.path.exists() and bench.studio.finished_run(bench.project) == new
    for name in ("..", "", old.name):
        with pytest.raises(JobError):
            tab.answer(Act("delete", {"run": name}), bench.values)
    assert bench.project.path.exists()


def test_a_run_at_work_is_not_deleted(bench: Bench) -> None:
    run = new_run(bench, "20260101-000000-quick")
    train_some(run)
    drawn = tab_of(bench).show(bench.project)["room"]
    assert "Training goes on" in drawn and 'data-tab="train"' in drawn
    assert re.search(r'data-title="Delete this run\?"[^>]* disabled', drawn)
    with pytest.raises(JobError, match="still going on"):
        tab_of(bench).answer(Act("delete", {"run": run.name}), bench.values)


def test_nothing_yet_has_one_way_on(bench: Bench) -> None:
    assert 'data-do="new-project"' in tab_of(bench).show(None)["room"]
    drawn = tab_of(bench).show(bench.project)["room"]
    assert "No result yet" in drawn and drawn.count("<button") == 1
