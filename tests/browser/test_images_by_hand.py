"""The Images tab as a person uses it: dropping, naming, ordering, choosing many, importing, undoing."""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import JSHandle, Locator, Page, expect
from studio_window import CAMERA, NARROW, Server, serving

OpenPage = Callable[..., Page]
EVIL = "<b onclick=alert(1)>rose</b>"

# A drop as the browser makes one, of pictures drawn in the page: files are [name, hue] pairs.
DROP = """async (files) => {
  const transfer = new DataTransfer();
  for (const [name, hue] of files) {
    const canvas = Object.assign(document.createElement("canvas"), { width: 180, height: 140 });
    const brush = canvas.getContext("2d");
    brush.fillStyle = `hsl(${hue} 60% 45%)`;
    brush.fillRect(0, 0, 180, 140);
    brush.fillStyle = "white";
    brush.fillRect(hue % 120, 30, 40, 60);
    const blob = await new Promise((done) => canvas.toBlob(done, "image/png"));
    transfer.items.add(new File([blob], name, { type: "image/png" }));
  }
  return transfer;
}"""

# Every picture that the page takes from its camera gets a mark of its own. A busy machine shows the same frame twice, and a project
# takes the same picture once.
MARKED = """() => {
  const pen = CanvasRenderingContext2D.prototype, draw = pen.drawImage;
  let taken = 0;
  pen.drawImage = function (...given) {
    draw.apply(this, given);
    this.fillStyle = `hsl(${(47 * taken++) % 360} 70% 40%)`;
    this.fillRect(0, 0, 120, 120);
  };
}"""


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("images") / "home") as running:
        yield running


@pytest.fixture
def page(studio: Server, open_page: OpenPage) -> Page:
    return open_page(studio.url)


def new_project(page: Page, name: str) -> None:
    page.locator("#rail").get_by_role("button", name="New project").click()
    page.get_by_role("dialog").get_by_label("Name").fill(name)
    page.get_by_role("button", name="Create").click()
    expect(page).to_have_title(f"{name} · Block-LoRA Studio")
    expect(page.get_by_text("Start with a few pictures of each thing")).to_be_visible()


def add_class(page: Page, name: str) -> None:
    page.get_by_role("button", name=re.compile("^(New class|Add a class)$")).click()
    page.get_by_role("dialog").get_by_label("Name").fill(name)
    page.keyboard.press("Enter")
    expect(card(page, name)).to_be_visible()


def card(page: Page, name: str) -> Locator:
    return page.locator("article[data-key]").filter(has=page.locator(f'input.name[value="{name}"]'))


def order(page: Page) -> list[str]:
    return page.locator("article[data-key] input.name").evaluate_all("inputs => inputs.map((input) => input.value)")


def drop(page: Page, onto: Locator, files: list[tuple[str, int]]) -> None:
    transfer: JSHandle = page.evaluate_handle(DROP, files)
    onto.dispatch_event("dragover", {"dataTransfer": transfer})
    onto.dispatch_event("drop", {"dataTransfer": transfer})


def toast(page: Page, text: str) -> Locator:
    return page.locator("#toasts .toast").filter(has_text=text)


def choose(page: Page, button: Locator, file: Path | list[Path]) -> None:
    with page.expect_file_chooser() as chooser:
        button.click()
    chooser.value.set_files(file)


def picture(number: int, side: int = 120) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).resize((side, side)).save(out, "PNG")
    return out.getvalue()


