"""The Results tab: the headline, what stands beside it, tables, the wrong pictures, the runs."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

import pytest
from tab_parts import Bench, finish, new_run, train_some

from blocklora.config import TrainingConfig
from blocklora.errors import JobError, TrainingError
from blocklora.files import read_json, write_json
from blocklora.jobs.run_folder import RunFolder
from blocklora.training.class_weights import Choice
from blocklora.training.rotations import rotation_words
from blocklora.ui.forms import Act
from blocklora.ui.predict_tab import model_words
from blocklora.ui.results_headline import headline
from blocklora.ui.results_more import expected, more
from blocklora.ui.results_tab import ResultsTab
from blocklora.ui.results_view import Shot, View, confusion, gallery, images_of


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


def test_turned_pictures_are_told() -> None:
    result = {"frozen": {"n": 8, "correct": 4, "top1": 0.5}, "zero_shot": {}, "held_out": section_of([[3, 1], [1, 3]], ["a", "b"])}
    words = rotation_words(True, TrainingConfig())
    assert words and words in text_of(headline({**result, "rotations_note": words})) and "turns" not in text_of(headline(result))
    assert "as asked" in rotation_words(True, TrainingConfig(rotations="yes")) and rotation_words(False, TrainingConfig()) == ""


def test_training_that_did_not_help_is_told() -> None:
    section = section_of([[3, 1], [1, 3]], ["a", "b"])
    worse = {"frozen": {"n": 8, "correct": 7, "top1": 7 / 8}, "zero_shot": {}}
    same = {"frozen": {"n": 8, "correct": 6, "top1": 6 / 8}, "zero_shot": {}}
    assert "Training did not help here" in headline({**worse, "held_out": section})
    assert "Training changed nothing" in headline({**same, "held_out": section})
    assert "one more or less moves the share by 12 %" in headline({**same, "held_out": section})


def test_a_figure_from_before_the_last_training_says_so() -> None:
    section = section_of([[3, 1], [1, 3]], ["a", "b"])
    result = {"frozen": {"n": 8, "correct": 5, "top1": 5 / 8}, "zero_shot": {}}
    words = "trained anew on all images"
    assert words not in headline({**result, "held_out": section})
    assert words in headline({**result, "held_out": {**section, "since_trained_on": True}})


def test_no_held_out_images_is_not_a_score() -> None:
    drawn = headline({"verdict": "There were too few images.", "held_out": {"n": 0, "correct": 0}})
    assert "Nobody knows yet" in drawn and "There were too few images." in drawn


def test_names_are_escaped_everywhere() -> None:
    nasty = '<img src=x onerror="alert(1)">'
    section = section_of([[2, 1], [1, 2]], [nasty, "b"])
    drawn = confusion(section, View()) + gallery(section, View(), lambda row: Shot("t", "v"))
    assert "<img src=x" not in drawn and "&lt;img src=x onerror=&quot;alert(1)&quot;&gt;" in drawn


def test_confusion_shows_counts_and_marks_the_pressed_cell() -> None:
    section = section_of([[2, 3], [0, 4]], ["a", "b"])
    drawn = confusion(section, View(0, 0, 1))
    assert re.findall(r'<td class="right"[^>]*><button[^>]*>(\d)</button></td>', drawn) == ["2", "4"]
    assert 'aria-label="4 of b recognised"' in drawn
    assert 'aria-label="3 of a taken for b"' in drawn and 'aria-pressed="true">3</button>' in drawn
    assert "<td></td>" in drawn  # an empty cell stays empty, so that a hundred classes stay light


def test_of_very_many_classes_those_that_are_mixed_up_most_are_shown() -> None:
    names = [f"class number {i}" for i in range(200)]
    # Sixty classes are taken for ten others; one pair is mixed up most of all; two classes hardly.
    table = [[3 * int(i == j) + int(20 <= i < 80 and j < 10) for j in range(200)] for i in range(200)]
    table[150][160], table[107][100], table[190][100] = 5, 1, 1
    drawn = confusion(section_of(table, names), View())
    assert drawn.count("<tr>") == 1 + 40 and "40 classes that are mixed up most, of 200" in drawn
    shown = re.findall(r'<th scope="row" title="class number (\d+)"', drawn)
    assert {"150", "160"} <= set(shown) and shown == sorted(shown, key=int)  # what is told in words is there to be seen
    assert 'data-true="150" data-predicted="160"' in drawn and not {"107", "190"} & set(shown)
    pressed = confusion(section_of(table, names), View(0, 190, 100))
    assert 'data-true="190" data-predicted="100"' in pressed and pressed.count("<tr>") == 1 + 40
    assert confusion({**section_of(table, names), "confusion": table[:-1]}, View()) == ""
    assert confusion(section_of([row[:100] for row in table[:100]], names[:100]), View()).count("<tr>") == 1 + 100


def test_a_hundred_classes_stay_light() -> None:
    names = [f"class number {i}" for i in range(100)]
    section = section_of([[int(i == j) for j in range(100)] for i in range(100)], names)
    assert len(confusion(section, View())) < 150_000


def test_wrong_pictures_are_the_most_certain_first_and_come_in_pages(bench: Bench) -> None:
    section = section_of([[2, 40], [10, 2]], ["a", "b"])
    rows = images_of(section, View())
    assert len(rows) == 50 and [r["probability"] for r in rows] == sorted((r["probability"] for r in rows), reverse=True)
    drawn = gallery(section, View(page=2), lambda row: None)
    assert drawn.count("<figure") == 2 and "no longer in the project" in drawn
    only = gallery(section, View(0, 1, 0), lambda row: Shot("t", "v"))
    assert only.count("<figure") == 10 and "b taken for a" in only


def test_wrong_pictures_are_shown_by_id_and_their_cells_can_be_asked_for(bench: Bench) -> None:
    run = new_run(bench, "20260101-000000-quick")
    result = finish(run, bench, wrong=2)
    tab = tab_of(bench)
    drawn = tab.show(bench.project)["room"]
    wrong = images_of(result["held_out"], View())
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
    assert re.search(rf'<div class="results" data-view="[^"]*" data-run="{old.name}"', drawn)
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


def test_every_image_judged_is_the_figure_and_says_how() -> None:
    section = {**section_of([[9, 1], [2, 8]], ["a", "b"]), "folds": 5}
    held_out = {**section_of([[1, 1], [0, 2]], ["a", "b"]), "since_trained_on": True}
    result = {
        "held_out": held_out,
        "cross_validated": section,
        "preview": {"n": 20, "correct": 15, "top1": 0.75},
        "frozen": {"n": 4, "correct": 4},
    }
    words = text_of(headline(result))
    assert "Right on 17 of 20 images Each was judged by a model that had not seen it: 5 trainings" in words
    assert "15 of 20" in words and "Without training" in words and "Before training" not in words and "did not help" not in words
    assert "did not help" in text_of(headline({**result, "preview": {"n": 20, "correct": 18, "top1": 0.9}}))


def test_a_run_that_went_on_is_compared_on_the_same_images() -> None:
    section = section_of([[3, 1], [1, 3]], ["a", "b"])
    words = text_of(headline({"held_out": section, "since": {"run": "x", "n": 8, "before": 4, "now": 6}}))
    assert "On the 8 held-out images that the run before had too: 4 right before, 6 now." in words


def test_a_count_on_the_diagonal_shows_its_pictures_too() -> None:
    section = section_of([[2, 3], [0, 4]], ["a", "b"])
    drawn = gallery(section, View(0, 1, 1), lambda row: Shot("t", "v"))
    assert drawn.count("<figure") == 4 and "b, recognised" in drawn


# ---- mending


def wrong_one(bench: Bench) -> tuple[ResultsTab, dict[str, Any], dict[str, Any]]:
    run = new_run(bench, "20260101-000000-quick")
    result = finish(run, bench, wrong=1)
    return tab_of(bench), result, images_of(result["held_out"], View())[0]


def test_a_wrong_picture_is_moved_and_moved_back(bench: Bench) -> None:
    tab, result, row = wrong_one(bench)
    ids = result["class_ids"]
    assert f'data-do="mend" data-image="{row["image_id"]}" data-said="{ids[row["predicted"]]}"' in tab.show(bench.project)["room"]
    drawn = tab.answer(Act("mend-move", {"image": row["image_id"], "to": ids[row["predicted"]]}), bench.values)
    assert bench.project.image(row["image_id"]).class_id == ids[row["predicted"]]
    assert f"now in class-{row['predicted']}" in drawn["room"] and "Undo" in drawn["notice"]
    token = re.search(r'data-token="([^"]+)"', drawn["notice"])
    assert token is not None
    drawn = tab.answer(Act("mend-undo", {"token": token[1], "project": bench.project.id}), bench.values)
    assert bench.project.image(row["image_id"]).class_id == ids[row["label"]] and "now in" not in drawn["room"]
    tab.answer(Act("mend-move", {"image": row["image_id"], "create": "A new one"}), bench.values)
    assert bench.project.classes()[-1].name == "A new one" and bench.project.classes()[-1].count == 1


def test_a_wrong_picture_is_deleted(bench: Bench) -> None:
    tab, _, row = wrong_one(bench)
    drawn = tab.answer(Act("mend-delete", {"image": row["image_id"]}), bench.values)
    assert "deleted since" in drawn["room"] and bench.project.images(None).total == 23


def test_what_a_person_calls_right_is_asked_no_more(bench: Bench) -> None:
    tab, _, row = wrong_one(bench)
    drawn = tab.answer(Act("mend-keep", {"image": row["image_id"]}), bench.values)
    assert "0 pictures, 1 left out as right" in drawn["room"] and 'data-do="mend"' not in drawn["room"]
    cell = {"true": str(row["label"]), "predicted": str(row["predicted"])}
    assert "you said it is right" in tab.answer(Act("cell", cell), bench.values)["room"]  # who looks for it finds it
    token = re.search(r'data-token="([^"]+)"', drawn["notice"])
    assert token is not None
    drawn = tab.answer(Act("mend-undo", {"token": token[1], "project": bench.project.id}), bench.values)
    assert 'data-do="mend"' in drawn["room"]


def test_large_results_are_not_parsed_at_every_look(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The timer looks every second and a half, in every window; a training that goes on is the current run, and has no result yet."""
    old, newer = (finish(run, bench) and run for run in (new_run(bench, f"2026010{n}-000000-quick") for n in (2, 1)))
    train_some(new_run(bench, "20260103-000000-quick"))
    studio = bench.studio
    assert studio.finished_run(bench.project) == newer  # by when it was asked for, whatever it is called
    first = [run for run in studio.runs(bench.project) if run.n]
    monkeypatch.setattr(RunFolder, "result", lambda self: pytest.fail("parsed again"))
    assert studio.finished_run(bench.project) == newer and [run for run in studio.runs(bench.project) if run.n] == first
    assert len(first) == 2 and "right on" in model_words(newer)
    write_json(old.result_path, {**read_json(old.result_path), "seconds": 43.0})
    assert {run.id: run.seconds for run in studio.runs(bench.project)}[old.name] == 43.0


