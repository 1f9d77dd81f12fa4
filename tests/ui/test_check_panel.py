"""The data check as it is drawn and pressed, without a page; and the card of what to add next."""

from __future__ import annotations

from typing import Any

import pytest
from tab_parts import Bench, finish, new_run

from blocklora.errors import ProjectError
from blocklora.files import read_json, write_json
from blocklora.services.findings import Check, Doubt
from blocklora.services.previews import PreviewFolder
from blocklora.services.what_next import weakest
from blocklora.ui import next_card
from blocklora.ui.check_panel import CheckPanel
from blocklora.ui.forms import Act


@pytest.fixture
def panel(previewing: Bench) -> CheckPanel:
    room: Any = "check"
    stage: Any = "images"
    return CheckPanel(previewing.ctx, room, stage, lambda project, act: f"redrawn {act.inner('view').text('at')}")


def write(bench: Bench, **parts: Any) -> Check:
    made = Check(bench.project.mark(), bench.project.images(None).total, **parts)
    made.write(PreviewFolder.of(bench.project.path, "builtin").check)
    return made


def doubt_about(bench: Bench, index: int = 0) -> Doubt:
    """A doubt about the newest picture but `index` of the first class, which looks like the second."""
    first, second = bench.project.classes()[:2]
    return Doubt(bench.project.images(first.id).items[index].id, first.id, second.id, 6.0)


def press(panel: CheckPanel, bench: Bench, name: str, **data: Any) -> dict[Any, Any]:
    return panel.answer(Act(name, data), {bench.ctx.project: bench.project.id})


def test_nothing_is_said_before_anything_is_known_and_little_where_all_is_well(panel: CheckPanel, previewing: Bench) -> None:
    assert panel.show(None) == {"check": ""}
    assert "looking at the pictures" in panel.show(previewing.project)["check"]  # whose process was just started
    write(previewing)
    assert "nothing to mend in 24 pictures" in panel.show(previewing.project)["check"]


def test_findings_are_told_in_a_line_and_shown_behind_it(panel: CheckPanel, previewing: Bench) -> None:
    ids = [image.id for image in previewing.project.images(None).items[:6]]
    write(previewing, doubts=(doubt_about(previewing),), alike=((ids[0], ids[1]),), far=(ids[2],), poor=((ids[3], "dark"),))
    shown = panel.draw(previewing.project)
    assert "1 picture may be in the wrong class, 2 look alike, 1 is unlike everything else, 1 is hard to see" in shown
    assert "Move to class-1" in shown and "too dark to see much" in shown and shown.count('data-do="look"') == 5
    assert "<details" in shown and "<details open" not in shown


def test_names_cannot_be_anything_but_text(panel: CheckPanel, previewing: Bench) -> None:
    for info in previewing.project.classes():
        previewing.project.rename_class(info.id, f'<img src=x onerror="alert(1)">{info.position}')
    ids = [image.id for image in previewing.project.images(None).items[:6]]
    write(previewing, doubts=(doubt_about(previewing),), alike=((ids[0], ids[1]),), far=(ids[2],), poor=((ids[3], "<b>"),))
    assert "<img src=x" not in panel.draw(previewing.project)


def test_keep_is_for_good_and_can_be_undone(panel: CheckPanel, previewing: Bench) -> None:
    doubt = doubt_about(previewing)
    write(previewing, doubts=(doubt,))
    drawn = press(panel, previewing, "keep", ids=[doubt.image])
    assert "nothing to mend" in drawn["check"] and "Kept 1 image" in drawn["notice"] and "images" not in drawn
    token = previewing.project.undoable()[0].token
    assert f'data-token="{token}"' in drawn["notice"] and 'data-to="images"' in drawn["notice"]
    previewing.project.undo(token)
    values = {previewing.ctx.project: previewing.project.id, "check": drawn["check"]}
    assert "wrong class" in panel.tick(values)["check"]


def test_move_and_delete_draw_the_tab_as_it_was(panel: CheckPanel, previewing: Bench) -> None:
    first, second = doubt_about(previewing), doubt_about(previewing, 1)
    write(previewing, doubts=(first, second))
    drawn = press(panel, previewing, "move", ids=[first.image], to=first.likelier, view={"at": "gallery"})
    assert drawn["images"] == "redrawn gallery" and "1 picture may be" in drawn["check"] and "rail" in drawn
    assert previewing.project.image(first.image).class_id == first.likelier
    drawn = press(panel, previewing, "delete", ids=[second.image])
    assert "wrong class" not in drawn["check"] and second.image not in previewing.project.living([second.image])


