"""The zip of everything: what is in it, and that each program in it runs by itself."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pillow_heif
import pytest
from PIL import Image
from tiny_run import CLASSES, write_run

from blocklora.clip.catalog import known
from blocklora.errors import ExportError
from blocklora.files import read_json
from blocklora.jobs.run_folder import RunFolder
from blocklora.projects.decoding import decode_rgb
from blocklora.reject import OFF, Wish
from blocklora.services.exported import BUNDLE, made
from exporters import web_runtime
from exporters.forms import make_form
from exporters.model_card import Facts, cell, model_card, threshold
from exporters.pipeline import make_export
from exporters.predictor import OnnxClassifier

NOWHERE = "http://127.0.0.1:9"


def silent(stage: str, fraction: float) -> None:
    assert stage and 0 <= fraction <= 1


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run with its published file, and a bundle made where there is no network."""
    run = write_run(tmp_path_factory.mktemp("bundled"))
    make_export(run, silent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("npm_config_registry", NOWHERE)
        patch.setenv(web_runtime.FOLDER_VARIABLE, str(tmp_path_factory.mktemp("packages")))
        make_form(run, BUNDLE, silent)
    return run


@pytest.fixture(scope="module")
def folder(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle, unpacked."""
    target = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(run.export_dir / "bundle.zip") as archive:
        archive.extractall(target)
    return target


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A program of the bundle, with nothing of the product in reach."""
    return subprocess.run([sys.executable, "-E", *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_the_file_in_the_zip_is_the_published_one(run: RunFolder, folder: Path) -> None:
    assert (folder / "model.onnx").read_bytes() == run.onnx_path.read_bytes()
    assert json.loads((folder / "labels.json").read_text()) == OnnxClassifier(run.onnx_path).labels
    assert json.loads((folder / "parity.json").read_text())["passed"] is True
    assert not any("torch" in line for path in folder.glob("*.py") for line in path.read_text().splitlines())


def test_what_is_missing_without_a_network_is_said(run: RunFolder, folder: Path) -> None:
    assert not (folder / "web").exists()
    form = made(run, BUNDLE)
    assert form is not None and NOWHERE in form.note and "npm pack onnxruntime-web" in form.note
    assert NOWHERE in (folder / "README.md").read_text()


def test_the_card_says_what_the_run_says(run: RunFolder, folder: Path) -> None:
    card = (folder / "README.md").read_text()
    front, body = card.split("---\n")[1:3]
    assert "pipeline_tag: image-classification" in front and "value: 0.6667" in front
    assert "**4 of 6 held-out images**" in body and "95 % interval 30.0 % to 90.0 %" in body
    assert "| by class names alone | 2 | 6 | 33.3 % |" in body
    assert f"`{hashlib.sha256(run.onnx_path.read_bytes()).hexdigest()}`" in body
    assert "| apple | 2 | 2 |" in body
    assert "secret.jpg" not in card and str(run.path) not in card


def test_names_that_are_markup_stay_names() -> None:
    assert cell("a|b\n<img src=x> [x](y) *z*") == r"a\|b \<img src=x\> \[x\]\(y\) \*z\*"


def test_the_threshold_is_the_lowest_from_which_on_answers_are_right() -> None:
    def answered(*pairs: tuple[float, bool]) -> list[dict[str, object]]:
        return [{"probability": p, "predicted": 0, "label": 0 if right else 1} for p, right in pairs]

    assert threshold(answered((0.9, True), (0.8, True), (0.7, False), (0.6, True))) == 0.8
    assert threshold(answered((0.9, True), (0.8, True), (0.7, False), (0.6, True)), wanted=0.75) == 0.6
    assert threshold(answered((0.9, True), (0.8, True), (0.8, False)), wanted=0.9) == 0.9, "equal probabilities stand or fall together"
    assert threshold(answered((0.9, False), (0.5, True))) is None
    assert threshold([]) is None


def test_the_card_says_when_to_doubt(run: RunFolder, tmp_path: Path) -> None:
    result = read_json(run.result_path)
    images = [{"label": 0, "predicted": int(n == 4), "probability": 0.99 - n / 10} for n in range(6)]
    facts = Facts("x", CLASSES, [(2, 2)] * 3, known("ViT-B-32"), result | {"held_out": result["held_out"] | {"images": images}}, {}, (), {})
    card = model_card(facts)
    assert "| **69.0 %** | 4 of 6 | 4 of 4 |" in card and "| 0.0 % | 6 of 6 | 5 of 6 |" in card
    assert "license: mit" in card and "base_model: laion/" in card
    assert "quarter turns" not in card
    assert "all four quarter turns" in model_card(
        replace(facts, result={**facts.result, "rotations_note": "It learns from quarter turns."})
    )


def test_the_card_says_whether_strangers_are_told(run: RunFolder) -> None:
    facts = Facts("x", CLASSES, [(2, 2)] * 3, known("ViT-B-32"), read_json(run.result_path), {}, (), {})
    assert "cannot say that a picture shows none of them" in model_card(facts)
    for never in (Wish(how=OFF), Wish()):
        assert "cannot say that" in model_card(replace(facts, report={"reject": never.to_dict()}))
    with_rule = model_card(replace(facts, report={"reject": Wish(familiar=-2.0).to_dict()}))
    assert "cannot say" not in with_rule and "can say that a picture shows none of its classes (`known`)" in with_rule


def test_the_card_counts_what_the_file_learned_from(run: RunFolder) -> None:
    result = read_json(run.result_path)
    judged = result | {"cross_validated": {**result["held_out"], "folds": 5}}
    facts = Facts("x", CLASSES, [(19, 5), (9, 2), (10, 3)], known("ViT-B-32"), judged, {}, (), {})
    card = model_card(facts)  # as Thorough leaves it: what was kept aside was never learned
    assert "on 38 pictures" in card and "| 9 | 2 |" in card and "training pictures | kept aside |" in card
    assert "learned from those that were not kept aside" in card and "fewest training pictures has 9" in card
    card = model_card(replace(facts, retrained=True))
    assert "on 48 pictures" in card and "| 11 | 2 |" in card and "| of them kept aside at first, to measure |" in card
    assert "this file learned from all of them" in card and "fewest training pictures has 11" in card


def test_verify_agrees_here_and_notices_another_file(folder: Path, tmp_path: Path) -> None:
    done = python(folder, "verify.py")
    assert done.returncode == 0 and "The same answer" in done.stdout, done.stderr
    other = tmp_path / "other"
    other.mkdir()
    for name in ("verify.py", "predict.py", "pictures.py", "expected.json", "test-image.png", "labels.json"):
        (other / name).write_bytes((folder / name).read_bytes())
    (other / "model.onnx").write_bytes((folder / "model.onnx").read_bytes() + b"\0")
    assert "damaged" in python(other, "verify.py").stderr
    (other / "model.onnx").write_bytes((folder / "model.onnx").read_bytes())
    expected = json.loads((other / "expected.json").read_text())
    expected["probabilities"] = expected["probabilities"][::-1]
    (other / "expected.json").write_text(json.dumps(expected))
    done = python(other, "verify.py")
    assert done.returncode == 1 and "off by" in done.stderr


def test_predict_is_short_and_answers_as_the_product_does(run: RunFolder, folder: Path, tmp_path: Path) -> None:
    assert len((folder / "predict.py").read_text().splitlines()) <= 40
    pictures = odd_pictures(tmp_path / "pictures")
    (tmp_path / "pictures" / "notes.txt").write_text("no picture")
    done = python(folder, "predict.py", str(tmp_path / "pictures"), "--top", "1")
    assert done.returncode == 0, done.stderr
    assert "notes.txt: not read" in done.stderr
    model = OnnxClassifier(run.onnx_path)
    lines = dict(line.rsplit(": ", 1) for line in done.stdout.splitlines())
    assert len(lines) == len(pictures)
    for path in pictures:
        wanted = model.predict([decode_rgb(path)])[0]
        assert lines[str(path)] == f"{wanted.label} {wanted.probability:.1%}", path.name


def test_a_picture_that_was_named_and_cannot_be_read_is_a_failure(folder: Path, tmp_path: Path) -> None:
    picture, other = odd_pictures(tmp_path / "pictures")[0], tmp_path / "not a picture.txt"
    other.write_text("none")
    done = python(folder, "predict.py", str(picture), str(other))
    assert done.returncode == 1 and str(picture) in done.stdout and "not a picture.txt: not read" in done.stderr


def test_no_other_program_is_started_to_read_a_picture(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow hands PostScript to Ghostscript, whatever is in it."""
    called, programs = tmp_path / "called", tmp_path / "bin"
    programs.mkdir()
    (programs / "gs").write_text(f"#!/bin/sh\ntouch '{called}'\n")
    (programs / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    script = tmp_path / "picture.eps"
    script.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n{} loop showpage\n%%EOF\n")
    done = python(folder, "predict.py", str(script))
    assert done.returncode == 1 and "not read (cannot identify" in done.stderr and not called.exists()


def test_predict_refuses_addresses_and_what_is_not_there(folder: Path) -> None:
    for name in ("https://example.org/cat.jpg", "nowhere.jpg"):
        done = python(folder, "predict.py", name)
        assert done.returncode == 1 and f"{name} is not a file or folder on this machine" in done.stderr and not done.stdout


def odd_pictures(folder: Path) -> list[Path]:
    """Pictures of every kind that decoders are known to disagree on."""
    folder.mkdir()
    rng = np.random.default_rng(5)
    rgb = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(rgb).save(folder / "plain.png")
    Image.fromarray(np.dstack([rgb, rng.integers(0, 256, (40, 60), dtype=np.uint8)])).save(folder / "alpha.png")
    Image.fromarray(rgb[..., 0]).save(folder / "grey.png")
    Image.fromarray(rgb).convert("P").save(folder / "palette.png", transparency=3)
    Image.fromarray(rgb).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(rng.integers(0, 65536, (40, 60), dtype=np.uint16)).save(folder / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(rgb).save(folder / "turned.jpg", exif=exif)
    Image.fromarray(rgb[:, :1]).save(folder / "sliver.png")
    pillow_heif.from_pillow(Image.fromarray(rgb)).save(folder / "phone.heic", quality=90)
    Image.fromarray(rng.integers(0, 256, (20, 900, 3), dtype=np.uint8)).save(folder / "panorama.webp", lossless=True)
    frames = [Image.fromarray(rng.integers(0, 256, (30, 30, 3), dtype=np.uint8)) for _ in range(3)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[str]:
    """serve.py at work."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (folder / "serve.log").open("w")
    process = subprocess.Popen([sys.executable, "-E", "serve.py", "--port", str(port)], cwd=folder, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{address}/health")
                break
            except httpx.HTTPError:
                assert time.monotonic() < deadline and process.poll() is None, (folder / "serve.log").read_text()
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def test_the_service_answers_as_the_product_does(run: RunFolder, service: str, tmp_path: Path) -> None:
    assert httpx.get(f"{service}/health").json() == {"status": "ok", "labels": OnnxClassifier(run.onnx_path).labels}
    model = OnnxClassifier(run.onnx_path)
    for path in odd_pictures(tmp_path / "pictures"):
        answer = httpx.post(f"{service}/predict", files={"file": path.read_bytes()}, params={"top": 2}, timeout=60).json()
        wanted = model.predict([decode_rgb(path)], top=2)[0]
        assert answer["label"] == wanted.label and len(answer["top"]) == 2
        assert abs(answer["probability"] - wanted.probability) < 1e-4, path.name


def test_the_service_refuses_what_is_no_picture_and_what_is_too_large(service: str) -> None:
    answer = httpx.post(f"{service}/predict", files={"file": b"no picture"}, timeout=60)
    assert answer.status_code == 422 and "not a picture" in answer.json()["detail"]
    answer = httpx.post(f"{service}/predict", files={"file": bytes(51 * 2**20)}, timeout=60)
    assert answer.status_code == 413 and "50 MB" in answer.text
    assert httpx.post(f"{service}/predict", files={"file": b""}, params={"top": 0}).status_code == 422
    assert httpx.get(f"{service}/health").status_code == 200


def test_the_image_is_built_of_files_that_are_there(folder: Path) -> None:
    recipe = (folder / "Dockerfile").read_text()
    for line in re.findall(r"^COPY (.+) \S+$", recipe, re.M):
        for name in line.split():
            assert (folder / name).is_file(), name
    requirements = (folder / "requirements.txt").read_text()
    imported = {"onnxruntime", "numpy", "pillow", "pillow-heif", "fastapi", "uvicorn", "python-multipart"}
    assert imported <= set(re.findall(r"^([\w-]+)>=", requirements, re.M))


def test_the_page_comes_along_where_its_runtime_is_there(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {name: f"// {name}".encode() for name in web_runtime.FILES}
    folder = tmp_path / f"onnxruntime-web-{web_runtime.VERSION}"
    folder.mkdir()
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    monkeypatch.setattr(web_runtime, "FILES", {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()})
    monkeypatch.setenv(web_runtime.FOLDER_VARIABLE, str(tmp_path))
    make_form(run, BUNDLE, silent)
    form = made(run, BUNDLE)
    assert form is not None and form.note == ""
    with zipfile.ZipFile(form.path) as archive:
        names = set(archive.namelist())
        assert {"web/index.html", "web/app.js", "web/ort/LICENSE", *(f"web/ort/{name}" for name in contents)} <= names
        assert not any("__pycache__" in name for name in names)
        assert "localhost:8000/web/" in archive.read("README.md").decode()


def test_a_package_put_there_by_hand_must_be_the_pinned_one(tmp_path: Path) -> None:
    (tmp_path / web_runtime.PACKAGE).write_bytes(b"something else")
    with pytest.raises(ExportError, match="not the package that this program knows"):
        web_runtime.web_runtime(tmp_path)


def test_a_bundle_of_an_earlier_file_is_not_offered(run: RunFolder) -> None:
    report = read_json(run.export_dir / "export.json")
    kept = dict(report)
    try:
        report["sha256"] = "0" * 64
        (run.export_dir / "export.json").write_text(json.dumps(report))
        assert made(run, BUNDLE) is None
        with pytest.raises(ExportError, match="Export again"):
            make_form(run, BUNDLE, silent)
    finally:
        (run.export_dir / "export.json").write_text(json.dumps(kept))


def test_every_class_is_in_the_card(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    assert all(cell(name) in card for name in CLASSES)
