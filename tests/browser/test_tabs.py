"""The tabs after Images by hand, in a real browser: what a person types, opens or presses stays theirs while the page moves."""

from __future__ import annotations

import csv
import json
import os
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tour
from PIL import Image
from playwright.sync_api import Page, Request, Route, expect
from studio_window import CAMERA, NARROW, ROOT, SAMPLE, Server, serving

sys.path.insert(0, str(ROOT / "tests" / "ui"))
from tab_parts import Bench, finish, make_bench, new_run, publish, train_some
from tiny_model import export_tiny_model

from blocklora.jobs import events as said
from blocklora.jobs.liveness import beat
from blocklora.jobs.turns import Turns
from blocklora.projects.library import Library
from blocklora.speeds import Speed, remember
from blocklora.ui.tab import DRAWN

OpenPage = Callable[..., Page]

# Keeps the frames that are asked about, in their order, and every stream of a camera, as slow to come as a real one.
NOTED = """() => {
  window.frames_ = [];
  window.streams = [];
  const read = FileReader.prototype.readAsDataURL;
  FileReader.prototype.readAsDataURL = function (blob) { window.frames_.push(blob); return read.call(this, blob); };
  const camera = navigator.mediaDevices.getUserMedia;
  navigator.mediaDevices.getUserMedia = async (wish) => {
    await new Promise((done) => setTimeout(done, 300));
    const stream = await camera(wish);
    window.streams.push(stream);
    return stream;
  };
}"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A project of the sample's pictures in the server's data home; its runs are written by hand."""
    return make_bench(tmp_path / "home", SAMPLE / "images", ROOT)


