"""A real server, a real Chromium, and pages that report what they must not do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from studio_window import WIDE, Server, Watch, launch, serving

OpenPage = Callable[..., Page]

expect.set_options(timeout=60_000)  # a build machine may be busy; nothing here is a race against the clock


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """The program on an empty data home of its own. Nothing it starts may leave the machine."""
    with serving(tmp_path / "home") as running:
        yield running
        assert not running.foreign(), running.foreign()


@pytest.fixture
def watch() -> Iterator[Watch]:
    """What pages did wrong; looked at when the test is over. `watch.forgiven` names what a test provokes on purpose."""
    watched = Watch()
    yield watched
    assert not watched.problems, "\n".join(watched.problems)


@pytest.fixture
def open_page(chromium: Browser, watch: Watch) -> Iterator[OpenPage]:
    """`open_page(url, viewport=WIDE, scheme="light")`: a page in a browser context of its own, as another person would have."""
    contexts = []

    def go(url: str, viewport: dict[str, int] = WIDE, scheme: str = "light") -> Page:
        context = chromium.new_context(viewport=viewport, color_scheme=scheme, accept_downloads=True, has_touch=viewport["width"] < 600)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        watch.over(page)
        page.goto(url)
        return page

    yield go
    for context in contexts:
        context.close()
