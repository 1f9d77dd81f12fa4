"""The way a person takes through the window, step by step; shared by the browser tests and the screenshot tool.

Steps find things by the words that people read and wait for what they see; none sleeps for a fixed time.
"""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

MINUTE = 60_000

# Buttons, fields and headings that are shown but stick out of the window sideways, where nobody can reach them.
STICKING_OUT = """() => [...document.querySelectorAll('button, a, input, select, textarea, h1, h2, h3, [role=tab]')]
  .filter(e => e.checkVisibility({visibilityProperty: true, opacityProperty: true}))
  .filter(e => { const r = e.getBoundingClientRect(); return r.width > 1 && r.height > 1 && (r.left < -1 || r.right > innerWidth + 1); })
  .map(e => (e.getAttribute('aria-label') || e.innerText || e.id || e.tagName).trim().slice(0, 40))"""


def take_sample(page: Page) -> None:
    """First run: the sample becomes a project."""
    page.get_by_role("button", name="Try the sample").click()
    expect(page.locator("#toasts")).to_contain_text("The sample is ready", timeout=2 * MINUTE)
    expect(page.locator("article")).to_have_count(5)  # four classes and the place for a new one


def open_tab(page: Page, name: str) -> None:
    """Choose a tab, once the page has found out where it is."""
    page.locator(".rail").wait_for(state="attached")
    page.get_by_role("tab", name=name, exact=True).click()
    expect(page.get_by_role("tab", name=name, exact=True)).to_have_attribute("aria-selected", "true")


def start_training(page: Page, preset: str = "Quick", steps: int | None = None) -> None:
    """Press Train, with a preset and at most `steps`, and wait until the run shows."""
    open_tab(page, "Train")
    page.locator("label.preset", has_text=preset).click()
    expect(page.locator("label.preset", has_text=preset).locator("input")).to_be_checked()
    if steps is not None:
        advanced = page.locator("details", has_text="Advanced").last
        if not advanced.evaluate("fold => fold.open"):
            advanced.locator("summary").click()
        page.locator("#train-form [name=steps]").fill(str(steps))
        page.locator("#train-form [name=steps]").press("Enter")
        # Judging every image takes as long as four more trainings; the worker's own tests do it with a tiny model.
        page.locator("#train-form [name=estimate_minutes]").fill("0")
        page.locator("#train-form [name=estimate_minutes]").press("Enter")
        expect(page.locator("#train-form .changed")).to_contain_text("steps, minutes to judge all images")
    page.locator("[data-room=train-go]").get_by_role("button", name="Train", exact=True).click()
    expect(run_card(page)).to_be_visible()


def run_card(page: Page) -> Locator:
    """The run that the Train tab shows."""
    return page.locator("[data-room=train-now] section.run")


def wait_for_progress(page: Page) -> None:
    """Until the run has counted steps."""
    expect(run_card(page)).to_contain_text("step", timeout=5 * MINUTE, ignore_case=True)


def wait_for_training(page: Page, minutes: float = 10) -> None:
    """Until the run is over and its results can be seen."""
    expect(page.get_by_role("button", name="See the results")).to_be_visible(timeout=minutes * MINUTE)


def right_of(page: Page) -> tuple[int, int]:
    """The headline of Results as numbers: right on (a) of (b)."""
    words = page.locator(".verdict-card h1 b").inner_text()
    right, total = words.split(" of ")
    return int(right), int(total)


def wait_for_model(page: Page, minutes: float = 10) -> None:
    """On Predict: until the published file is there to answer."""
    open_tab(page, "Predict")
    expect(page.get_by_role("button", name="Choose pictures")).to_be_visible(timeout=minutes * MINUTE)


def predict(page: Page, picture: Path) -> str:
    """Give the Predict tab a picture through the file chooser; returns the label it says."""
    before = page.locator(".answer").get_attribute("data-file") or ""
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose pictures").click()
    chooser.value.set_files(picture)
    expect(page.locator(".answer")).not_to_have_attribute("data-file", before, timeout=MINUTE)
    expect(page.locator(".answer img.preview")).to_be_visible()
    return page.locator(".answer h2").inner_text()


def download(page: Page, target: Path) -> Path:
    """Take the ONNX file away from the Export tab."""
    open_tab(page, "Export")
    with page.expect_download() as found:
        page.locator(".exported").get_by_role("link", name="Download").click()
    found.value.save_as(target)
    return target


def make_zip(page: Page, target: Path) -> Path:
    """Have the zip of everything made on the Export tab, and take it away."""
    open_tab(page, "Export")
    page.get_by_role("button", name="Make the zip").click()
    link = page.get_by_role("link", name=re.compile(r"^Download .*\.zip"))
    expect(link).to_be_visible(timeout=5 * MINUTE)
    with page.expect_download() as found:
        link.click()
    found.value.save_as(target)
    return target