def test_an_image_can_go_to_a_new_class(panel: CheckPanel, previewing: Bench) -> None:
    doubt = doubt_about(previewing)
    write(previewing, doubts=(doubt,))
    press(panel, previewing, "move", ids=[doubt.image], create="quince")
    assert previewing.project.classes()[-1].name == "quince" and previewing.project.classes()[-1].count == 1


def test_copies_that_are_kept_all_are_not_shown_again(panel: CheckPanel, previewing: Bench) -> None:
    ids = [image.id for image in previewing.project.images(None).items[:3]]
    write(previewing, alike=(tuple(ids),))
    assert "3 look alike" in panel.draw(previewing.project)
    drawn = press(panel, previewing, "keep-group", id=ids[0], count="3")
    assert "nothing to mend" in drawn["check"] and "images" not in drawn


def test_of_copies_one_alone_can_be_kept(panel: CheckPanel, previewing: Bench) -> None:
    ids = [image.id for image in previewing.project.images(None).items[:3]]
    write(previewing, alike=(tuple(ids),))
    drawn = press(panel, previewing, "keep-one", id=ids[1], count="3", view={"at": "gallery"})
    assert set(previewing.project.living(ids)) == {ids[1]} and drawn["images"] == "redrawn gallery"


@pytest.mark.parametrize("name", ["keep-one", "keep-group"])
def test_copies_that_are_not_the_ones_seen_are_left_alone(panel: CheckPanel, previewing: Bench, name: str) -> None:
    ids = [image.id for image in previewing.project.images(None).items[:4]]
    write(previewing, alike=(tuple(ids),))
    for data in ({"id": ids[0], "count": "3"}, {"id": "elsewhere", "count": "4"}, {}):
        with pytest.raises(ProjectError, match="not the same any more"):
            press(panel, previewing, name, **data)
    assert len(previewing.project.living(ids)) == 4 and not previewing.project.kept()


def test_of_many_copies_some_are_drawn_and_all_are_dealt_with(panel: CheckPanel, previewing: Bench) -> None:
    """Frames of a film can be thousands, and what is drawn travels with every look of the page."""
    images = previewing.project.images(None).items
    ids = [image.id for image in images]
    write(previewing, alike=(tuple(ids),))
    shown = panel.draw(previewing.project)
    assert "24 pictures that look nearly the same" in shown and shown.count("Keep only this") == shown.count('data-do="look"') == 12
    assert sum(shown.count(image) for image in ids) < 12 * 6 and "delete 23 others" in shown
    press(panel, previewing, "keep-one", id=ids[20], count="24")
    assert set(previewing.project.living(ids)) == {ids[20]}


def test_a_tick_changes_nothing_that_is_the_same(panel: CheckPanel, previewing: Bench) -> None:
    write(previewing, doubts=(doubt_about(previewing),))
    shown = panel.draw(previewing.project)
    assert panel.tick({previewing.ctx.project: previewing.project.id, "check": shown}) == {}
    assert panel.tick({previewing.ctx.project: ""}) == {}


def test_an_unknown_act_is_a_bug(panel: CheckPanel, previewing: Bench) -> None:
    with pytest.raises(ValueError, match="knows no act"):
        press(panel, previewing, "burn", ids=[])


def test_what_to_add_next_names_the_weakest_class_with_its_pictures(bench: Bench) -> None:
    run = new_run(bench, "20260101-000000-quick")
    finish(run, bench, wrong=0)
    result = read_json(run.result_path)
    for row in result["held_out"]["images"]:
        row["probability"] = 0.9
    assert weakest(result) == [] and next_card.draw(bench.project, result) == ""
    rows = [row for row in result["held_out"]["images"] if row["label"] == 1]
    image = bench.project.images(None).items[0].id
    result["held_out"]["images"] += [{**rows[0], "image_id": image, "probability": 0.5}, {**rows[0], "predicted": 0, "image_id": "gone"}]
    write_json(run.result_path, result)
    (weak,) = weakest(result)
    assert (weak.name, weak.hard, weak.n) == ("class-1", 2, len(rows) + 2) and weak.images == ("gone", image)
    shown = next_card.draw(bench.project, result)
    assert f"2 of its {weak.n} pictures" in shown and image in shown and "gone" not in shown
    assert next_card.draw(bench.project, {"held_out": {}}) == "" and weakest({}) == []