@pytest.fixture
def window(bench: Bench, tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path / "home") as running:
        yield running


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny file of the real kind; it knows apples, pears and a class that would be a formula."""
    return export_tiny_model(tmp_path_factory.mktemp("model") / "model.onnx")


def open_tab(open_page: OpenPage, window: Server, tab: str, **options: object) -> Page:
    page = open_page(f"{window.url}/?tab={tab}", **options)
    expect(page.get_by_role("tab", name=tab.title(), exact=True)).to_have_attribute("aria-selected", "true")
    return page


def exported(bench: Bench, model: Path) -> None:
    run = new_run(bench, "20260101-000000-quick")
    finish(run, bench)
    publish(run)
    run.onnx_path.write_bytes(model.read_bytes())


def test_what_is_typed_and_opened_stays_while_a_run_goes_on(bench: Bench, window: Server, open_page: OpenPage) -> None:
    run = new_run(bench, "20260101-000000-quick")
    train_some(run, steps=60)
    run.log_path.write_text("\n".join(f"line {i}" for i in range(200)))
    page = open_tab(open_page, window, "train")
    expect(tour.run_card(page)).to_contain_text("step 60 of 200")
    page.locator("summary", has_text="Advanced").click()
    page.locator("summary", has_text="Log").click()
    page.locator(".log pre").evaluate("box => (box.scrollTop = -120)")
    page.locator("#train-form [name=rank]").fill("8")  # typed, not yet left
    run.writer()(said.Step(61, 200, 0.2, 1e-3, 30.0, 139.0))
    expect(tour.run_card(page)).to_contain_text("step 61 of 200")
    expect(page.locator("#train-form [name=rank]")).to_have_value("8")
    expect(page.locator("#train-form [name=rank]")).to_be_focused()
    expect(page.locator("#train-form [name=rank]")).to_be_visible()
    assert page.locator(".log pre").evaluate("box => box.scrollTop") == -120

    page.keyboard.press("Tab")
    expect(page.locator("#train-form .changed")).to_contain_text("rank")
    expect(page.locator("#train-form p.hint")).to_contain_text("LoRA of rank 4")
    page.reload()
    expect(page.locator("#train-form .changed")).to_contain_text("rank")
    second = open_tab(open_page, window, "train")
    expect(second.locator("#train-form [name=rank]")).to_have_value("8")

    page.get_by_role("button", name="Stop and keep best").click()
    expect(tour.run_card(page)).to_contain_text("Stopping; the best version so far is kept")
    expect(tour.run_card(second)).to_contain_text("Stopping; the best version so far is kept")
    assert run.requested() == "stop"


def test_waiting_runs_change_places(bench: Bench, window: Server, open_page: OpenPage) -> None:
    first, second, third = (new_run(bench, f"2026010{day}-000000-quick") for day in (1, 2, 3))
    turns = Turns(bench.studio.home, "cpu")
    slots = []
    for run in (first, second, third):
        beat(run.heartbeat_path, os.getpid())  # this process stands in for their workers
        turns.enter(run)
        run.writer()(said.Queued("cpu"))
        slots += [slot] if run is first and (slot := turns.take(first, give_up=lambda: False)) else []
    train_some(first)
    page = open_tab(open_page, window, "train")
    rows = page.locator(".queue li").filter(has=page.get_by_role("button", name="Earlier"))
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text(second.name)
    rows.last.get_by_role("button", name="Earlier").click()
    expect(rows.first).to_contain_text(third.name)
    assert turns.waiting() == [third.path, second.path]
    slots[0].release()


def test_recipes_are_chosen_by_keyboard_and_another_project_has_its_own(bench: Bench, window: Server, open_page: OpenPage) -> None:
    other = bench.studio.library.create("Other")
    # A speed is known from the start, or a worker of the window's own would measure one at a moment of its choosing.
    remember(bench.studio.home, "cpu", "builtin", Speed(fixed=600, look=0, step_image=0, export=60))
    page = open_tab(open_page, window, "train")
    page.goto(f"{window.url}/?tab=train&project={bench.project.id}")
    page.locator("label.preset", has_text="Balanced").locator("input").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("label.preset", has_text="Thorough").locator("input")).to_be_checked()
    page.locator("summary", has_text="Advanced").click()
    page.locator("#train-form [name=seed]").fill("77")
    expect(page.locator("#train-form [data-time=quick]")).to_have_text("about 11 minutes")
    remember(bench.studio.home, "cpu", "builtin", Speed(fixed=60, look=0, step_image=0, export=60))  # as a worker does, at any moment
    expect(page.locator("#train-form [data-time=quick]")).to_have_text("about 2 minutes")
    page.locator("#train-form [name=seed]").press("Enter")
    expect(page.locator("#train-form .changed")).to_contain_text("seed")
    page.locator(f".projects [data-id='{other.id}'].open").click()
    expect(page.locator("#train-form [name=seed]")).to_have_value("1")
    expect(page.locator("label.preset", has_text="Quick").locator("input")).to_be_checked()
    expect(page.locator("[data-room=train-go]")).to_contain_text("There are no classes")
    expect(page.get_by_role("button", name="Train", exact=True)).to_be_disabled()
    page.get_by_role("button", name="Add images").click()
    expect(page.get_by_role("tab", name="Images", exact=True)).to_have_attribute("aria-selected", "true")


def test_a_tab_is_drawn_once_as_the_page_opens(bench: Bench, window: Server, open_page: OpenPage) -> None:
    """The project draws every tab; a second drawing that came late took back what was pressed in the first."""
    page = open_page("about:blank")
    asked: dict[str, set[int]] = {bench.project.id: set(), DRAWN: set()}  # handlers, by what they were told is open

    def note(request: Request) -> None:
        sent = json.loads(request.post_data or "{}") if "/queue/join" in request.url else {}
        if len(sent.get("data") or []) == 1 and sent["data"][0] in asked:
            asked[sent["data"][0]].add(sent["fn_index"])

    page.on("request", note)
    page.goto(f"{window.url}/?tab=results")
    expect(page.locator("[data-room=results] .empty")).to_be_visible()
    page.wait_for_timeout(1500)  # for whatever else would draw
    assert len(asked[bench.project.id]) >= page.locator("#tabs [role=tab]").count() == 5
    assert asked[DRAWN] and not asked[DRAWN] & asked[bench.project.id]
    for name in ("Predict", "Results"):  # a person's press draws it anew
        page.get_by_role("tab", name=name, exact=True).click()
        expect(page.get_by_role("tab", name=name, exact=True)).to_have_attribute("aria-selected", "true")
    page.wait_for_timeout(500)
    assert asked[DRAWN] & asked[bench.project.id]


def test_results_show_pictures_of_a_cell_and_runs_come_and_go(bench: Bench, window: Server, open_page: OpenPage) -> None:
    for day, wrong in ((1, 3), (2, 1)):
        finish(new_run(bench, f"2026010{day}-000000-quick"), bench, wrong=wrong)
    bench.studio.make_current(bench.project, "20260101-000000-quick")
    page = open_tab(open_page, window, "results")
    expect(page.locator(".verdict-card h1")).to_have_text("Right on 5 of 8 images it never saw")
    expect(page.locator(".wrongs .wrong-shot")).to_have_count(3)
    page.wait_for_function("[...document.querySelectorAll('.wrongs .wrong-shot img')].every(i => i.complete && i.naturalWidth > 0)")
    cell = page.locator(".confusion td.wrong button").first
    count = int(cell.inner_text())
    cell.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Show the wrong ones")).to_be_visible()
    expect(page.locator(".wrongs .wrong-shot")).to_have_count(count)
    page.locator(".wrongs .wrong-shot button").first.click()
    expect(page.get_by_role("dialog").locator("img")).to_be_visible()
    page.keyboard.press("Escape")

    page.locator(".per-class .sort", has_text="Class").click()
    names = page.locator(".per-class tbody th").all_inner_texts()
    assert names == sorted(names)
    page.get_by_role("button", name="Show the wrong ones").click()
    expect(page.locator(".wrongs .wrong-shot")).to_have_count(3)
    shot = page.locator(".wrongs .wrong-shot").first
    shot.get_by_role("button", name="Mend…").click()
    page.get_by_role("menuitem", name="Its class is right").click()
    expect(page.locator(".wrongs .wrong-shot")).to_have_count(2)
    toast = page.locator(".toast", has_text="Kept 1 image")
    toast.get_by_role("button", name="Undo").click()
    expect(page.locator(".wrongs .wrong-shot")).to_have_count(3)

    page.get_by_role("button", name="Make current").click()
    expect(page.locator(".verdict-card h1")).to_have_text("Right on 7 of 8 images it never saw")
    page.get_by_role("button", name="Delete this run").last.click()
    page.get_by_role("dialog").get_by_role("button", name="Keep it").click()
    expect(page.locator(".runs tbody tr")).to_have_count(2)
    page.get_by_role("button", name="Delete this run").last.click()
    page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator(".runs tbody tr")).to_have_count(1)
    assert [path.name for path in bench.project.runs_dir.iterdir()] == ["20260102-000000-quick"]


def test_one_picture_many_pictures_and_a_wrong_answer(
    bench: Bench, window: Server, open_page: OpenPage, model: Path, tmp_path: Path
) -> None:
    exported(bench, model)
    page = open_tab(open_page, window, "predict")
    picture = tmp_path / "sky.png"
    Image.new("RGB", (80, 60), (40, 90, 220)).save(picture)
    assert tour.predict(page, picture) in ("apple", "Birne äöü", "=cmd()")
    expect(page.locator(".answer")).to_contain_text("CPUExecutionProvider")
    tour.open_tab(page, "Export")
    tour.open_tab(page, "Predict")
    expect(page.locator(".answer img.preview")).to_be_visible()

    page.get_by_role("button", name="Wrong? Add to class").click()
    page.get_by_role("dialog").get_by_placeholder("Search, or type a new name").fill("sky")
    page.keyboard.press("Enter")
    expect(page.locator("#toasts")).to_contain_text("Added to sky.")
    project = Library(window.home).open(bench.project.id)
    assert project.classes()[-1].name == "sky"
    added = project.images(project.classes()[-1].id, 0).items[0]
    assert project.original(added.id).read_bytes() == picture.read_bytes()

    archive = tmp_path / "many.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for number in range(60):
            Image.new("RGB", (20, 20), (number * 4, 90, 20)).save(tmp_path / "one.png")
            made.write(tmp_path / "one.png", f"{number:02d}.png")
        made.writestr("=broken.jpg", b"\xff\xd8\xff\xe0 broken")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose pictures").click()
    chooser.value.set_files(archive)
    save = page.get_by_role("link", name="Save as CSV")
    expect(save).to_be_visible()
    expect(page.locator(".many .stage")).to_contain_text("60 answers, 1 could not be read")
    page.locator(".many").get_by_role("button", name="Next page").click()
    expect(page.locator(".many tbody tr")).to_have_count(11)
    with page.expect_download() as found:
        save.click()
    with Path(found.value.path()).open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 61 and rows[-1]["file"] == "'=broken.jpg" and "damaged" in rows[-1]["error"]
    assert {row["label"] for row in rows[:60]} <= {"apple", "Birne äöü", "'=cmd()"}
    page.reload()
    expect(save).to_be_visible()


def test_a_page_goes_on_after_an_answer_got_lost(bench: Bench, window: Server, open_page: OpenPage) -> None:
    """Gradio may close the page's event stream while a tick is on its way; here that is done on purpose."""
    run = new_run(bench, "20260101-000000-quick")
    train_some(run, steps=60)
    page = open_tab(open_page, window, "train")
    expect(tour.run_card(page)).to_contain_text("step 60 of 200")
    lost: list[str] = []
    sent: list[int] = []
    page.on("request", lambda request: sent.append(request.post_data_json["fn_index"]) if "/queue/join" in request.url else None)

    def lose_one(route: Route) -> None:
        if lost or len(sent) < 2 or sent[-1] != sent[-2]:  # of a tick, which comes again and again; not of what opens the page
            route.continue_()
            return
        lost.append(route.request.url)
        route.fulfill(status=200, content_type="text/event-stream", body='data: {"msg": "close_stream"}\n\n')

    with page.expect_response(lambda response: bool(lost)):
        page.route("**/queue/data**", lose_one)
    run.writer()(said.Step(80, 200, 0.5, 1e-3, 50.0, 30.0))
    expect(tour.run_card(page)).to_contain_text("step 80 of 200")