def test_mended_images_are_trained_on_from_here(bench: Bench) -> None:
    run = new_run(bench, "20260101-000000-quick")
    result = finish(run, bench, wrong=1)
    row, ids = images_of(result["held_out"], View())[0], result["class_ids"]
    tab = tab_of(bench)
    with pytest.raises(TrainingError, match="older version"):
        tab.answer(Act("again", {}), bench.values)
    choice = asdict(Choice("images", 0.0, 0.0, 0.0, False, ""))
    write_json(run.result_path, {**result, "choice": choice})
    run.measured_path.write_bytes(b"adapters")
    assert 'data-act="again"' not in tab.show(bench.project)["room"]  # nothing is another yet
    drawn = tab.answer(Act("mend-move", {"image": row["image_id"], "to": ids[row["predicted"]]}), bench.values)["room"]
    assert "Since this run: 1 image moved to another class." in drawn and 'data-act="again"' in drawn
    drawn = tab.answer(Act("again", {}), bench.values)
    assert len(bench.trained) == 1 and "Training again from here." in drawn["notice"]
    again = RunFolder(bench.project.runs_dir / bench.trained[0])
    assert again.start_path.read_bytes() == b"adapters" and again.spec()["training"]["steps"] == round(run.spec()["training"]["steps"] / 2)
    answers = read_json(again.start_info_path)["answers"]
    assert answers[bench.project.image(row["image_id"]).sha256] == ids[row["predicted"]] and len(answers) == result["held_out"]["n"]
    # Whoever mends again and again has as many steps each time, not half of a half.
    write_json(again.result_path, {**finish(again, bench), "choice": choice})
    again.measured_path.write_bytes(b"adapters")
    third = bench.studio.train_again(bench.project, again)
    assert third.spec()["training"]["steps"] == again.spec()["training"]["steps"]
    held = read_json(again.dataset_path)
    assert {held["dataset"]["items"][i]["sha256"] for i in held["held_out"]} == set(answers)


