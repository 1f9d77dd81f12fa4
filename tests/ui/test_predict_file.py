"""The door for files on the Predict tab: what it shows, what it opens, what it refuses, and the call for programs."""

from __future__ import annotations

import base64
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import gradio as gr
import numpy as np
import pytest
from PIL import Image
from tab_parts import Bench, ColourPredictor, Said, finish, make_bench, new_run, publish

from blocklora.errors import ImportRefused, ModelFileError, ProjectError
from blocklora.services.opened import OpenedFile, OpenedFiles
from blocklora.services.predicting import Predictors
from blocklora.ui import predict_file
from blocklora.ui.forms import Act, Values
from blocklora.ui.predict_api import endpoint
from blocklora.ui.predict_file import NAMED, FileDoor, moment, typed_path
from blocklora.ui.predict_tab import PredictTab

WEIRD = ("<img src=x onerror=alert(1)>", 'quote " and &amp;', "class-2")


class Foreign(ColourPredictor):
    """A file with labels of its own, whose metadata a stranger wrote."""

    labels = WEIRD

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        if b"bad" in path.read_bytes():
            raise ModelFileError(f"{path.name} uses the operator <Loop>, which this product never writes.", "Use another.")
        self.metadata = {
            "created": "2026-01-02T12:00:00Z",
            "base_model": "<b>tiny</b>",
            "precision": "int8",
            "accuracy": {"held_out": {"n": 1300, "correct": 1299}},
        }

    def predict(self, images: Sequence[np.ndarray]) -> list[Said]:
        return [Said(WEIRD[0], 0.7, list(zip(WEIRD, (0.7, 0.2, 0.1), strict=True))) for _ in images]


def foreign(studio: Any) -> None:
    """Let opened files be `Foreign`; the project's own model stays what it is."""
    studio.opened = OpenedFiles(studio.home, Predictors(cast(Any, Foreign)))


@pytest.fixture
def ready(bench: Bench) -> Bench:
    run = new_run(bench, "20260101-000000-quick")
    finish(run, bench)
    publish(run)
    foreign(bench.studio)
    return bench


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "uploads"
    folder.mkdir()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    return folder


def picture(uploads: Path, name: str = "red.png") -> str:
    Image.new("RGB", (64, 48), (240, 20, 20)).save(uploads / name)
    return str(uploads / name)


def model(folder: Path, name: str = "fruit.onnx", data: bytes = b"good") -> str:
    (folder / name).write_bytes(data)
    return str(folder / name)


def parts(bench: Bench) -> tuple[PredictTab, FileDoor]:
    rooms: Any = ("frame", "one", "many")
    tab = PredictTab(bench.ctx, *rooms)
    return tab, FileDoor(bench.ctx, cast(Any, "file"), tab.show)


def open_upload(door: FileDoor, path: str, values: Values) -> list[dict[Any, Any]]:
    return list(door.answer(Act("open-file", {"files": [path]}), values))


def test_an_uploaded_file_answers_and_says_what_it_is(ready: Bench, uploads: Path) -> None:
    tab, door = parts(ready)
    assert "Open an ONNX file" in door.show(ready.project)["file"]
    path = model(uploads, 'a"<i>.onnx')
    busy, done = open_upload(door, path, ready.values)
    assert "Checking a&quot;&lt;i&gt;.onnx" in busy["file"] and set(busy) == {"file"}
    card = done["file"]
    assert (
        "a&quot;&lt;i&gt;.onnx" in card and "3 labels" in card and "right on 1,299 of 1,300 images it never saw, as the file says" in card
    )
    assert (
        moment("2026-01-02T12:00:00Z") in card
        and "2026" in card
        and "&lt;b&gt;tiny&lt;/b&gt;" in card
        and "&lt;img src=x onerror=alert(1)&gt;" in card
    )
    assert not re.search(r"<img|<i>|<b>", card)
    assert "Answered by a&quot;&lt;i&gt;.onnx, the file that is opened below." in done["frame"]
    assert "answers now" in done["notice"] and not Path(path).exists()  # the copy is ours, the upload is gone
    answer = tab.pictures(Act("pictures", {"files": [picture(uploads)]}), ready.values)["one"]
    assert "<h2>&lt;img src=x" in answer and "<img src=x" not in answer
    assert tab.show(ready.project)["one"] == answer  # a reload


