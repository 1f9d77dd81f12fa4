"""Where the window works: an empty folder of its own, swept after it, and a log in the data home."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocklora.ui import routes, server
from blocklora.ui.downloads import Downloads


@pytest.fixture(autouse=True)
def _environment_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("GRADIO_TEMP_DIR", "GRADIO_EXAMPLES_CACHE"):
        monkeypatch.setenv(name, "unset")
    before = Path.cwd()
    yield
    assert Path.cwd() == before


def test_window_works_in_an_empty_folder_and_cleans_up(tmp_path: Path) -> None:
    with server.workplace(tmp_path) as uploads:
        assert list(Path.cwd().iterdir()) == []
        assert Path.cwd().is_relative_to(tmp_path)
        assert os.environ["GRADIO_TEMP_DIR"] == str(uploads)
        assert uploads.is_dir()
        assert not Path.cwd().is_relative_to(uploads)
    assert list((tmp_path / "cache" / "window").iterdir()) == []


def test_leftovers_of_killed_windows_go_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    root = tmp_path / "cache" / "window"
    dead, alive, odd = root / "999999999", root / str(os.getppid()), root / "strange"
    for folder in (dead, alive, odd):
        folder.mkdir(parents=True)
    with server.workplace(tmp_path):
        assert alive.is_dir()
        assert not dead.exists()
        assert not odd.exists()


def test_log_is_in_the_data_home(tmp_path: Path) -> None:
    ours = logging.getLogger("blocklora")
    before = list(ours.handlers)
    server.write_log(tmp_path)
    try:
        logging.getLogger("blocklora.ui").error("words for later")
        assert "words for later" in (tmp_path / "logs" / "studio.log").read_text(encoding="utf-8")
    finally:
        for handler in set(ours.handlers) - set(before):
            ours.removeHandler(handler)
            handler.close()


def test_downloads_keep_their_address_and_forget_the_oldest(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"x")
    downloads = Downloads(keep=2)
    url = downloads.offer(file, "a/b\\c & d.onnx")
    assert downloads.offer(file, "a/b\\c & d.onnx") == url
    token = url.split("/")[2]
    offer = downloads.find(token)
    assert offer is not None
    assert offer.filename == "a-b-c & d.onnx"
    assert url.endswith("/a-b-c%20%26%20d.onnx")
    for number in range(2):
        downloads.offer(file, f"{number}.onnx")
    assert downloads.find(token) is None
    newest = downloads.offer(file, "1.onnx").split("/")[2]
    file.unlink()
    assert downloads.find(newest) is None


def test_version_of_the_look_is_that_of_its_files() -> None:
    assert len(routes.version()) == 12
    assert b"window.studio" in routes.script()
    assert b'"start_url": "/"' in routes.manifest()
