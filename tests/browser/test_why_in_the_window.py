"""Why an answer was given, by hand: the map over the picture, switched and faded by keyboard. The preview answers: nothing is trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import tour
from PIL import Image, ImageOps
from playwright.sync_api import Page, expect
from studio_window import NARROW, SAMPLE, Server

OpenPage = Callable[..., Page]


def doubtful(folder: Path) -> Path:
    """Something of two classes at once, so that more than one answer has reasons."""
    halves = []
    for name in ("dice", "scissors"):
        with Image.open(sorted((SAMPLE / "unseen").glob(f"{name}/*.jpg"))[0]) as picture:
            halves.append(ImageOps.fit(picture.convert("RGB"), (224, 224)))
    Image.blend(*halves, 0.5).save(folder / "both.png")
    return folder / "both.png"


def test_the_map_lies_over_the_picture_and_follows_the_person(server: Server, open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(server.url, viewport=NARROW, scheme="dark")
    tour.take_sample(page)
    tour.wait_for_model(page)
    label = tour.predict(page, doubtful(tmp_path))
    page.get_by_role("button", name="Why?").press("Enter")
    heat = page.locator(".answer .heat")
    expect(heat.locator(".layer").first).to_be_visible()
    expect(heat.get_by_role("img", name=f"Heat map for {label}")).to_be_visible()
    picture, layer = (heat.locator(place).first.bounding_box() for place in (".stack > img:first-child", ".layer"))
    assert picture == layer  # the very same place, whatever the window's width

    slider = heat.get_by_label("Strength of the colours")
    before = heat.locator(".layer").first.evaluate("layer => getComputedStyle(layer).opacity")
    slider.focus()
    page.keyboard.press("Home")
    assert heat.locator(".layer").first.evaluate("layer => getComputedStyle(layer).opacity") == "0" != before

    choices = heat.get_by_role("radio")
    assert choices.count() > 1
    choices.first.focus()
    page.keyboard.press("ArrowRight")
    expect(heat.locator(".layer").nth(1)).to_be_visible()
    expect(heat.locator(".layer").first).to_be_hidden()
    assert not page.evaluate(tour.STICKING_OUT)

    other = sorted((SAMPLE / "unseen").glob("scissors/*.jpg"))[0]
    tour.predict(page, other)
    expect(page.locator(".answer .heat")).to_have_count(0)  # a new picture has a new answer
