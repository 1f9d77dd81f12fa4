"""The data check in a real browser: what was planted in the sample is found by itself, and mended by keep, move, delete and undo."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import tour
from PIL import Image, ImageOps
from playwright.sync_api import Locator, Page, expect
from studio_window import NARROW, SAMPLE, Server

from blocklora.projects import intake
from blocklora.projects.library import Library
from blocklora.projects.project import Project

OpenPage = Callable[..., Page]


def planted(home: Path) -> Project:
    """The sample with two pictures in each other's class, and a mirrored copy."""
    pictures = home.parent / "pictures"
    shutil.copytree(SAMPLE / "images", pictures)
    third, _, first, second = sorted(path for path in pictures.iterdir() if path.is_dir())
    moved, other = sorted(first.glob("*.jpg"))[0], sorted(second.glob("*.jpg"))[0]
    moved.rename(second / f"from-{first.name}.jpg")
    other.rename(first / f"from-{second.name}.jpg")
    with Image.open(sorted(third.glob("*.jpg"))[1]) as picture:
        ImageOps.mirror(picture).save(third / "mirrored.jpg", quality=92)
    library = Library(home)
    project = library.create("Planted")
    intake.accept(project, intake.plan_folder(project, pictures, local_mode=True, allowed_roots=[home.parent]))
    return project


def finding(page: Page, words: str) -> Locator:
    shown = page.get_by_role("button", name=re.compile(f"Look at .*{re.escape(words)}"))
    return page.locator("[data-room=check] .findings > li", has=shown)


def on_a_phone(page: Page) -> None:
    """The same fold on a narrow page: nothing sticks out, and pictures open."""
    page.locator("[data-room=check] summary").click()
    expect(page.get_by_role("button", name="Keep all")).to_be_visible()
    assert page.evaluate(tour.STICKING_OUT) == []
    page.locator("[data-room=check] .seen").first.click()
    expect(page.get_by_role("dialog").locator("img")).to_be_visible()


def test_what_is_wrong_is_found_and_mended_with_one_press(server: Server, open_page: OpenPage) -> None:
    project = planted(server.home)
    third, _, first, second = (info.name for info in project.classes())
    page = open_page(f"{server.url}/?project={project.id}")
    check = page.locator("[data-room=check]")
    line = check.locator("summary")
    expect(line).to_contain_text("2 pictures may be in the wrong class, 2 look alike", timeout=5 * tour.MINUTE)
    expect(check.locator("details")).not_to_have_attribute("open", "")
    on_a_phone(open_page(page.url, viewport=NARROW, scheme="dark"))
    line.focus()
    page.keyboard.press("Enter")
    total = project.images(None).total

    # what is typed elsewhere is not lost when something is found or dealt with
    name = page.locator(f'.class-card[data-name="{third}"] input.name')
    wrong = finding(page, f"from-{first}.jpg")
    wrong.get_by_role("button", name=f"Move to {first}").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#toasts")).to_contain_text(f"Moved 1 image to '{first}'")
    expect(wrong).to_have_count(0)
    expect(line).to_contain_text("1 picture may be in the wrong class")
    assert page.evaluate("document.activeElement.closest('[data-room=check]') !== null")  # the keyboard goes on from there
    page.locator("#toasts").get_by_role("button", name="Undo").click()
    expect(wrong).to_be_visible()  # the window notices by itself

    name.fill("half a nam")
    finding(page, f"from-{second}.jpg").get_by_role("button", name="Keep, it’s right").dispatch_event("click")
    expect(finding(page, f"from-{second}.jpg")).to_have_count(0)
    expect(page.locator(f'.class-card[data-name="{third}"] input.name')).to_have_value("half a nam")
    page.keyboard.press("Escape")

    copies = finding(page, "mirrored.jpg")
    copies.get_by_role("button", name="Keep only").last.click()
    expect(page.locator("#toasts")).to_contain_text("Deleted 1 image")
    expect(copies).to_have_count(0)
    assert project.images(None).total == total - 1

    page.reload()
    expect(line).to_contain_text("1 picture may be in the wrong class")
    expect(finding(page, f"from-{second}.jpg")).to_have_count(0)  # kept