def huge_png() -> bytes:
    """A PNG of a few bytes that says it is 50,000 x 50,000."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    parts = (struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_classes_are_added_one_after_another_from_the_keyboard(page: Page) -> None:
    new_project(page, "Quick hands")
    add_class(page, "zero")
    field = page.get_by_label("Name of a new class")
    field.click()
    for name in ("one", "two", "three"):
        page.keyboard.type(name, delay=5)
        page.keyboard.press("Enter")  # and on with the next at once, while the room is being drawn anew
    for name in ("one", "two", "three"):
        expect(card(page, name)).to_be_visible()
    page.keyboard.type("unfini")
    page.wait_for_timeout(100)
    expect(field).to_be_focused()
    card(page, "zero").locator("input.name").fill("nought")  # the room is drawn anew, and what is typed elsewhere in it is kept
    page.keyboard.press("Enter")
    expect(card(page, "nought")).to_be_visible()
    expect(field).to_have_value("unfini")
    new_project(page, "Another")  # but it does not follow into another project
    add_class(page, "first")
    expect(field).to_have_value("")
    field.fill("of another")
    page.locator("#rail").get_by_text("Quick hands").click()
    expect(card(page, "nought")).to_be_visible()
    expect(field).to_have_value("")


def test_a_refused_name_comes_back_to_be_mended(page: Page) -> None:
    new_project(page, "Slow hands")
    add_class(page, "rose")
    field = page.get_by_label("Name of a new class")
    field.fill("rose")
    field.press("Enter")
    expect(page.locator("#toasts")).to_contain_text("rose")
    expect(field).to_have_value("rose")
    expect(field).to_be_focused()
    field.fill("roses")
    field.press("Enter")
    expect(card(page, "roses")).to_be_visible()
    expect(field).to_have_value("")


def test_a_name_being_typed_outlives_a_drawing(page: Page) -> None:
    new_project(page, "Two names")
    add_class(page, "first")
    add_class(page, "second")
    card(page, "first").locator("input.name").fill("1st")
    page.keyboard.press("Enter")
    second = page.locator("input.name").nth(1)
    second.click()
    second.press("End")
    page.keyboard.type(" prize", delay=30)
    expect(card(page, "1st")).to_be_visible()
    expect(second).to_be_focused()
    expect(second).to_have_value("second prize")
    page.locator("h1, h2").first.click()  # to leave the field is to have typed it
    expect(card(page, "second prize")).to_be_visible()


def test_pictures_dropped_on_a_card_and_beside_it(page: Page) -> None:
    new_project(page, "Dropping")
    add_class(page, "tulip")
    drop(page, card(page, "tulip"), [("a.png", 10), ("b.png", 60), ("c.png", 200)])
    expect(card(page, "tulip")).to_contain_text("3 pictures")
    expect(toast(page, "3 pictures added")).to_be_visible()
    page.wait_for_function("[...document.querySelectorAll('article img')].every(i => i.complete && i.naturalWidth > 0)")
    drop(page, page.locator("article.new"), [("d.png", 300), ("e.png", 330)])
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Which class is this?")
    dialog.get_by_role("textbox").fill("rose")
    page.keyboard.press("Enter")
    expect(card(page, "rose")).to_contain_text("2 pictures")
    drop(page, card(page, "rose"), [("a.png", 10)])
    expect(page.get_by_text("the same picture is already in 'tulip'", exact=False)).to_be_visible()
    page.get_by_role("button", name="Back").click()
    expect(card(page, "rose")).to_contain_text("2 pictures")
    expect(page.locator("#rail li.current")).to_contain_text("5")


def test_nothing_that_is_dropped_vanishes_without_a_word(page: Page, tmp_path: Path) -> None:
    new_project(page, "Vanishing")
    add_class(page, "tulip")
    drop(page, card(page, "tulip"), [("a.png", 10), (".hidden.png", 60)])
    expect(toast(page, "1 picture added, 1 left out")).to_be_visible()
    archive = tmp_path / "more.zip"
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("rose/1.png", picture(1))
    transfer = page.evaluate_handle(
        """async ([bytes, draw]) => {
          const transfer = await eval(draw)([["beside.png", 200]]);
          transfer.items.add(new File([Uint8Array.from(bytes)], "more.zip", { type: "application/zip" }));
          return transfer;
        }""",
        [list(archive.read_bytes()), DROP],
    )
    page.locator("article.new").dispatch_event("drop", {"dataTransfer": transfer})
    expect(toast(page, "Not taken: beside.png")).to_be_visible()
    expect(page.get_by_role("row", name="rose new 1")).to_be_visible()
    page.get_by_role("button", name="Discard").click()


def test_pictures_from_the_camera_and_the_clipboard(page: Page) -> None:
    new_project(page, "Camera")
    add_class(page, "hand")
    page.evaluate(CAMERA)
    page.evaluate(MARKED)
    card(page, "hand").get_by_role("button", name="Take pictures for hand").click()
    dialog = page.get_by_role("dialog")
    page.wait_for_function("document.querySelector('.dialog video')?.videoWidth > 0")
    shutter = dialog.get_by_role("button", name="Take a picture; hold for a burst")
    shutter.hover()
    page.mouse.down()
    expect(dialog.locator(".taken img").nth(2)).to_be_visible()
    page.mouse.up()
    told = dialog.get_by_text(re.compile("^[0-9]+ pictures$"))  # all that were taken, those included that are still being compressed
    taken = int((told.text_content() or "").split()[0])
    dialog.get_by_role("button", name="Add", exact=True).click()
    expect(card(page, "hand")).to_contain_text(f"{taken} pictures")

    transfer = page.evaluate_handle(DROP, [("pasted.png", 40)])
    card(page, "hand").hover()
    page.evaluate(
        "clip => document.body.dispatchEvent(new ClipboardEvent('paste', {clipboardData: clip, bubbles: true, cancelable: true}))", transfer
    )
    expect(card(page, "hand")).to_contain_text(f"{taken + 1} pictures")


def test_names_change_in_place_and_refused_ones_go_back(page: Page) -> None:
    new_project(page, "Naming")
    add_class(page, "tulip")
    add_class(page, "rose")
    field = card(page, "rose").locator("input.name")
    field.fill(EVIL)
    field.press("Enter")
    expect(page.locator("article[data-key]").nth(1)).to_have_attribute("data-name", EVIL)
    again = page.locator("article[data-key]").nth(1).locator("input.name")
    again.fill("TULIP")
    again.press("Enter")
    expect(toast(page, "already a class")).to_be_visible()
    expect(again).to_have_value(EVIL)
    again.fill("nothing")
    again.press("Escape")
    expect(again).to_have_value(EVIL)
    assert page.locator("article b").count() == 0


def test_deleted_class_comes_back_and_order_changes(page: Page) -> None:
    new_project(page, "Ordering")
    for name in ("one", "two", "three"):
        add_class(page, name)
    card(page, "three").locator("header .count").drag_to(card(page, "one").locator(".strip"), target_position={"x": 6, "y": 20})
    expect(page.locator("article[data-key]").first).to_have_attribute("data-name", "three")
    assert order(page) == ["three", "one", "two"]
    card(page, "three").get_by_role("button", name="More").click()
    page.get_by_role("menuitem", name="Move later").press("Enter")
    expect(page.locator("article[data-key]").first).to_have_attribute("data-name", "one")
    card(page, "three").get_by_role("button", name="More").click()
    page.get_by_role("menuitem", name="Delete three").click()
    expect(card(page, "three")).to_have_count(0)
    toast(page, "Deleted the class").get_by_role("button", name="Undo").click()
    expect(card(page, "three")).to_be_visible()
    assert order(page) == ["one", "three", "two"]


def test_many_pictures_move_and_go_and_come_back(page: Page, tmp_path: Path) -> None:
    new_project(page, "Choosing")
    add_class(page, "left")
    add_class(page, "right")
    files = []
    for number in range(7):
        files.append(tmp_path / f"{number}.png")
        files[-1].write_bytes(picture(number))
    choose(page, card(page, "left").get_by_role("button", name="Add", exact=True), files)
    expect(card(page, "left")).to_contain_text("7 pictures")
    card(page, "left").get_by_role("button", name="View all", exact=True).click()
    shots = page.get_by_role("checkbox")
    expect(shots).to_have_count(7)
    shots.nth(0).click()
    shots.nth(3).click(modifiers=["Shift"])
    expect(page.get_by_role("toolbar")).to_contain_text("4 chosen")
    page.get_by_role("button", name="Move to").click()
    page.get_by_role("option", name="right").click()
    expect(shots).to_have_count(3)
    expect(page.get_by_role("toolbar")).to_be_hidden()
    toast(page, "Moved 4 images").get_by_role("button", name="Undo").click()
    expect(shots).to_have_count(7)
    page.get_by_role("button", name="Select page").click()
    expect(page.get_by_role("toolbar")).to_contain_text("7 chosen")
    page.keyboard.press("Delete")
    expect(page.get_by_text("No pictures in this class yet")).to_be_visible()
    toast(page, "Deleted 7 images").get_by_role("button", name="Undo").click()
    expect(shots).to_have_count(7)
    page.locator(".shot").first.hover()
    page.locator(".shot").first.get_by_role("button", name="Look at").click()
    large = page.get_by_role("dialog").locator("img")
    expect(large).to_be_visible()
    page.wait_for_function("document.querySelector('.dialog img').naturalWidth === 120")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Classes").click()
    expect(card(page, "left")).to_contain_text("7 pictures")


def test_zip_is_shown_before_anything_is_added(page: Page, studio: Server, tmp_path: Path) -> None:
    new_project(page, "Importing")
    archive = tmp_path / "flowers.zip"
    with zipfile.ZipFile(archive, "w") as writer:
        for number in range(6):
            writer.writestr(f"flowers/{'tulip' if number % 2 else 'ro & se'}/{number}.png", picture(100 + number))
        writer.writestr("flowers/tulip/.hidden.png", picture(200))
        writer.writestr("flowers/tulip/broken.png", picture(201)[:90])
        writer.writestr("flowers/tulip/notes <i>.txt", b"words")
        writer.writestr("flowers/tulip/nothing.png", b"")
        writer.writestr("flowers/tulip/huge.png", huge_png())
        writer.writestr("flowers/tulip/really-a-png.jpg", picture(203))
        writer.writestr("../outside.png", picture(202))
    choose_zip = page.get_by_role("menuitem", name="Zip with a folder for each class")
    page.get_by_role("button", name="import a zip, a folder or a table").click()
    choose(page, choose_zip, archive)
    expect(page.get_by_role("heading", name="Look before you add")).to_be_visible()
    expect(page.get_by_role("row", name="ro & se new 3")).to_be_visible()
    left_out = {
        ".hidden.png": "hidden",
        "broken.png": "damaged",
        "notes <i>.txt": "not a picture",
        "nothing.png": "0 bytes",
        "huge.png": "50,000 x 50,000",
        "../outside.png": "unsafe",
        "really-a-png.jpg": "PNG",  # it is taken, and said to be something else than its name
    }
    for name, reason in left_out.items():
        expect(page.get_by_role("row").filter(has_text=name)).to_contain_text(reason)
    page.get_by_role("button", name="Discard").click()
    expect(page.get_by_text("Start with a few pictures of each thing")).to_be_visible()
    page.get_by_role("button", name="import a zip, a folder or a table").click()
    choose(page, choose_zip, archive)
    page.get_by_role("button", name="Add 7 pictures").click()
    expect(card(page, "tulip")).to_contain_text("4 pictures")
    expect(card(page, "ro & se")).to_contain_text("3 pictures")
    assert not (studio.home.parent / "outside.png").exists()


def test_an_import_that_ends_in_another_project_waits_in_its_own(page: Page, tmp_path: Path) -> None:
    archive = tmp_path / "large.zip"
    with zipfile.ZipFile(archive, "w") as writer:
        for number in range(40):
            writer.writestr(f"{'tulip' if number % 2 else 'rose'}/{number}.png", picture(300 + number, 1500))
    new_project(page, "Large import")
    page.get_by_role("button", name="import a zip, a folder or a table").click()
    choose(page, page.get_by_role("menuitem", name="Zip with a folder for each class"), archive)
    expect(page.get_by_role("heading", name="Looking at the pictures")).to_be_visible()
    new_project(page, "Meanwhile")
    page.wait_for_timeout(1500)
    expect(page.get_by_text("Start with a few pictures of each thing")).to_be_visible()  # nothing of the other project came in here
    page.locator("#rail").get_by_text("Large import").click()
    look = page.get_by_role("heading", name="Look before you add")
    expect(look).to_be_visible(timeout=60_000)
    page.reload()
    expect(look).to_be_visible()
    page.locator("#rail").get_by_text("Meanwhile").click()
    expect(page.get_by_text("Start with a few pictures of each thing")).to_be_visible()
    page.locator("#rail").get_by_text("Large import").click()
    page.get_by_role("button", name="Add 40 pictures").click()
    expect(card(page, "tulip")).to_contain_text("20 pictures")


def test_folder_dropped_whole_brings_its_classes(page: Page) -> None:
    new_project(page, "Folders")
    # Playwright cannot drop a folder; the walk through it is the page's own, so its result is handed over instead.
    page.evaluate(
        """async (draw) => {
          const files = await eval(draw)([["a.png", 5], ["b.png", 80], ["c.png", 160]]);
          studio.dropped = async () => [...files.files].map((file, number) => ({ file, folder: number < 2 ? "warm" : "cold" }));
        }""",
        DROP,
    )
    drop(page, page.locator(".images.start"), [("ignored.png", 0)])
    expect(page.get_by_role("row", name="warm new 2")).to_be_visible()
    page.get_by_role("button", name="Add 3 pictures").click()
    expect(card(page, "cold")).to_contain_text("1 picture")


def test_table_with_a_zip_of_its_pictures(page: Page, tmp_path: Path) -> None:
    new_project(page, "Table")
    table, archive = tmp_path / "labels.csv", tmp_path / "pictures.zip"
    table.write_text("path,label\nin/1.png,yes\nin/2.png,no\nin/3.png,yes\ngone.png,no\n")
    with zipfile.ZipFile(archive, "w") as writer:
        for number in (1, 2, 3):
            writer.writestr(f"in/{number}.png", picture(300 + number))
    page.get_by_role("button", name="import a zip, a folder or a table").click()
    choose(page, page.get_by_role("menuitem", name="Table of paths and labels"), table)
    choose(page, page.get_by_role("button", name="Choose a zip with the pictures"), archive)
    expect(page.get_by_role("row", name="yes new 2")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="gone.png")).to_be_visible()
    page.get_by_role("button", name="Add 3 pictures").click()
    expect(card(page, "no")).to_contain_text("1 picture")


def test_folder_outside_home_is_refused_in_words(page: Page) -> None:
    new_project(page, "Outside")
    page.get_by_role("button", name="import a zip, a folder or a table").click()
    page.get_by_role("menuitem", name="Folder on this computer").click()
    page.get_by_label("Folder on this computer").fill("/etc")
    page.get_by_role("button", name="Look inside").click()
    expect(toast(page, "/etc lies outside")).to_be_visible()


def test_projects_are_renamed_copied_trashed_and_brought_back(page: Page) -> None:
    new_project(page, "First name")
    current = page.locator("#rail li.current")
    current.get_by_role("button", name="More").click()
    page.get_by_role("menuitem", name="Rename").click()
    page.get_by_role("dialog").get_by_label("Name").fill(EVIL)
    page.get_by_role("dialog").get_by_role("button", name="Rename").click()
    expect(current).to_contain_text(EVIL)
    current.get_by_role("button", name="More").click()
    page.get_by_role("menuitem", name="Duplicate").click()
    expect(current).to_contain_text(f"{EVIL} (2)")
    current.get_by_role("button", name="More").click()
    page.get_by_role("menuitem", name="Move to trash").click()
    expect(page.locator("#rail").get_by_text(f"{EVIL} (2)")).to_have_count(0)
    toast(page, "is in the trash").get_by_role("button", name="Undo").click()
    expect(current).to_contain_text(f"{EVIL} (2)")


def test_project_travels_as_a_zip(page: Page, tmp_path: Path) -> None:
    new_project(page, "Travel")
    add_class(page, "tulip")
    drop(page, card(page, "tulip"), [("a.png", 15), ("b.png", 75)])
    expect(card(page, "tulip")).to_contain_text("2 pictures")
    page.locator("#rail li.current").get_by_role("button", name="More").click()
    with page.expect_download() as download:
        page.get_by_role("menuitem", name="Export as zip").click()
    assert download.value.suggested_filename == "Travel.zip"
    target = tmp_path / "Travel.zip"
    download.value.save_as(target)
    choose(page, page.get_by_role("button", name="Import a project archive"), target)
    expect(page).to_have_title("Travel (2) · Block-LoRA Studio")
    expect(card(page, "tulip")).to_contain_text("2 pictures")


def test_reload_and_a_second_page_keep_their_own_project(page: Page, studio: Server) -> None:
    new_project(page, "Here")
    add_class(page, "here")
    other = page.context.new_page()
    other.goto(studio.url)
    new_project(other, "There")
    add_class(other, "there")
    page.reload()
    expect(card(page, "here")).to_be_visible()
    expect(page).to_have_title("Here · Block-LoRA Studio")
    other.reload()
    expect(card(other, "there")).to_be_visible()
    page.get_by_role("tab", name="Train").click()
    page.reload()
    expect(page.get_by_role("tab", name="Train")).to_have_attribute("aria-selected", "true")
    page.get_by_role("tab", name="Images").click()
    expect(card(page, "here")).to_be_visible()


def test_narrow_screen_has_a_drawer(studio: Server, open_page: OpenPage) -> None:
    page = open_page(studio.url, NARROW)
    menu = page.get_by_role("button", name="Projects")
    menu.click()
    page.locator("#rail").get_by_role("button", name="New project").click()
    page.get_by_role("dialog").get_by_label("Name").fill("Pocket")
    page.get_by_role("button", name="Create").click()
    expect(page.locator(".open-name")).to_have_text("Pocket")
    expect(page.locator("#rail")).to_be_hidden()
    expect(page.locator("#pill .pill")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_light_and_dark_follow_the_system_until_chosen(studio: Server, open_page: OpenPage) -> None:
    page = open_page(studio.url, scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    expect(page.get_by_role("tab", name="Images")).to_be_visible()
    assert page.evaluate(background) == "rgb(18, 20, 19)"
    page.get_by_role("button", name="Light or dark").click()
    assert page.evaluate(background) == "rgb(250, 249, 247)"
    page.reload()
    expect(page.get_by_role("tab", name="Images")).to_be_visible()
    assert page.evaluate(background) == "rgb(250, 249, 247)"
