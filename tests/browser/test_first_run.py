"""The first minutes: an empty data home, the sample, and what survives when the server does not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect
from studio_window import NARROW, WIDE, Server, serving
from tour import STICKING_OUT, take_sample

OpenPage = Callable[..., Page]


def test_empty_home_offers_three_ways_in_every_light_and_width(server: Server, open_page: OpenPage) -> None:
    for viewport in (WIDE, NARROW):
        for scheme in ("light", "dark"):
            page = open_page(server.url, viewport, scheme)
            for name in ("Try the sample", "New project", "Open a project"):
                expect(page.get_by_role("button", name=name).last).to_be_visible()
            expect(page).to_have_title("Block-LoRA Studio")
            assert page.evaluate(STICKING_OUT) == [], (viewport, scheme)


def test_sample_opens_by_keyboard_and_fills_the_images_tab_of_every_window(server: Server, open_page: OpenPage) -> None:
    page = open_page(server.url)
    expect(page.get_by_role("button", name="Try the sample")).to_be_visible()
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText || ''").startswith("Try the sample"):
            break
    for _ in range(3):  # as a key that is held down
        page.keyboard.press("Enter")
    for index, name in enumerate(("dice", "leaf", "mug", "scissors")):
        card = page.locator("article").nth(index)
        expect(card.get_by_label("Class name", exact=True)).to_have_value(name)
        expect(card).to_contain_text("12 pictures")
    assert page.locator(".projects li").count() == 1
    page.wait_for_function("[...document.querySelectorAll('article img')].every(i => i.complete && i.naturalWidth > 0)")
    assert page.evaluate(STICKING_OUT) == []
    narrow = open_page(server.url, NARROW)
    expect(narrow.locator("article").nth(3).get_by_label("Class name", exact=True)).to_have_value("scissors")
    assert narrow.evaluate(STICKING_OUT) == []


def test_project_is_there_after_the_server_was_killed(tmp_path: Path, open_page: OpenPage) -> None:
    home = tmp_path / "home"
    with serving(home) as first:
        page = open_page(first.url)
        take_sample(page)
        page.close()
        first.kill()
    with serving(home) as second:
        again = open_page(second.url)
        expect(again.locator("article").first).to_contain_text("12 pictures")
        again.close()
        assert second.interrupt() == 0
