"""The main job of the product by mouse: sample, train, reload in the middle, results, predict, export, download; then the file alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import tour
from PIL import Image
from playwright.sync_api import Page, expect
from studio_window import NARROW, SAMPLE, Server, serving

from blocklora.jobs.events import Started, Step
from blocklora.jobs.liveness import process_of
from blocklora.jobs.run_folder import RunFolder

OpenPage = Callable[..., Page]
UNSEEN = sorted((SAMPLE / "unseen").glob("*/*.jpg"))


def answers(model: Path, pictures: list[Path]) -> list[str]:
    """What the downloaded file says of pictures, with nothing of this product beside it."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    labels = json.loads(session.get_modelmeta().custom_metadata_map["labels"])
    assert labels == ["dice", "leaf", "mug", "scissors"]
    found = []
    for picture in pictures:
        with Image.open(picture) as image:
            pixels = np.asarray(image.convert("RGB"))[None]
        probabilities = session.run(["probabilities"], {"images": pixels})[0]
        assert probabilities.shape == (1, 4)
        np.testing.assert_allclose(probabilities.sum(), 1.0, atol=1e-4)
        found.append(labels[int(probabilities[0].argmax())])
    return found


def test_from_sample_to_a_downloaded_file(server: Server, open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(server.url)
    tour.take_sample(page)
    tour.start_training(page, "Quick", steps=24)
    tour.wait_for_progress(page)

    page.reload()  # the middle of training: nothing is lost, here or in a second window
    other = open_page(server.url)
    for window in (page, other):
        tour.open_tab(window, "Train")
        expect(tour.run_card(window)).to_be_visible()
    other.close()
    tour.wait_for_training(page, minutes=15)

    page.get_by_role("button", name="See the results").click()
    right, held_out = tour.right_of(page)
    assert 0 <= right <= held_out
    assert held_out >= 4  # at least one of each class was held out
    expect(page.get_by_text("Who is taken for whom")).to_be_visible()

    tour.wait_for_model(page)
    said = {picture: tour.predict(page, picture) for picture in UNSEEN[::4]}
    model = tour.download(page, tmp_path / "model.onnx")
    assert dict(zip(said, answers(model, list(said)), strict=True)) == said

    with zipfile.ZipFile(tour.make_zip(page, tmp_path / "sample.zip")) as archive:
        archive.extractall(tmp_path / "sample")
    assert (tmp_path / "sample" / "model.onnx").read_bytes() == model.read_bytes()
    done = subprocess.run([sys.executable, "-E", "verify.py"], cwd=tmp_path / "sample", capture_output=True, text=True, check=False)
    assert "The same answer as where it was made" in done.stdout, done.stderr
    page.get_by_role("button", name="Make smaller files").click()
    expect(page.locator(".form table")).to_contain_text("8-bit", timeout=5 * tour.MINUTE)

    narrow = open_page(server.url, NARROW)
    for name in ("Images", "Train", "Results", "Predict", "Export"):
        tour.open_tab(narrow, name)
        assert narrow.evaluate(tour.STICKING_OUT) == [], name

    # The file knows the classes: guessing gets a quarter of the sample's 60 pictures right, give or take 3. (Its start
    # does, too: what training adds to that is for benchmarks to say.)
    pictures = sorted(SAMPLE.glob("*/*/*.jpg"))
    right = sum(label == picture.parent.name for label, picture in zip(answers(model, pictures), pictures, strict=True))
    assert right >= 36, f"{right} of {len(pictures)}"


def test_training_outlives_the_window_and_the_server(tmp_path: Path, open_page: OpenPage) -> None:
    home = tmp_path / "home"
    with serving(home, workers_stay=True) as first:
        page = open_page(first.url)
        tour.take_sample(page)
        tour.start_training(page, "Quick", steps=12)
        tour.wait_for_progress(page)
        page.close()
        first.kill()
    with serving(home) as second:
        again = open_page(second.url)
        tour.open_tab(again, "Train")
        tour.wait_for_training(again, minutes=15)
        again.get_by_role("button", name="See the results").click()
        assert tour.right_of(again)[1] >= 4
        again.close()
        assert not second.foreign()


def _steps_again(run: RunFolder) -> bool:
    """Whether a second worker has started on the run and taken a step."""
    seen = [type(stamped.event) for stamped in run.events()[0]]
    return seen.count(Started) == 2 and Step in seen[len(seen) - seen[::-1].index(Started) :]


def test_killed_worker_goes_on_from_the_window(server: Server, open_page: OpenPage) -> None:
    page = open_page(server.url)
    tour.take_sample(page)
    tour.start_training(page, "Quick")
    tour.wait_for_progress(page)
    (run,) = (RunFolder(path.parent) for path in server.home.glob("projects/*/runs/*/spec.json"))
    worker = process_of(run.heartbeat_path)
    assert worker is not None
    worker.kill()
    expect(tour.run_card(page)).to_contain_text("it was killed, or the machine went down")
    page.get_by_role("button", name=re.compile("^(Resume|Try again)$")).click()
    expect(tour.run_card(page)).not_to_contain_text("it was killed")
    # The card still shows the steps of before: pressed while the new worker gets ready, Stop would end a run that has nothing to keep.
    deadline = time.monotonic() + 300
    while not _steps_again(run):
        assert time.monotonic() < deadline, "the new worker took no step"
        page.wait_for_timeout(100)
    page.get_by_role("button", name="Stop and keep best").click()
    tour.wait_for_training(page, minutes=15)
    page.get_by_role("button", name="See the results").click()
    assert tour.right_of(page)[1] >= 4
