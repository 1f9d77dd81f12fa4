"""A first model without training: there by itself once pictures are, tried at once, and taught picture by picture."""

from __future__ import annotations

import re
from collections.abc import Callable

import tour
from playwright.sync_api import Page, expect
from studio_window import SAMPLE, Server

OpenPage = Callable[..., Page]
UNSEEN = sorted((SAMPLE / "unseen").glob("*/*.jpg"))


def compared(page: Page) -> int:
    """How many images the preview that is shown was made of."""
    found = re.search(r"right on [\d,]+ of ([\d,]+) images", page.locator("[data-room=predict]").inner_text())
    assert found
    return int(found[1].replace(",", ""))


def test_pictures_are_told_apart_without_training(server: Server, open_page: OpenPage) -> None:
    page = open_page(server.url)
    tour.take_sample(page)
    tour.wait_for_model(page)
    room = page.locator("[data-room=predict]")
    expect(room).to_contain_text("needs no training")
    before = compared(page)
    told = {picture: tour.predict(page, picture) for picture in UNSEEN}
    right = [picture for picture, label in told.items() if label == picture.parent.name]
    assert len(right) >= 0.6 * len(told)  # a quarter would be luck

    page.get_by_role("button", name="Wrong? Add to class").click()
    page.get_by_role("dialog").get_by_placeholder("Search, or type a new name").fill(UNSEEN[-1].parent.name)
    page.keyboard.press("Enter")
    expect(page.locator("#toasts")).to_contain_text("The preview takes it in at once")
    expect(room).to_contain_text(re.compile(rf"of {before + 1} images"))

    page.reload()
    tour.open_tab(page, "Train")
    go = page.locator("[data-room=train-go]")
    expect(go).to_contain_text(re.compile(rf"Without training: right on \d+ of {before + 1} images"))
    go.get_by_role("button", name="Try it").click()
    expect(page.get_by_role("tab", name="Predict", exact=True)).to_have_attribute("aria-selected", "true")
