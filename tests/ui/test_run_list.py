"""The run list with its notes, and two runs side by side below it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tab_parts import Bench, finish, new_run, publish, train_some

from blocklora.errors import JobError
from blocklora.files import write_json
from blocklora.jobs.run_folder import RunFolder
from blocklora.services.run_notes import read_note
from blocklora.ui.forms import Act
from blocklora.ui.results_tab import ResultsTab
from blocklora.ui.run_compare import CompareRoom

NASTY = '<img src=x onerror="alert(1)">'


def tab_of(bench: Bench) -> ResultsTab:
    room: Any = "room"
    return ResultsTab(bench.ctx, room)


def compare_of(bench: Bench) -> CompareRoom:
    room: Any = "compare"
    return CompareRoom(bench.ctx, room)


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def created(run: RunFolder, seconds: float) -> RunFolder:
    write_json(run.spec_path, {**run.spec(), "created": seconds})
    return run


@pytest.fixture
def two(bench: Bench) -> tuple[RunFolder, RunFolder]:
    """Two finished runs, the second better by two pictures and with another step size."""
    first = created(new_run(bench, "20260101-000000-quick"), 1_767_268_800.0)
    second = created(new_run(bench, "20260102-000000-quick", learning_rate=0.01), 1_767_355_200.0)
    finish(first, bench, wrong=3)
    finish(second, bench, wrong=1)
    return first, second


def test_a_line_says_on_which_images_how_good_and_how_large(bench: Bench, two: tuple[RunFolder, RunFolder]) -> None:
    publish(two[1])
    drawn = tab_of(bench).show(bench.project)["room"]
    words = text_of(drawn)
    assert two[0].spec()["data_hash"][:7] in words and words.count("as they are now") == 2
    assert "1.2 MB" in words and re.search(r"\d+ % to \d+ %", words)
    bench.project.delete_images([bench.project.images(None).items[0].id])
    words = text_of(tab_of(bench).show(bench.project)["room"])
    assert "as they are now" not in words and words.count("same images as 01 Jan 2026") == 1 == words.count("same images as 02 Jan 2026")


def test_headings_sort_and_a_narrow_screen_has_a_list_to_sort_by(bench: Bench, two: tuple[RunFolder, RunFolder]) -> None:
    page = tab_of(bench).show(bench.project)["room"]
    drawn = page[page.index('<table class="runs"') :]  # the classes' table sorts too
    assert drawn.count('data-do="sort"') == 7 and drawn.count('aria-sort="') == 1 and "data-sort-by" in page
    rows = re.findall(r"<tr class=.*?</tr>", drawn)
    assert len(rows) == 2 and all(row.count("data-value=") == 8 for row in rows)


def test_an_old_run_without_the_new_files_is_listed(bench: Bench) -> None:
    run = new_run(bench, "20260101-000000-quick")
    result = finish(run, bench)
    del result["held_out"]["interval"]
    write_json(run.result_path, result)
    write_json(run.spec_path, {**run.spec(), "data_hash": ""})
    assert "<code>" not in tab_of(bench).show(bench.project)["room"]
    train_some(new_run(bench, "20260102-000000-quick"))
    assert tab_of(bench).show(bench.project)["room"].count("<tr class=") >= 2


def test_a_note_is_kept_escaped_and_shown(bench: Bench, two: tuple[RunFolder, RunFolder]) -> None:
    drawn = tab_of(bench).answer(Act("note", {"run": two[0].name, "text": f"first try {NASTY}"}), bench.values)
    assert "The note is kept" in drawn["notice"] and read_note(two[0]) == f"first try {NASTY}"
    assert "<img src=x" not in drawn["room"] and drawn["room"].count("first try &lt;img src=x") == 2  # shown, and in the dialog's field
    tab_of(bench).answer(Act("note", {"run": two[0].name, "text": ""}), bench.values)
    assert read_note(two[0]) == ""
    with pytest.raises(JobError):
        tab_of(bench).answer(Act("note", {"run": "../..", "text": "x"}), bench.values)


def test_the_report_is_saved_at_once(bench: Bench, two: tuple[RunFolder, RunFolder]) -> None:
    said = tab_of(bench).answer(Act("report", {}), bench.values)["notice"]
    address = re.search(r'href="/download/([^/]+)/([^"]+)" download data-save', said)
    assert address and "report.html" in address[2]
    offer = bench.ctx.downloads.find(address[1])
    assert offer is not None
    page = Path(offer.path).read_text(encoding="utf-8")
    assert "Colours &amp; &lt;shapes&gt;" in page and "Right on <b>" in page and page.count("data:image/webp") == 1


def test_two_runs_are_compared_on_what_both_held_out(bench: Bench, two: tuple[RunFolder, RunFolder]) -> None:
    drawn = compare_of(bench).show(bench.project)["compare"]
    words = text_of(drawn)
    assert "2 flipped to right, 0 to wrong: that may be chance" in words and "They share only" in words
    assert "Wrong first, right second (2)" in words and "Right first, wrong second" not in words
    assert "Step size" in words and "Both had the same images." in words
    assert drawn.count('data-do="look"') == 2 and f"/media/{bench.project.id}/thumb/" in drawn


def test_sides_are_chosen_and_change_places(bench: Bench, two: tuple[RunFolder, RunFolder]) -> None:
    room, view = compare_of(bench), {"first": two[0].name, "second": two[1].name}
    drawn = room.answer(Act("first", {"value": two[1].name, "view": view}), bench.values)["compare"]
    assert "0 flipped to right, 2 to wrong" in text_of(drawn) or "Right first, wrong second (2)" in text_of(drawn)
    odd = room.answer(Act("second", {"value": "../..", "view": {"first": 3}}), bench.values)["compare"]
    assert "Compare two runs" in odd


def test_there_is_nothing_to_compare_with_one_run(bench: Bench) -> None:
    assert compare_of(bench).show(None)["compare"] == compare_of(bench).show(bench.project)["compare"] == ""
    finish(new_run(bench, "20260101-000000-quick"), bench)
    assert compare_of(bench).show(bench.project)["compare"] == ""


def test_a_run_with_damaged_pictures_is_told_in_place(bench: Bench, two: tuple[RunFolder, RunFolder]) -> None:
    two[0].dataset_path.unlink()
    drawn = compare_of(bench).show(bench.project)["compare"]
    assert "nobody knows its pictures" in drawn and "<select" in drawn