def test_pictures_are_dropped_and_pasted(bench: Bench, window: Server, open_page: OpenPage, model: Path) -> None:
    exported(bench, model)
    page = open_tab(open_page, window, "predict")
    expect(page.locator(".drop-here")).to_be_visible()
    for number, kind in enumerate(("drop", "paste")):
        page.evaluate(
            """async ([kind, number]) => {
              const canvas = Object.assign(document.createElement('canvas'), {width: 40, height: 40});
              canvas.getContext('2d').fillRect(number, number, 20, 20);
              const blob = await new Promise((done) => canvas.toBlob(done, 'image/png'));
              const transfer = new DataTransfer();
              transfer.items.add(new File([blob], `${kind}.png`, {type: 'image/png'}));
              const place = document.querySelector('.drop-here');
              place.dispatchEvent(kind === 'drop'
                ? new DragEvent('drop', {dataTransfer: transfer, bubbles: true, cancelable: true})
                : new ClipboardEvent('paste', {clipboardData: transfer, bubbles: true, cancelable: true}));
            }""",
            [kind, number],
        )
        expect(page.locator(".answer img.preview")).to_have_attribute("alt", f"{kind}.png")
    expect(page.get_by_role("dialog")).to_have_count(0)  # the Images tab did not take them


def test_camera_answers_frame_by_frame_and_stops_when_the_tab_is_left(
    bench: Bench, window: Server, open_page: OpenPage, model: Path
) -> None:
    exported(bench, model)
    page = open_tab(open_page, window, "predict")
    page.evaluate(CAMERA)
    page.evaluate(NOTED)
    page.get_by_role("button", name="Camera").dblclick()  # whoever presses again while the browser asks has one camera all the same
    expect(page.locator("#predict-camera video")).to_be_visible()
    page.wait_for_function("Number(document.querySelector('.answer')?.dataset.number) >= 3")
    before = {image.id for image in bench.project.images(None).items}
    number = page.evaluate(
        """() => {
          const answer = document.querySelector('.answer');
          [...answer.querySelectorAll('button')].find((button) => button.textContent.includes('Wrong?')).click();
          return Number(answer.dataset.number);
        }"""
    )
    page.wait_for_function(f"Number(document.querySelector('.answer').dataset.number) >= {number + 3}")  # it goes on meanwhile
    page.get_by_role("dialog").get_by_role("option").first.click()
    expect(page.locator("#toasts")).to_contain_text("Added to")
    (added,) = {image.id for image in bench.project.images(None).items} - before
    frame = page.evaluate("(number) => window.frames_[number - 1].arrayBuffer().then((data) => [...new Uint8Array(data)])", number)
    assert bench.project.original(added).read_bytes() == bytes(frame)  # what the answer was about when the button was pressed
    expect(page.locator("#predict-camera video")).to_be_visible()  # it goes on
    assert page.evaluate("window.streams.filter((stream) => stream.active).length") == 1
    tour.open_tab(page, "Export")
    expect(page.locator("#predict-camera video")).to_have_count(0)
    assert page.evaluate("window.streams.some((stream) => stream.active)") is False


