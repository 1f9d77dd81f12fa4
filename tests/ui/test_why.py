"""Why an answer was given: in the Predict tab, in the dialog of a wrong picture, and what the map's HTML holds."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tab_parts import Bench, ColourPredictor, finish, new_run, publish, write_preview

from blocklora.errors import ImageError, ImportRefused
from blocklora.services.heat import HeatMap, Reason
from blocklora.ui import heat_view, why
from blocklora.ui.forms import Act
from blocklora.ui.predict_tab import PredictTab
from blocklora.ui.results_tab import ResultsTab
from blocklora.ui.results_view import View, images_of
from blocklora.ui.why import WhyRoom

NASTY = '<img src=x onerror="alert(1)">'


@pytest.fixture
def ready(bench: Bench) -> Bench:
    """A project whose run is finished and exported."""
    run = new_run(bench, "20260101-000000-quick")
    finish(run, bench)
    publish(run)
    return bench


@pytest.fixture
def upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A picture as the page has uploaded it."""
    folder = tmp_path / "uploads"
    folder.mkdir()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    path = folder / "photo.png"
    Image.new("RGB", (64, 48), (240, 20, 20)).save(path)
    return str(path)


def predict_tab(bench: Bench) -> PredictTab:
    rooms: Any = ("frame", "one", "many")
    return PredictTab(bench.ctx, *rooms)


def map_of(*labels: str, flat: bool = False) -> HeatMap:
    heat = np.zeros((8, 8), np.float32)
    heat[0, 7] = 1.0
    return HeatMap(tuple(Reason(label, 0.6, 0.2, heat, flat) for label in labels), labels[0], 40, 80, (0, 20, 40, 40), 49, 0.1)


def asked(bench: Bench, tab: PredictTab, file: str) -> list[str]:
    return [update["one"] for update in tab.answer(Act("why", {"file": file}), bench.values) if "one" in update]


def test_the_answer_shows_that_it_is_looking_and_then_the_map(ready: Bench, upload: str) -> None:
    tab = predict_tab(ready)
    first = tab.pictures(Act("pictures", {"files": [upload]}), ready.values)["one"]
    assert 'data-do="predict-why"' in first and "heat" not in first
    busy, drawn = asked(ready, tab, upload)
    assert 'aria-busy="true"' in busy and "predict-why" not in busy
    assert 'class="heat"' in drawn and "data-heat-strength" in drawn and "spoke for “class-0”" in drawn and "predict-why" not in drawn
    assert drawn.count('type="radio"') == 2 and "--ratio:1.3333" in drawn
    assert tab.show(ready.project)["one"] == drawn  # a reload keeps it


