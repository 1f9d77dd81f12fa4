"""The Predict tab and the one call for programs: pictures in, answers out, and wrong answers taught."""

from __future__ import annotations

import base64
import io
import re
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from PIL import Image
from tab_parts import Bench, finish, new_run, publish, write_preview

from blocklora.errors import ImageError, ImportRefused, JobError, ProjectError
from blocklora.jobs import events as said
from blocklora.services.batch import make_file
from blocklora.services.previews import Head, PreviewFolder, State
from blocklora.ui.forms import Act
from blocklora.ui.predict_api import endpoint
from blocklora.ui.predict_tab import PredictTab
from blocklora.ui.predict_view import ROWS

RED = (240, 20, 20)


def tab_of(bench: Bench) -> PredictTab:
    rooms: Any = ("frame", "one", "many")
    return PredictTab(bench.ctx, *rooms)


@pytest.fixture
def ready(bench: Bench) -> Bench:
    """A project whose run is finished and exported."""
    run = new_run(bench, "20260101-000000-quick")
    finish(run, bench)
    publish(run)
    return bench


@pytest.fixture
def upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """`upload(name, colour)` is a picture as the page has uploaded it."""
    folder = tmp_path / "uploads"
    folder.mkdir()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))

    def make(name: str = "photo.png", colour: tuple[int, int, int] = RED) -> str:
        path = folder / name
        Image.new("RGB", (64, 48), colour).save(path)
        return str(path)

    return make


def jpeg(colour: tuple[int, int, int] = RED) -> str:
    out = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(out, "JPEG")
    return base64.b64encode(out.getvalue()).decode()


# ---- before there is a model


def test_each_thing_missing_is_said_with_one_way_on(bench: Bench) -> None:
    tab = tab_of(bench)
    assert 'data-do="new-project"' in tab.show(None)["frame"]
    drawn = tab.show(bench.project)["frame"]
    assert "No model yet" in drawn and 'data-tab="train"' in drawn and drawn.count("<button") == 1
    run = new_run(bench, "20260101-000000-quick")
    finish(run, bench)
    drawn = tab.show(bench.project)["frame"]
    assert "Export first" in drawn and 'data-tab="export"' in drawn and drawn.count("<button") == 1
    bench.launcher.launch("", run)
    run.writer()(said.ExportStarted())
    run.writer()(said.ExportProgress("Writing the file", 0.4))
    drawn = tab.tick(bench.values)["frame"]
    assert "Writing the file" in drawn and 'aria-valuenow="40.0"' in drawn
    publish(run)
    run.writer()(said.ExportFinished(1, 1.0))
    assert "Drop a picture here" in tab.show(bench.project)["frame"]


# ---- by the preview, before there is a run


def previewed(bench: Bench) -> Head:
    """Let the bench's previewer have made a preview."""
    made = write_preview(bench)
    assert bench.studio.answering(bench.project, "builtin") is not None
    return made


def test_the_preview_answers_before_anything_is_trained(previewing: Bench, upload: Callable[..., str]) -> None:
    tab = tab_of(previewing)
    drawn = tab.show(previewing.project)["frame"]
    assert "Almost there" in drawn and [module for module, _ in previewing.launcher.started] == ["the.previewer"]
    head = previewed(previewing)
    shown = tab.tick({**previewing.values, "frame": drawn})["frame"]
    assert f"right on {head.correct} of {head.n} images, each compared with the others alone" in shown and "needs no training" in shown
    assert "frame" not in tab.tick({**previewing.values, "frame": shown})  # nothing has moved
    answered = tab.pictures(Act("files", {"files": [upload("red.png")]}), previewing.values)["one"]
    assert "class-0" in answered and tab.show(previewing.project)["one"] == answered
    found = endpoint(previewing.studio)({"path": upload("blue.png", (10, 20, 240))}, "")
    assert (found["label"], found["run"]) == ("class-2", "")


def test_a_run_takes_the_place_of_the_preview(previewing: Bench) -> None:
    previewed(previewing)
    tab = tab_of(previewing)
    shown = tab.show(previewing.project)["frame"]
    run = new_run(previewing, "20260101-000000-quick")
    finish(run, previewing)
    publish(run)
    assert "Answered by the exported ONNX file" in tab.tick({**previewing.values, "frame": shown})["frame"]