def test_a_browser_that_lets_no_site_keep_anything_shows_the_window(bench: Bench, window: Server, open_page: OpenPage) -> None:
    page = open_page("about:blank")
    page.add_init_script("Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError'); }})")
    page.goto(window.url)
    expect(page.locator(".class-card[data-name]").first).to_be_visible()
    assert page.title().startswith(bench.project.name)
    dark = page.evaluate("document.documentElement.classList.contains('dark')")
    page.get_by_role("button", name="Light or dark").click()
    assert page.evaluate("document.documentElement.classList.contains('dark')") is not dark


def test_every_tab_fits_a_phone_in_both_lights(bench: Bench, window: Server, open_page: OpenPage, model: Path) -> None:
    exported(bench, model)
    train_some(new_run(bench, "20260102-000000-quick"))
    for scheme in ("light", "dark"):
        page = open_tab(open_page, window, "train", viewport=NARROW, scheme=scheme)
        for name in ("Train", "Results", "Predict", "Export"):
            tour.open_tab(page, name)
            if name == "Train":
                for fold in page.locator("#train-form summary").all():
                    fold.click()
            assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"], (name, scheme)
            assert page.evaluate(tour.STICKING_OUT) == [], (name, scheme)


def test_file_leaves_by_one_button(bench: Bench, window: Server, open_page: OpenPage, model: Path, tmp_path: Path) -> None:
    exported(bench, model)
    page = open_tab(open_page, window, "export")
    expect(page.locator(".origin")).to_have_text(window.url)
    assert tour.download(page, tmp_path / "taken.onnx").read_bytes() == model.read_bytes()