def test_a_map_is_not_made_twice(ready: Bench, upload: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    explain = ColourPredictor.explain
    monkeypatch.setattr(ColourPredictor, "explain", lambda *given: (made.append(1), explain(*given))[1])
    tab = predict_tab(ready)
    assert len(asked(ready, tab, upload)) == len(asked(ready, tab, upload)) == 2 and len(made) == 1


def test_what_goes_wrong_leaves_the_answer(ready: Bench, upload: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object) -> HeatMap:
        raise ImageError("too odd.")

    monkeypatch.setattr(ColourPredictor, "explain", refuse)
    shown = []
    with pytest.raises(ImageError):
        for update in predict_tab(ready).answer(Act("why", {"file": upload}), ready.values):
            shown.append(update["one"])
    assert 'aria-busy="true"' in shown[0] and 'data-do="predict-why"' in shown[-1] and "aria-busy" not in shown[-1]
    for path in ("", "/etc/passwd", "../photo.png"):
        with pytest.raises(ImportRefused):
            list(predict_tab(ready).answer(Act("why", {"file": path}), ready.values))


def test_a_newer_answer_is_not_overwritten(ready: Bench, upload: str) -> None:
    tab = predict_tab(ready)
    going = tab.answer(Act("why", {"file": upload}), ready.values)
    next(going)
    other = Path(upload).with_name("other.png")
    Image.new("RGB", (64, 48), (20, 240, 20)).save(other)
    model_explains = ColourPredictor.explain

    def meanwhile(*given: Any) -> HeatMap:
        tab.pictures(Act("pictures", {"files": [str(other)]}), ready.values)
        return model_explains(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ColourPredictor, "explain", meanwhile)
        assert list(going) == []
    assert "other.png" in tab.show(ready.project)["one"]


def test_the_preview_is_asked_too(bench: Bench, upload: str) -> None:
    write_preview(bench)
    bench.studio._previews._worker = "exporters.previewer"
    assert 'class="heat"' in asked(bench, predict_tab(bench), upload)[-1]


def test_labels_are_escaped_and_every_layer_says_what_it_is() -> None:
    drawn = heat_view.figure(map_of(NASTY, "pen"), "data:image/webp;base64,AA", NASTY)
    assert "<img src=x" not in drawn and drawn.count("&lt;img src=x") >= 4
    alts = re.findall(r'class="layer" data-reason="\d"(?: hidden)? src="data:image/png;base64,[^"]+" alt="([^"]+)"', drawn)
    assert len(alts) == 2 and alts[1] == "Heat map for pen: warmest at the upper right"
    assert drawn.count("hidden") == 3  # the second label's layer and words, and the scale from screen readers
    assert 'type="radio"' not in heat_view.figure(map_of("pen"), "a", "b")
    assert "no part decides by itself" in heat_view.figure(map_of("pen", flat=True), "a", "b")


def test_two_maps_on_a_page_are_two_choices() -> None:
    names = [re.findall(r'name="(heat-\d+)"', heat_view.figure(map_of("pen", "cup"), "a", "b")) for _ in range(2)]
    assert len(set(names[0])) == len(set(names[1])) == 1 and names[0] != names[1]


# ---- the dialog


def test_wrong_pictures_have_the_button_where_there_is_a_file(bench: Bench) -> None:
    run = new_run(bench, "20260101-000000-quick")
    result = finish(run, bench, wrong=2)
    room: Any = "room"
    assert 'data-do="why"' not in ResultsTab(bench.ctx, room).show(bench.project)["room"]
    publish(run)
    drawn = ResultsTab(bench.ctx, room).show(bench.project)["room"]
    assert drawn.count('data-do="why"') == 2
    row = images_of(result["held_out"], View())[0]
    labels = f"[&quot;class-{row['predicted']}&quot;, &quot;class-{row['label']}&quot;]"
    assert f'data-image="{row["image_id"]}"' in drawn and f'data-labels="{labels}"' in drawn
    assert why.button(run, "", "words") == ""


@pytest.fixture
def press(ready: Bench) -> Callable[..., str]:
    room: Any = "why"
    dialog = WhyRoom(ready.ctx, room)
    run = ready.studio.finished_run(ready.project)
    assert run is not None
    image = ready.project.images(None).items[0].id
    return lambda **data: dialog.answer(Act("why", {"run": run.name, "image": image, "number": 3} | data), ready.values)["why"]


def test_the_dialog_explains_what_it_was_taken_for_and_what_it_is(press: Callable[..., str]) -> None:
    drawn = press(labels=["class-2", "class-1", "class-99"])
    assert drawn.startswith('<template data-number="3">') and 'class="heat"' in drawn
    assert [*re.findall(r"spoke for “([^”]+)”", drawn)] == ["class-2", "class-1"]
    said = re.findall(r"as it is now answers “([^”]+)”", drawn)
    assert said and said != ["class-2"]
    assert "as it is now" not in press(labels=said)


def test_what_goes_wrong_is_said_in_the_dialog(press: Callable[..., str]) -> None:
    for odd in ({"run": "../.."}, {"image": "nobody"}, {"labels": "x"}):
        drawn = press(**odd)
        assert drawn.startswith('<template data-number="3">')
        assert ('class="note danger"' in drawn) == ("labels" not in odd)