# ---- what else was measured


def test_more_images_are_promised_as_far_as_they_were_measured() -> None:
    points = [{"shots": s, "top1": t, "low": t, "high": t} for s, t in ((1, 0.4), (2, 0.55), (4, 0.66), (8, 0.75))]
    section = section_of([[8, 2], [2, 8]], ["a", "b"])
    result = {"held_out": section, "preview": {"n": 20, "correct": 15, "top1": 0.75}, "learning_curve": {"points": points, "twice": 0.80}}
    assert expected(result) == "Yes: with twice the images expect about 84 % right in place of 80 %."  # a fifth of the errors goes away
    assert expected({**result, "learning_curve": {"points": points, "twice": 0.7501}}).startswith("Hardly")
    assert expected({**result, "learning_curve": {"points": points, "twice": None}}).startswith("There are too few")
    drawn = more(result)
    assert 'role="img" aria-label="Share of right answers by images a class: 1: 40%' in drawn and drawn.count("<svg") == 1


def test_the_calibration_is_told_in_words() -> None:
    rows = [{"n": 10, "confidence": 0.7, "right": 0.7}, {"n": 10, "confidence": 0.9, "right": 0.8}]
    result = {"calibration": {"n": 20, "before": rows, "after": rows, "ece_before": 0.2, "ece_after": 0.02}}
    words = text_of(more(result))
    assert "off by 2 points. Uncorrected it would be 20 points." in words and "From 20 images" in words
    assert more({}) == "" and more({"calibration": None}) == ""