@pytest.fixture
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder of the person at the machine: typed paths must lie in it."""
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    for number in range(3):
        path = tmp_path / "person" / "holiday" / str(number) / "1.png"
        path.parent.mkdir(parents=True)
        Image.new("RGB", (20, 20), (number * 90, 90, 20)).save(path)
    return tmp_path / "person"


def test_a_folder_is_predicted_and_sorted(person: Path, bench: Bench, window: Server, open_page: OpenPage, model: Path) -> None:
    exported(bench, model)
    page = open_tab(open_page, window, "predict", viewport=NARROW)

    def type_folder(button: str, folder: Path) -> None:
        page.get_by_role("button", name=button).click()
        page.get_by_role("dialog").get_by_label("Folder on this computer").fill(str(folder))
        page.keyboard.press("Enter")

    type_folder("Folder", person.parent)
    expect(page.locator("#toasts")).to_contain_text("lies outside")
    type_folder("Folder", person / "holiday")
    many = page.locator(".many")
    expect(many.locator(".stage")).to_contain_text("3 answers")
    expect(many.locator("tbody tr td:first-child")).to_have_text(["0/1.png", "1/1.png", "2/1.png"])
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for button, ending in (("Parquet", b"PAR1"), ("Zip by class", None)):
        with page.expect_download() as found:
            many.get_by_role("button", name=button).click()
        assert ending is None or Path(found.value.path()).read_bytes().endswith(ending)
    with zipfile.ZipFile(found.value.path()) as archive:
        assert len(archive.namelist()) == 3
    type_folder("Sort into a folder", person / "sorted")
    expect(many).to_contain_text("3 pictures copied to")
    assert len(list((person / "sorted").rglob("*.png"))) == 3 == len(list((person / "holiday").rglob("*.png")))
