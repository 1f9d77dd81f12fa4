"""Makes the README's pictures: starts the program on an empty data home, walks the sample through every tab, and photographs it.

    python tests/tools/screenshots.py [--out assets/screenshots] [--preset Quick]

Needs what `bash tests/run` installs. The person's own data home is not touched.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "browser"))
import tour
from studio_window import NARROW, ROOT, SAMPLE, WIDE, Watch, launch, serving

expect.set_options(timeout=60_000)
MOST_BYTES = 1_500_000  # of all pictures together
COLOURS = 256
IN_THE_MIDDLE = re.compile(r"step ([89]\d|1\d\d) of")  # where curves have something to show


class Camera:
    """Photographs pages into a folder, in few colours so that the repository stays small."""

    def __init__(self, out: Path) -> None:
        self.out, self.bytes = out, 0
        out.mkdir(parents=True, exist_ok=True)

    def shoot(self, page: Page, name: str) -> None:
        page.mouse.move(0, 0)
        # Lazy pictures below the window, beside it or in a closed fold are not asked for, so never complete.
        away = "r => r.top > innerHeight || r.left > innerWidth || r.right < 0"
        seen = f"i.complete || !i.checkVisibility() || ({away})(i.getBoundingClientRect())"
        page.wait_for_function(f"[...document.images].every(i => {seen})")
        page.evaluate("document.fonts.ready")
        shot = Image.open(io.BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
        small = shot.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.FLOYDSTEINBERG)
        target = self.out / f"{name}.png"
        small.save(target, optimize=True)
        self.bytes += target.stat().st_size
        print(f"{target}  {target.stat().st_size / 1000:.0f} kB")


def page_of(browser: Browser, url: str, watch: Watch, viewport: dict[str, int], scheme: str) -> Page:
    page = browser.new_context(viewport=viewport, color_scheme=scheme).new_page()
    page.set_default_timeout(60_000)
    watch.over(page)
    page.goto(url)
    return page


def close_toasts(page: Page) -> None:
    for button in page.locator("#toasts button").all():
        button.click()
    expect(page.locator("#toasts .toast")).to_have_count(0)


def walk(browser: Browser, url: str, camera: Camera, watch: Watch, preset: str) -> None:
    """Every tab in light, two in dark, two on a narrow screen."""
    page = page_of(browser, url, watch, WIDE, "light")
    tour.take_sample(page)
    close_toasts(page)
    camera.shoot(page, "images")
    tour.start_training(page, preset)
    expect(tour.run_card(page)).to_contain_text(IN_THE_MIDDLE, timeout=10 * tour.MINUTE)
    page.evaluate("window.scrollTo(0, 0)")
    camera.shoot(page, "train")
    tour.wait_for_training(page, minutes=30)
    page.get_by_role("button", name="See the results").click()
    expect(page.locator(".verdict-card h1 b")).to_be_visible()
    camera.shoot(page, "results")
    tour.wait_for_model(page)
    tour.predict(page, SAMPLE / "unseen" / "mug" / "mug-unseen-1.jpg")
    camera.shoot(page, "predict")
    dark = page_of(browser, url, watch, WIDE, "dark")
    tour.open_tab(dark, "Results")
    expect(dark.locator(".verdict-card h1 b")).to_be_visible()
    camera.shoot(dark, "results-dark")
    tour.open_tab(dark, "Export")
    expect(dark.get_by_role("link", name="Download")).to_be_visible()
    camera.shoot(dark, "export-dark")
    narrow = page_of(browser, url, watch, NARROW, "light")
    expect(narrow.locator("article").first).to_be_visible()
    camera.shoot(narrow, "images-narrow")
    tour.wait_for_model(narrow)
    tour.predict(narrow, SAMPLE / "unseen" / "scissors" / "scissors-unseen-2.jpg")
    camera.shoot(narrow, "predict-narrow")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "assets" / "screenshots")
    parser.add_argument("--preset", default="Quick", choices=("Quick", "Balanced", "Thorough"))
    arguments = parser.parse_args()
    camera, watch = Camera(arguments.out), Watch()
    with tempfile.TemporaryDirectory(prefix="studio-") as folder, sync_playwright() as playwright, serving(Path(folder) / "home") as server:
        browser = launch(playwright)
        walk(browser, server.url, camera, watch, arguments.preset)
        browser.close()
    print(f"together {camera.bytes / 1000:.0f} kB")
    for problem in watch.problems:
        print(f"problem: {problem}", file=sys.stderr)
    if camera.bytes > MOST_BYTES:
        print(f"more than {MOST_BYTES:,} bytes", file=sys.stderr)
    return 1 if watch.problems or camera.bytes > MOST_BYTES else 0


if __name__ == "__main__":
    raise SystemExit(main())
