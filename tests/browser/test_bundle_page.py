"""The page of a bundle, in a real browser from a plain static server: it answers as the product does, and reaches nothing else."""

from __future__ import annotations

import functools
import http.server
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from studio_window import NARROW, ROOT, WIDE, Watch
from tour import STICKING_OUT

from blocklora.projects.decoding import decode_rgb
from exporters.predictor import OnnxClassifier
from exporters.web_runtime import FILES, VERSION, packages_folder

OpenPage = Callable[..., Page]

MAKE = """import sys
from pathlib import Path
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from tiny_run import write_run
from exporters.forms import make_form
from exporters.pipeline import make_export
run = write_run(Path(sys.argv[3]))
make_export(run, lambda stage, fraction: None)
make_form(run, "bundle", lambda stage, fraction: None)
"""

ASK = """async (address) => {
  const answer = await ask(await decodeFile(await (await fetch(address)).blob()));
  return [...answer.probabilities];
}"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, unpacked, with pictures of many kinds beside it."""
    packages = packages_folder(Path("nowhere"))
    if not all((packages / f"onnxruntime-web-{VERSION}" / name).is_file() for name in FILES):
        pytest.skip("onnxruntime-web is not there; `bash tests/run` fetches it")
    root, target = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("bundle")
    subprocess.run([sys.executable, "-c", MAKE, str(ROOT / "tests" / "exporters"), str(ROOT), str(root)], check=True, timeout=600)
    with zipfile.ZipFile(root / "run" / "export" / "bundle.zip") as archive:
        archive.extractall(target)
    pictures(target / "pictures")
    return target


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def pictures(folder: Path) -> None:
    """Smooth pictures, as photographs are; noise would measure decoders, not the page."""
    folder.mkdir()
    y, x = np.mgrid[0:90, 0:120]
    rgb = np.stack([120 + 100 * np.sin(x / 17), 120 + 100 * np.cos(y / 23), 90 + 80 * np.sin((x + y) / 31)], axis=2).astype(np.uint8)
    Image.fromarray(rgb).save(folder / "plain.png")
    Image.fromarray(rgb).save(folder / "photo.jpg", quality=92)
    Image.fromarray(np.dstack([rgb, (x * 2).clip(0, 255).astype(np.uint8)])).save(folder / "alpha.png")
    Image.fromarray(rgb[..., 0]).save(folder / "grey.jpg", quality=92)
    Image.fromarray(rgb[..., 0].astype(np.uint16) * 257).save(folder / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(rgb).save(folder / "turned.jpg", quality=92, exif=exif)
    Image.fromarray(rgb[:, :1]).save(folder / "sliver.png")
    Image.fromarray(np.tile(rgb[:20], (1, 8, 1))).save(folder / "panorama.webp", lossless=True)
    frames = [Image.fromarray(np.full((30, 30, 3), shade, dtype=np.uint8)) for shade in (40, 120, 200)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])


def test_the_page_answers_as_the_product_does(folder: Path, address: str, open_page: OpenPage) -> None:
    page = open_page(f"{address}/web/")
    expect(page.locator("#status")).to_have_text("Ready.")
    expect(page.locator("#classes")).to_have_text("=plum, apple, pear")
    model = OnnxClassifier(folder / "model.onnx", threads=1)
    for path in sorted((folder / "pictures").iterdir()):
        wanted = model.predict([decode_rgb(path)])[0].probabilities
        found = np.array(page.evaluate(ASK, f"../pictures/{path.name}"))
        assert np.abs(found - wanted).max() < 5e-3, path.name
        assert found.argmax() == wanted.argmax(), path.name


def test_a_picture_is_chosen_dropped_and_pasted(folder: Path, address: str, open_page: OpenPage) -> None:
    page = open_page(f"{address}/web/")
    expect(page.locator("#status")).to_have_text("Ready.")
    page.locator("#file").set_input_files(folder / "pictures" / "photo.jpg")
    model = OnnxClassifier(folder / "model.onnx", threads=1)
    expect(page.locator("#status")).to_have_text(model.predict([decode_rgb(folder / "pictures" / "photo.jpg")])[0].label)
    expect(page.locator("#bars li")).to_have_count(3)
    for number, kind in enumerate(("drop", "paste")):
        page.evaluate(
            """async ([kind, address]) => {
              const transfer = new DataTransfer();
              transfer.items.add(new File([await (await fetch(address)).blob()], `${kind}.png`, {type: 'image/png'}));
              dispatchEvent(kind === 'drop' ? new DragEvent('drop', {dataTransfer: transfer, cancelable: true})
                : new ClipboardEvent('paste', {clipboardData: transfer}));
            }""",
            [kind, f"../pictures/{('plain', 'alpha')[number]}.png"],
        )
        expect(page.locator("#shown")).to_have_attribute("alt", f"{kind}.png")


def test_what_is_no_picture_is_refused_and_the_page_goes_on(folder: Path, address: str, open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(f"{address}/web/")
    expect(page.locator("#status")).to_have_text("Ready.")
    (tmp_path / "notes.png").write_bytes(b"no picture")
    page.locator("#file").set_input_files(tmp_path / "notes.png")
    expect(page.get_by_role("alert")).to_contain_text("not a picture that this browser can read")
    page.locator("#file").set_input_files(folder / "pictures" / "plain.png")
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(page.locator("#bars li")).to_have_count(3)


def test_camera_answers(address: str, open_page: OpenPage) -> None:
    page = open_page(f"{address}/web/")
    expect(page.locator("#status")).to_have_text("Ready.")
    page.evaluate(
        """navigator.mediaDevices.getUserMedia = async () => {
          const canvas = Object.assign(document.createElement('canvas'), {width: 320, height: 240}), pen = canvas.getContext('2d');
          let turn = 0;
          setInterval(() => { pen.fillStyle = `hsl(${turn++ % 360} 80% 50%)`; pen.fillRect(0, 0, 320, 240); }, 40);
          return canvas.captureStream(25);
        }"""
    )
    page.get_by_role("button", name="Camera").click()
    expect(page.locator("#bars li")).to_have_count(3)
    page.get_by_role("button", name="Stop the camera").click()
    expect(page.locator("#camera")).to_be_hidden()


def test_it_fits_a_phone_in_both_lights(folder: Path, address: str, open_page: OpenPage) -> None:
    for viewport in (WIDE, NARROW):
        for scheme in ("light", "dark"):
            page = open_page(f"{address}/web/", viewport, scheme)
            expect(page.locator("#status")).to_have_text("Ready.")
            page.locator("#file").set_input_files(folder / "pictures" / "panorama.webp")
            expect(page.locator("#bars li")).to_have_count(3)
            assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
            assert page.evaluate(STICKING_OUT) == []


def test_opened_as_a_file_it_says_how(folder: Path, open_page: OpenPage, watch: Watch) -> None:
    page = open_page((folder / "web" / "index.html").as_uri())
    expect(page.get_by_role("alert")).to_contain_text("python -m http.server")
    expect(page.locator("#status")).to_have_text("This page needs a web server.")


def test_without_its_neighbours_it_says_what_is_missing(folder: Path, open_page: OpenPage, watch: Watch) -> None:
    watch.forgiven = ("404",)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder / "web")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        page = open_page(f"http://127.0.0.1:{server.server_port}/")
        expect(page.get_by_role("alert")).to_contain_text("Keep the zip's folders together")
    finally:
        server.shutdown()
        server.server_close()