def test_back_to_the_projects_own_model(ready: Bench, uploads: Path) -> None:
    tab, door = parts(ready)
    own = tab.show(ready.project)
    open_upload(door, model(uploads), ready.values)
    (back,) = door.answer(Act("own-model", {}), ready.values)
    assert back["frame"] == own["frame"] and "Open an ONNX file" in back["file"]
    answer = tab.pictures(Act("pictures", {"files": [picture(uploads)]}), ready.values)["one"]
    assert "<h2>class-0</h2>" in answer


def test_a_refusal_leaves_the_model_that_answered(ready: Bench, uploads: Path) -> None:
    tab, door = parts(ready)
    open_upload(door, model(uploads), ready.values)
    before = (tab.show(ready.project), door.show(ready.project))
    steps = door.answer(Act("open-file", {"files": [model(uploads, "worse.onnx", b"bad")]}), ready.values)
    assert "Checking worse.onnx" in next(steps)["file"]
    assert next(steps) == before[1]  # not left at "Checking"
    with pytest.raises(ModelFileError, match=r"^worse.onnx uses the operator <Loop>"):
        next(steps)
    assert (tab.show(ready.project), door.show(ready.project)) == before
    assert list(uploads.glob("*.onnx")) == []


def test_every_project_has_its_own(ready: Bench, uploads: Path) -> None:
    tab, door = parts(ready)
    open_upload(door, model(uploads), ready.values)
    other = ready.studio.library.create("Other")
    assert "No model yet" in tab.show(other)["frame"] and "Open an ONNX file" in door.show(other)["file"]
    open_upload(door, model(uploads, "second.onnx", b"good, too"), {ready.ctx.project: other.id})
    assert "second.onnx" in tab.show(other)["frame"] and "fruit.onnx" in tab.show(ready.project)["frame"]
    answer = tab.pictures(Act("pictures", {"files": [picture(uploads)]}), {ready.ctx.project: other.id})["one"]
    assert "<h2>" in answer and "Wrong? Add to class" in answer  # a project without classes can begin with this picture


@pytest.mark.parametrize("nobody", ["-", ""])
def test_no_project_is_needed(ready: Bench, uploads: Path, nobody: str) -> None:
    tab, door = parts(ready)
    values = {ready.ctx.project: nobody}
    assert "No project is open" in tab.show(None)["frame"] and tab.tick(values) == {}
    with pytest.raises(ProjectError):
        tab.pictures(Act("pictures", {"files": [picture(uploads)]}), values)
    done = open_upload(door, model(uploads), values)[-1]
    assert "Drop a picture here" in done["frame"] and "Put it away" in done["file"]
    answer = tab.pictures(Act("pictures", {"files": [picture(uploads)]}), values)["one"]
    assert "<h2>" in answer and "Wrong?" not in answer and tab.show(None)["one"] == answer
    data = base64.b64encode(Path(picture(uploads)).read_bytes()).decode()
    (frame,) = tab.answer(Act("frame", {"data": data, "number": "3"}), values)
    assert 'data-number="3"' in frame["one"] and "&lt;img src=x" in frame["one"] and "Wrong?" not in frame["one"]
    archive = uploads / "two.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.write(picture(uploads), "one.png")
    tab.pictures(Act("pictures", {"files": [str(archive)]}), values)
    assert "1 answer" in wait_for_table(tab, values)
    batch = tab.batches.latest("")
    assert batch is not None and batch.folder == ready.studio.home / "exports"
    assert tab.lines(Act("forget", {}), values)["many"] == ""
    (back,) = door.answer(Act("own-model", {}), values)
    assert "No project is open" in back["frame"] and "Open an ONNX file" in back["file"]


def wait_for_table(tab: PredictTab, values: Values) -> str:
    import time

    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        batch = tab.batches.latest("")
        if batch is not None and batch.over:
            return str(tab.tick(values)["many"])
        time.sleep(0.02)
    raise AssertionError("the table is not done")


def test_another_page_follows(ready: Bench, uploads: Path) -> None:
    tab, door = parts(ready)
    shown = {**tab.show(ready.project), **door.show(ready.project)}
    assert door.tick({**ready.values, **shown}) == {} == tab.tick({**ready.values, **shown})
    open_upload(door, model(uploads), ready.values)
    moved = {**tab.tick({**ready.values, **shown}), **door.tick({**ready.values, **shown})}
    assert "fruit.onnx" in moved["frame"] and "fruit.onnx" in moved["file"]
    assert door.tick({**ready.values, **shown, **moved}) == {}
    assert door.tick(ready.values) == {}  # a page that has not drawn it yet is drawn by its tab