def test_what_is_taught_reaches_the_preview_at_once(previewing: Bench, upload: Callable[..., str]) -> None:
    previewed(previewing)
    tab = tab_of(previewing)
    act = Act("add", {"file": upload("new.png"), "id": previewing.project.classes()[0].id})
    (drawn,) = list(tab.answer(act, previewing.values))
    assert "The preview takes it in at once" in drawn["notice"]


def test_why_there_is_no_preview_is_told(previewing: Bench) -> None:
    folder = PreviewFolder.of(previewing.project.path, "builtin")
    State(previewing.project.mark(), reason="A class has no image that can be read.", advice="Look through them.").write(folder)
    drawn = tab_of(previewing).show(previewing.project)["frame"]
    assert "A class has no image that can be read. Look through them." in drawn and 'data-tab="train"' in drawn


# ---- one picture


def test_one_picture_gets_bars_time_and_the_true_provider(ready: Bench, upload: Callable[..., str]) -> None:
    tab = tab_of(ready)
    path = upload("<b>red.png")
    one = tab.pictures(Act("pictures", {"files": [path]}), ready.values)["one"]
    assert re.findall(r'class="pc">([\d.]+) %', one) == ["70.0", "20.0", "10.0"]
    assert "<h2>class-0</h2>" in one and "4.2 ms on the processor" in one and "CPUExecutionProvider" in one
    preview = re.search(r'src="data:image/webp;base64,([^"]+)"', one)
    assert preview and Image.open(io.BytesIO(base64.b64decode(preview[1]))).size == (64, 48)
    assert "<b>red" not in one and "&lt;b&gt;red.png" in one
    assert tab.show(ready.project)["one"] == one  # another tab, a reload, a second page


def test_the_last_answer_goes_with_the_model_that_gave_it(ready: Bench, upload: Callable[..., str]) -> None:
    tab = tab_of(ready)
    tab.pictures(Act("pictures", {"files": [upload()]}), ready.values)
    newer = new_run(ready, "20260102-000000-quick")
    finish(newer, ready)
    publish(newer)
    ready.studio.make_current(ready.project, newer.name)
    assert "The answer shows here" in tab.show(ready.project)["one"]


def test_a_file_that_is_no_picture_is_refused_in_words(ready: Bench, upload: Callable[..., str]) -> None:
    path = Path(upload("photo.png"))
    path.write_bytes(b"<svg onload=alert(1)>")
    with pytest.raises(ImageError, match="not a picture of a kind that is read"):
        tab_of(ready).pictures(Act("pictures", {"files": [str(path)]}), ready.values)


def test_only_uploads_are_ever_read(ready: Bench, upload: Callable[..., str], tmp_path: Path) -> None:
    upload()
    secret = tmp_path / "secret.png"
    Image.new("RGB", (9, 9)).save(secret)
    tab = tab_of(ready)
    for name in (str(secret), str(ready.project.path / "studio.sqlite"), "../secret.png", ""):
        with pytest.raises(ImportRefused):
            tab.pictures(Act("pictures", {"files": [name]}), ready.values)
        with pytest.raises(ImportRefused):
            list(tab.answer(Act("add", {"file": name, "create": "new"}), ready.values))
    with pytest.raises(ImportRefused):
        tab.pictures(Act("pictures", {"files": []}), ready.values)


# ---- the camera


def test_a_frame_of_the_camera_is_answered_with_its_number(ready: Bench) -> None:
    (out,) = tab_of(ready).answer(Act("frame", {"data": jpeg((10, 240, 10)), "number": "7"}), ready.values)
    assert 'data-number="7"' in out["one"] and "<h2>class-1</h2>" in out["one"]
    assert "preview" not in out["one"] and 'data-file=""' in out["one"]


@pytest.mark.parametrize("data", [None, 7, "%%%", "a" * (4 * 2**20 + 1), base64.b64encode(b"no picture").decode()])
def test_frames_that_are_none_are_refused(ready: Bench, data: object) -> None:
    with pytest.raises(ImageError):
        list(tab_of(ready).answer(Act("frame", {"data": data, "number": "1"}), ready.values))


# ---- teaching it better


