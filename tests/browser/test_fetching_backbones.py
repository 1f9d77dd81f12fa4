"""A backbone that is not on this machine, in a real browser: fetched in the background from a hub of our own, reloaded, broken off."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect
from studio_window import NARROW, ROOT, SAMPLE, Server, serving

sys.path.insert(0, str(ROOT / "tests" / "ui"))
sys.path.insert(0, str(ROOT / "tests" / "clip"))
from hub_server import Hub
from tab_parts import make_bench

from blocklora.clip.fetching import heartbeat_path
from blocklora.jobs.liveness import process_of
from blocklora.speeds import Speed, remember

OpenPage = Callable[..., Page]
NAME = "ViT-L-14"  # of its weights only the hub knows the hash


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub({"open_clip_model.safetensors": bytes(2_000_000), "open_clip_config.json": b"{}"}) as made:
        yield made


@pytest.fixture
def window(tmp_path: Path, hub: Hub) -> Iterator[Server]:
    home = tmp_path / "home"
    make_bench(home, SAMPLE / "images", ROOT)
    for name in ("builtin", NAME):
        remember(home, "cpu", name, Speed(1.0, 0.01, 0.02, 5.0))  # nothing is timed here
    with serving(home, hub=hub.address) as running:
        yield running
        assert not running.foreign(), running.foreign()


def choose(page: Page, title: str) -> Locator:
    """Choose a backbone; its row."""
    page.locator("#train-form summary", has_text="Backbone").click()
    row = page.locator("label.backbone", has_text=title)
    row.click()
    expect(row.locator("input")).to_be_checked()
    return row


def test_fetched_while_the_page_is_used_reloaded_and_the_worker_killed(window: Server, hub: Hub, open_page: OpenPage) -> None:
    hub.delay = 0.05
    page = open_page(f"{window.url}/?tab=train")
    row = choose(page, "CLIP ViT-L/14")
    go = page.locator("[data-room=train-go]")
    expect(go).to_contain_text("is not on this machine yet")
    expect(go.get_by_role("button", name="Train", exact=True)).to_have_count(0)
    go.get_by_role("button", name="Download").click()
    expect(go).to_contain_text(re.compile(r"Downloading CLIP ViT-L/14.* of 2 MB · \d+ %"))
    expect(row).to_contain_text("downloading")
    page.reload()
    expect(page.locator("[data-room=train-go]")).to_contain_text("Downloading CLIP ViT-L/14")

    worker = process_of(heartbeat_path(window.home, NAME))
    assert worker is not None
    worker.kill()
    expect(go).to_contain_text("What has arrived is kept")
    hub.delay = 0.0
    go.get_by_role("button", name="Go on").click()
    expect(go.get_by_role("button", name="Train", exact=True)).to_be_visible()
    assert hub.fetched("open_clip_model.safetensors")[-1].startswith("bytes=")
    page.locator("#train-form summary", has_text="Backbone").click()
    expect(page.locator("label.backbone", has_text="CLIP ViT-L/14")).to_contain_text("on this machine")


def test_cancelled_on_a_phone_and_a_local_file_that_is_none(window: Server, hub: Hub, open_page: OpenPage, tmp_path: Path) -> None:
    hub.delay = 0.05
    page = open_page(f"{window.url}/?tab=train", viewport=NARROW)
    choose(page, "CLIP ViT-L/14")
    go = page.locator("[data-room=train-go]")
    go.get_by_role("button", name="Download").click()
    expect(go).to_contain_text(re.compile(r"of 2 MB · [1-9]\d* %"))
    go.get_by_role("button", name="Cancel").click()
    expect(go).to_contain_text("What has arrived is kept")
    go.get_by_role("button", name="Discard").click()
    expect(go).to_contain_text("is not on this machine yet")

    (tmp_path / "cat.safetensors").write_bytes(b"meow")
    go.get_by_role("button", name="Use a local file").click()
    page.get_by_label("File on this computer").fill(str(tmp_path / "cat.safetensors"))
    page.get_by_role("button", name="Use it").click()
    expect(go.get_by_role("alert")).to_contain_text("cat.safetensors cannot be read as safetensors")
    expect(go.get_by_role("alert")).to_contain_text("huggingface.co/timm/vit_large_patch14_clip_224.openai")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
