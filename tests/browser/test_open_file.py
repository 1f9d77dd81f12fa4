"""An ONNX file is opened in the window: it answers, survives a reload and a restart, and is put away again; a bad one changes nothing."""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest
import tour
from playwright.sync_api import Page, expect
from studio_window import NARROW, ROOT, SAMPLE, Server, serving

sys.path.insert(0, str(ROOT / "tests" / "ui"))
from tab_parts import finish, make_bench, new_run, publish
from tiny_model import TINY_LABELS, export_tiny_model

from blocklora.ui.predict_file import moment

OpenPage = Callable[..., Page]
PICTURE = sorted((SAMPLE / "unseen").glob("*/*.jpg"))[0]


@pytest.fixture(scope="session")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good file under a name that would be read as markup."""
    return export_tiny_model(tmp_path_factory.mktemp("file") / "fruit &amp; co.onnx")


@pytest.fixture(scope="session")
def hostile(file: Path) -> Path:
    """The same with an operator that is none of ours."""
    model = onnx.load_model(file)
    model.graph.node.append(onnx.helper.make_node("ConstantOfShape", ["labels"], ["huge"]))
    path = file.with_name("hostile.onnx")
    path.write_bytes(model.SerializeToString())
    return path


def choose(page: Page, path: Path) -> None:
    """Open a file by the button and the file chooser, whichever of the two buttons is there."""
    with page.expect_file_chooser() as chooser:
        page.locator("[data-do=predict-open]").click()
    chooser.value.set_files(path)


def at_predict(open_page: OpenPage, url: str, **options: object) -> Page:
    page = open_page(f"{url}/?tab=predict", **options)
    expect(page.locator(".file-door")).to_be_visible()
    return page


DROP = """async ([name, data]) => {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name));
  const place = document.querySelector('.drop-here') || document.querySelector('#predict-page');
  place.dispatchEvent(new DragEvent('drop', {dataTransfer: transfer, bubbles: true, cancelable: true}));
}"""


def drop(page: Page, path: Path) -> None:
    page.evaluate(DROP, [path.name, base64.b64encode(path.read_bytes()).decode()])


def test_a_file_answers_without_a_project_and_after_a_restart(tmp_path: Path, open_page: OpenPage, file: Path, hostile: Path) -> None:
    with serving(tmp_path / "home") as server:
        page = at_predict(open_page, server.url)
        expect(page.locator("[data-room=predict]")).to_contain_text("No project is open")
        drop(page, hostile)
        expect(page.locator("#toasts")).to_contain_text("ConstantOfShape, which this product never writes")
        expect(page.locator("[data-room=predict]")).to_contain_text("No project is open")
        choose(page, file)
        card = page.locator(".file-door.open")
        expect(card.locator("h3")).to_have_text(file.name)
        expect(card).to_contain_text("3 labels")
        expect(card).to_contain_text("right on 27 of 30 images it never saw, as the file says")
        expect(card).to_contain_text(moment("2026-01-01T00:00:00Z"))
        label = tour.predict(page, PICTURE)
        assert label in TINY_LABELS
        expect(page.get_by_role("button", name="Wrong? Add to class")).to_have_count(0)  # there is no class
        page.reload()
        expect(page.locator(".answer h2")).to_have_text(label)
        page.context.close()  # it would go on asking a server that is gone
    with serving(tmp_path / "home") as server:
        page = at_predict(open_page, server.url)
        expect(page.locator(".file-door.open h3")).to_have_text(file.name)
        assert tour.predict(page, PICTURE) == label
        page.get_by_role("button", name="Put it away").click()
        expect(page.locator("[data-room=predict]")).to_contain_text("No project is open")
        expect(page.locator(".file-door.open")).to_have_count(0)
        page.context.close()


@pytest.fixture
def window(tmp_path: Path, file: Path) -> Iterator[Server]:
    """A project whose own model is the same file, exported."""
    bench = make_bench(tmp_path / "home", SAMPLE / "images", ROOT)
    run = new_run(bench, "20260101-000000-quick")
    finish(run, bench)
    publish(run)
    run.onnx_path.write_bytes(file.read_bytes())
    with serving(tmp_path / "home") as running:
        yield running


def test_a_projects_own_model_comes_back_and_outlives_a_refusal(window: Server, open_page: OpenPage, file: Path, hostile: Path) -> None:
    page = at_predict(open_page, window.url)
    room = page.locator("[data-room=predict]")
    expect(room).to_contain_text("Answered by the exported ONNX file")
    drop(page, file)
    expect(room).to_contain_text(f"Answered by {file.name}, the file that is opened below.")
    choose(page, hostile)
    expect(page.locator("#toasts")).to_contain_text("never writes")
    expect(page.locator(".file-door.open h3")).to_have_text(file.name)
    assert tour.predict(page, PICTURE) in TINY_LABELS
    page.locator("[data-do=predict-open-path]").click()
    page.get_by_label("File on this computer").fill("/dev/zero")
    page.keyboard.press("Enter")
    expect(page.locator("#toasts")).to_contain_text("zero is not a regular file")
    for scheme in ("light", "dark"):
        phone = at_predict(open_page, window.url, viewport=NARROW, scheme=scheme)
        expect(phone.locator(".file-door.open")).to_be_visible()
        assert phone.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
        assert phone.evaluate(tour.STICKING_OUT) == []
    page.get_by_role("button", name="Back to the project's model").click()
    expect(room).to_contain_text("Answered by the exported ONNX file")
    expect(phone.locator("[data-room=predict]")).to_contain_text("Answered by the exported ONNX file")  # the other page follows
    expect(phone.locator(".file-door.open")).to_have_count(0)
    page.reload()
    expect(room).to_contain_text("Answered by the exported ONNX file")