def test_a_wrong_answer_puts_the_original_into_the_class_and_undo_takes_it_out(ready: Bench, upload: Callable[..., str]) -> None:
    tab = tab_of(ready)
    path = Path(upload("photo.png"))
    target = ready.project.classes()[2]
    (out,) = tab.answer(Act("add", {"file": str(path), "id": target.id}), ready.values)
    assert f"Added to {target.name}." in out["notice"] and "Train again" in out["notice"]
    newest = ready.project.images(target.id, 0).items[0]
    assert ready.project.original(newest.id).read_bytes() == path.read_bytes()
    assert f"[&quot;{target.id}&quot;, &quot;{target.name}&quot;, {target.count + 1}]" in out["frame"]
    with pytest.raises(ImportRefused, match="already in"):
        list(tab.answer(Act("add", {"file": str(path), "id": target.id}), ready.values))
    images = re.search(r'data-images="([^"]+)"', out["notice"])
    assert images
    list(tab.answer(Act("take-out", {"images": images[1]}), ready.values))
    assert ready.project.classes()[2].count == target.count


def test_a_new_class_can_be_made_for_it(ready: Bench, upload: Callable[..., str]) -> None:
    list(tab_of(ready).answer(Act("add", {"file": upload(), "create": "Überraschung <1>"}), ready.values))
    assert ready.project.classes()[-1].name == "Überraschung <1>" and ready.project.classes()[-1].count == 1


# ---- many pictures


def finished_table(tab: PredictTab, bench: Bench) -> str:
    batch = tab.batches.latest(bench.project.id)
    assert batch is not None
    deadline = time.monotonic() + 60
    while not batch.over and time.monotonic() < deadline:
        time.sleep(0.02)
    assert batch.over
    return str(tab.tick(bench.values)["many"])


def test_many_pictures_become_a_table_in_pages_with_a_csv(ready: Bench, upload: Callable[..., str]) -> None:
    tab = tab_of(ready)
    files = [upload(f"<{i}>.png", RED) for i in range(ROWS + 3)]
    tab.pictures(Act("pictures", {"files": files}), ready.values)
    drawn = finished_table(tab, ready)
    assert f"{ROWS + 3} answers" in drawn and "&lt;0&gt;.png" in drawn and "<0>" not in drawn
    assert drawn.count("<tr>") == ROWS + 1 and "1 of 2" in drawn
    second = tab.lines(Act("rows", {"page": "1"}), ready.values)["many"]
    assert second.count("<tr>") == 4 and tab.tick(ready.values)["many"] == second
    url = re.search(r'href="/download/([^/]+)/', drawn)
    assert url
    offer = ready.ctx.downloads.find(url[1])
    assert offer is not None and offer.path.parent == ready.project.exports_dir and offer.filename.endswith(".csv")
    batch = tab.batches.latest(ready.project.id)
    assert batch is not None
    kept = next(iter(batch.table.rows())).path
    assert kept.exists()  # they may still be sorted
    assert tab.lines(Act("forget", {}), ready.values)["many"] == "" and tab.tick(ready.values) == {}
    assert not kept.exists() and Path(files[0]).exists()  # an answer may be about it


def test_pictures_of_a_table_outlive_the_sweeping_of_uploads(ready: Bench, upload: Callable[..., str]) -> None:
    one, two = upload("one.png"), upload("two.png", (20, 240, 20))
    tab = tab_of(ready)
    tab.pictures(Act("pictures", {"files": [one, two]}), ready.values)
    finished_table(tab, ready)
    batch = tab.batches.latest(ready.project.id)
    assert batch is not None
    for name in (one, two):
        Path(name).unlink()  # as they are swept
    path, missing = make_file(batch, "zip")
    with zipfile.ZipFile(path) as archive:
        assert missing == 0 and len(archive.namelist()) == 2
    kept = next(iter(batch.table.rows())).path.parents[1]
    tab.batches.forget(ready.project.id)
    assert not kept.exists()


