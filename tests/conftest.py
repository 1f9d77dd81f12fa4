"""What every test gets without asking: its own data home, no network, few threads; and what several rooms share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# Before any library reads them: nothing is fetched, nothing is reported, two threads are enough for the sizes here.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("BLOCKLORA_PACKAGES", str(Path(__file__).parents[1] / ".packages"))  # `bash tests/run` fetches onnxruntime-web there
os.environ["NPM_CONFIG_REGISTRY"] = "http://127.0.0.1:9"  # and nothing else does

sys.path.insert(0, str(Path(__file__).parent / "guard"))
import no_network

no_network.install()

PALETTE = ((205, 60, 50), (45, 110, 200), (60, 160, 80), (220, 170, 40), (140, 80, 170), (60, 170, 175))

MakePictures = Callable[..., Path]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-slow", action="store_true", help="also run the tests marked slow (minutes each)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--run-slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: opt in with --run-slow"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """In several processes a file stays in one, as its fixtures do, and all of the browser's files in the same one: two windows at work
    side by side would tell less of the one that a person sits at. (Groups by mark are silently ignored from pytest 9.2 on:
    pytest-xdist's issue 1386.)
    """

    class Rooms(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "browser" if nodeid.startswith("tests/browser/") else nodeid.partition("::")[0]

    return Rooms(config, log)


@pytest.fixture(scope="session", autouse=True)
def _session_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A data home for fixtures that live longer than one test; the person's own is out of reach."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BLOCKLORA_HOME", str(tmp_path_factory.mktemp("session-home")))
        yield


@pytest.fixture(autouse=True)
def data_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data home for this test alone (outside its `tmp_path`, which stays empty)."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("BLOCKLORA_HOME", str(home))
    return home


@pytest.fixture(autouse=True)
def _nothing_left_the_machine() -> Iterator[None]:
    """Fail the test that tried to reach another machine, even where the program under test swallowed the refusal."""
    before = len(no_network.attempts)
    yield
    tried = no_network.attempts[before:]
    assert not tried, f"tried to leave this machine: {tried}"


def draw_picture(label: int, number: int, side: int = 96) -> Image.Image:
    """A simple picture of class `label`: colour, and the direction of its stripes, tell classes apart; `number` varies the rest.

    Every (label, number) gives other bytes, and no two are near-identical, so that splits and imports keep them all.
    """
    rng = np.random.default_rng((label, number))
    y, x = np.mgrid[0:side, 0:side] / side
    angle = label * 0.7 + rng.normal(0, 0.08)
    stripes = np.sin((x * np.cos(angle) + y * np.sin(angle)) * rng.uniform(18, 34) + rng.uniform(0, 6.28))
    cx, cy, radius = rng.uniform(0.25, 0.75), rng.uniform(0.25, 0.75), rng.uniform(0.12, 0.3)
    disc = ((x - cx) ** 2 + (y - cy) ** 2 < radius**2)[..., None]
    colour = np.array(PALETTE[label % len(PALETTE)]) + rng.normal(0, 12, 3)
    pixels = np.where(disc, 245.0, colour) + 25 * stripes[..., None] + rng.normal(0, 5, (side, side, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@pytest.fixture
def make_pictures(tmp_path: Path) -> MakePictures:
    """`make_pictures(folder, classes=3, each=4, side=96, suffix=".png")` writes a folder of class folders and returns it."""

    def make(folder: str | Path = "pictures", classes: int = 3, each: int = 4, side: int = 96, suffix: str = ".png") -> Path:
        root = tmp_path / folder
        for label in range(classes):
            home = root / f"class-{label}"
            home.mkdir(parents=True, exist_ok=True)
            for number in range(each):
                draw_picture(label, number, side).save(home / f"{number:03d}{suffix}")
        return root

    return make


@pytest.fixture
def sample_pictures(make_pictures: MakePictures) -> Path:
    """A folder of 3 class folders with 8 easily told-apart pictures each."""
    return make_pictures("sample-pictures", classes=3, each=8)
