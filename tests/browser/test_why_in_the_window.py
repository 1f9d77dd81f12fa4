"""Why an answer was given, by hand: the map over the picture, switched and faded by keyboard. The preview answers: nothing is trained."""

from __future__ import annotations

from collections.abc import Callable

import tour
from playwright.sync_api import Page, expect
from studio_window import NARROW, SAMPLE, Server

OpenPage = Callable[..., Page]
PICTURE = sorted((SAMPLE / "unseen").glob("mug/*.jpg"))[0]


def test_the_map_lies_over_the_picture_and_follows_the_person(server: Server, open_page: OpenPage) -> None:
    page = open_page(server.url, viewport=NARROW, scheme="dark")
    tour.take_sample(page)
    tour.wait_for_model(page)
    label = tour.predict(page, PICTURE)
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