def test_a_typed_folder_is_taken_only_from_who_sits_at_the_machine(ready: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "me"))
    (tmp_path / "me" / "a").mkdir(parents=True)
    Image.new("RGB", (9, 9), (250, 0, 0)).save(tmp_path / "me" / "a" / "<1>.png")
    folder, sort = Act("folder", {"folder": f' "{tmp_path / "me"}" '}), Act("sort", {"folder": str(tmp_path / "me" / "b")})
    tab = tab_of(ready)
    tab.pictures(folder, ready.values)
    drawn = finished_table(tab, ready)
    assert "a/&lt;1&gt;.png" in drawn and "Sort into a folder" in drawn

    far = replace(tab, ctx=replace(ready.ctx, local=False))
    assert "Sort into a folder" not in str(far.tick(ready.values)["many"])
    for work in (lambda: far.pictures(folder, ready.values), lambda: far.lines(sort, ready.values)):
        with pytest.raises(ImportRefused, match="own machine"):
            work()
    for place in ("relative", str(tmp_path / "elsewhere" / "x"), "/"):
        with pytest.raises(ImportRefused):
            tab.lines(Act("sort", {"folder": place}), ready.values)
    assert not (tmp_path / "me" / "b").exists()
    tab.lines(sort, ready.values)
    batch = tab.batches.latest(ready.project.id)
    assert batch is not None
    deadline = time.monotonic() + 60
    while batch.making:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert [path.name for path in (tmp_path / "me" / "b").rglob("*.png")] == ["＜1＞.png"]
    assert "1 picture copied to" in str(tab.tick(ready.values)["many"])


def test_a_zip_is_many_pictures(ready: Bench, upload: Callable[..., str]) -> None:
    picture = Path(upload("red.png"))
    archive = picture.with_name("two.zip")
    with zipfile.ZipFile(archive, "w") as made:
        made.write(picture, "one.png")
        made.writestr("bad.png", b"\x89PNG\r\n\x1a\n broken")
    tab = tab_of(ready)
    assert "one" not in tab.pictures(Act("pictures", {"files": [str(archive)]}), ready.values)
    drawn = finished_table(tab, ready)
    assert "1 answer, 1 could not be read" in drawn and "damaged" in drawn


# ---- the call for programs


def test_programs_get_plain_values(ready: Bench, upload: Callable[..., str]) -> None:
    call = endpoint(ready.studio)
    answer = call({"path": upload()}, ready.project.name)
    assert answer["label"] == "class-0" and answer["probability"] == 0.7 and answer["top"][1] == ["class-1", 0.2]
    assert answer["provider"] == "CPUExecutionProvider" and answer["project"] == ready.project.name
    assert call({"path": upload()}, "")["run"] == "20260101-000000-quick"
    assert call({"path": upload()}, ready.project.id)["label"] == "class-0"


def test_programs_are_refused_in_words_and_read_uploads_only(ready: Bench, upload: Callable[..., str], tmp_path: Path) -> None:
    call = endpoint(ready.studio)
    outside = tmp_path / "outside.png"
    Image.new("RGB", (9, 9)).save(outside)
    upload()
    for image, project, words in (
        ({"path": str(outside)}, "", "no longer there"),
        ({}, "", "no longer there"),
        ({"path": upload()}, "nobody", "no project 'nobody'"),
    ):
        with pytest.raises(gr.Error, match=words):
            call(image, project)
    ready.studio.library.create("Bare")
    with pytest.raises(gr.Error, match="no finished training"):
        call({"path": upload()}, "bare")


def test_a_project_without_a_model_answers_nothing(bench: Bench, upload: Callable[..., str]) -> None:
    with pytest.raises(ImportRefused, match="no model yet"):
        tab_of(bench).pictures(Act("pictures", {"files": [upload()]}), bench.values)
    finish(new_run(bench, "20260101-000000-quick"), bench)
    with pytest.raises(JobError, match="no exported file"):
        tab_of(bench).pictures(Act("pictures", {"files": [upload()]}), bench.values)
    with pytest.raises(ProjectError):
        tab_of(bench).pictures(Act("pictures", {"files": [upload()]}), {bench.ctx.project: "-"})


def test_a_page_that_was_opened_too_early_gets_its_drop_area_when_the_file_is_there(bench: Bench) -> None:
    tab = tab_of(bench)
    shown = {"frame": tab.show(bench.project)["frame"]}
    assert "No model yet" in shown["frame"] and tab.tick(bench.values | shown) == {}
    run = new_run(bench, "20260101-000000-quick")
    finish(run, bench)
    shown = tab.tick(bench.values | shown)
    assert "Export first" in shown["frame"] and tab.tick(bench.values | shown) == {}
    run.writer()(said.ExportStarted())
    publish(run)
    run.writer()(said.ExportFinished(1, 1.0))
    shown = tab.tick(bench.values | shown)
    assert "Choose pictures" in shown["frame"]
    assert tab.tick(bench.values | shown) == {}  # nothing is drawn over what a person is doing
