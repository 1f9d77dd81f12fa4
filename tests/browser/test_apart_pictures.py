"""Pictures that are not trained on, as a person brings them in: something else, and test pictures, dropped, imported, moved, undone."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Locator, Page, expect
from studio_window import NARROW, SAMPLE, Server
from test_images_by_hand import choose, drop, toast
from tour import STICKING_OUT, take_sample

OpenPage = Callable[..., Page]


def line(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=name, exact=True)


def test_something_else_and_test_pictures_by_hand(server: Server, open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(server.url)
    take_sample(page)
    drop(page, line(page, "Something else"), [("table.png", 10), ("wall.png", 200)])
    expect(line(page, "Something else")).to_contain_text("2 pictures")
    expect(page.locator(".toolbar .sum")).to_contain_text("48 pictures")

    # One picture from a class to something else by the chooser, and back by undo.
    page.get_by_role("button", name="View all of mug").click()
    page.get_by_role("checkbox").first.click()
    page.get_by_role("button", name="Move to…").click()
    page.get_by_role("dialog").get_by_role("option", name="Something else").click()
    expect(toast(page, "Moved 1 image to 'Something else'.")).to_be_visible()
    toast(page, "Moved 1 image to 'Something else'.").get_by_role("button", name="Undo").click()
    expect(page.locator(".toolbar .count")).to_have_text("12 pictures")

    # One picture to the test pictures, by keyboard.
    page.get_by_role("checkbox").first.focus()
    page.keyboard.press("Space")
    page.get_by_role("button", name="Test with these").focus()
    page.keyboard.press("Enter")
    expect(toast(page, "Moved 1 image to the test pictures.")).to_be_visible()
    page.get_by_role("button", name="Classes").click()
    expect(line(page, "Test pictures")).to_contain_text("1 picture")
    expect(line(page, "Test pictures")).to_contain_text("None yet of dice, leaf, scissors.")

    # A zip of folders: classes of the project, one that is not, and a picture that is known.
    archive = tmp_path / "tests.zip"
    with zipfile.ZipFile(archive, "w") as writer:
        for file in sorted((SAMPLE / "unseen").glob("*/*.jpg")):
            writer.write(file, f"{file.parent.name}/{file.name}")
        writer.write(SAMPLE / "images" / "leaf" / "leaf-01.jpg", "leaf/known.jpg")
        writer.write(SAMPLE / "images" / "leaf" / "leaf-02.jpg", "spoon/x.jpg")
    page.get_by_role("button", name="Import test pictures").click()
    choose(page, page.get_by_role("menuitem", name="Zip with a folder"), archive)
    expect(page.get_by_text("the project has no class 'spoon'")).to_be_visible()
    expect(page.get_by_text("to learn from, so it can test nothing")).to_be_visible()
    page.get_by_role("button", name="Add 12 test pictures").click()
    expect(line(page, "Test pictures")).to_contain_text("13 pictures")

    # Loose pictures for the test need a class that is there: none can be made up for them.
    drop(page, line(page, "Test pictures"), [("new.png", 120)])
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Which class do they test?")
    expect(dialog.get_by_text("Something else")).to_have_count(0)
    dialog.get_by_role("option", name="dice").click()
    expect(line(page, "Test pictures").get_by_role("button", name="Test pictures of dice: 4")).to_be_visible()

    narrow = open_page(server.url, viewport=NARROW, scheme="dark")
    line(narrow, "Test pictures").get_by_role("button", name="Test pictures of dice: 4").click()
    expect(narrow.locator(".toolbar .count")).to_have_text("4 test pictures")
    narrow.get_by_role("checkbox").first.click()
    expect(narrow.get_by_role("button", name="Learn from these")).to_be_visible()
    assert narrow.evaluate(STICKING_OUT) == []
    narrow.reload()
    expect(line(narrow, "Something else")).to_be_visible()
    assert narrow.evaluate(STICKING_OUT) == []