def test_the_words_that_it_is_checked_are_not_drawn_over(ready: Bench, uploads: Path) -> None:
    _, door = parts(ready)
    steps = door.answer(Act("open-file", {"files": [model(uploads)]}), ready.values)
    busy = next(steps)
    assert door.tick({**ready.values, **busy}) == {}
    steps.close()  # the page was closed
    assert "file" in door.tick({**ready.values, **busy})


def test_a_path_is_taken_from_who_sits_here_and_from_nobody_else(ready: Bench, tmp_path: Path) -> None:
    _, door = parts(ready)
    path = model(tmp_path, "own file.onnx")
    assert "By its path" in door.show(ready.project)["file"]
    done = list(door.answer(Act("open-path", {"file": f' "{path}" '}), ready.values))[-1]
    assert "own file.onnx" in done["file"] and "By its path" in done["file"] and Path(path).exists()
    object.__setattr__(ready.ctx, "local", False)
    assert "path" not in door.show(ready.project)["file"]
    with pytest.raises(ModelFileError, match="who sits at this machine"):
        list(door.answer(Act("open-path", {"file": path}), ready.values))


@pytest.mark.parametrize("typed", ["", "model.onnx", "../model.onnx", "~nobody-of-that-name/x.onnx", "/tmp/x\0.onnx"])
def test_paths_that_are_none(typed: str) -> None:
    with pytest.raises(ModelFileError, match="path"):
        typed_path(typed)


def test_only_one_upload_at_a_time_and_nothing_but_uploads(ready: Bench, uploads: Path, tmp_path: Path) -> None:
    _, door = parts(ready)
    two = [model(uploads, "a.onnx"), model(uploads, "b.onnx")]
    for files in ([], two, [model(tmp_path)], ["/etc/passwd"]):
        with pytest.raises(ImportRefused):
            list(door.answer(Act("open-file", {"files": files}), ready.values))
    with pytest.raises(ValueError, match="no act"):
        list(door.answer(Act("format-disk", {}), ready.values))
    assert ready.studio.opened.all() == []


def test_many_labels_are_counted() -> None:
    file = OpenedFile("0" * 64, "x.onnx", 25_000_000, tuple(f"label {i}" for i in range(5000)))
    drawn = predict_file.opened(file, False, True)
    assert drawn.count("<li>") == NAMED and "and 4,988 more" in drawn and "5,000 labels" in drawn
    assert "25 MB" in drawn and drawn.count("not stated") == 2


def test_moments() -> None:
    assert moment("2026-07-01T12:00:00Z").endswith("Jul 2026")
    assert moment("") == "not stated" and moment("yesterday") == "yesterday"
    assert moment("9999-99-99T00:00:00Z") == "9999-99-99T00:00:00Z"


# ---- the call for programs


@pytest.fixture
def called(ready: Bench, uploads: Path) -> Iterator[Bench]:
    _, door = parts(ready)
    open_upload(door, model(uploads), ready.values)
    yield ready


def test_programs_name_the_file_that_is_to_answer(called: Bench, uploads: Path) -> None:
    call, (file,) = endpoint(called.studio), called.studio.opened.all()
    for name in ("fruit.onnx", file.key, file.key[:10]):
        found = call({"path": picture(uploads)}, "", name)
        assert (found["model"], found["project"], found["run"]) == ("fruit.onnx", "", "")
    with pytest.raises(gr.Error, match="no opened file"):
        call({"path": picture(uploads)}, "", "/etc/passwd")


def test_programs_that_name_none_get_the_projects_model_whatever_is_tried_in_the_window(called: Bench, uploads: Path) -> None:
    found = endpoint(called.studio)({"path": picture(uploads)}, called.project.name)
    assert (found["label"], found["run"], found["model"]) == ("class-0", "20260101-000000-quick", "")


def test_no_project_at_all_and_a_file(data_home: Path, tmp_path: Path, uploads: Path) -> None:
    bench = make_bench(data_home, None, tmp_path)
    foreign(bench.studio)
    bench.studio.trash_project(bench.project.id)
    bench.studio.opened.open(Path(model(tmp_path)))
    assert endpoint(bench.studio)({"path": picture(uploads)}, "", "fruit.onnx")["model"] == "fruit.onnx"
