"""Everything that using a run's file takes, in one zip: the file, its labels and card, programs that run it, a page for the browser."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from blocklora.clip.catalog import BackboneInfo, find, folder_of
from blocklora.errors import ExportError
from blocklora.files import publish, read_json, sha256_file
from blocklora.jobs.run_folder import RunFolder
from blocklora.jobs.spec import RunSpec
from blocklora.training.setup import Data
from exporters.model_card import Facts, model_card
from exporters.pipeline import gate_pictures
from exporters.predictor import OnnxClassifier, Prediction
from exporters.web_runtime import packages_folder, web_runtime

SOURCES = Path(__file__).resolve().parents[1] / "assets" / "bundle"
STAMP = (1980, 1, 1, 0, 0, 0)  # the same run gives the same bytes
STORED = {".onnx", ".png"}  # do not get smaller
TEST_IMAGE, TEST_SIDE = "test-image.png", 512
TOLERANCE = 1e-3
FILES = (
    ("model.onnx", "the classifier: preprocessing, weights, labels and calibration in one file"),
    ("labels.json", "the classes, in the order of the file's probabilities"),
    ("predict.py", "labels files and folders; needs onnxruntime, NumPy and Pillow"),
    ("verify.py, expected.json, test-image.png", "checks that the file gives here what it gave where it was made"),
    ("serve.py, Dockerfile, requirements.txt", "a small web service (FastAPI)"),
    ("web/", "a page that runs the classifier in the browser (onnxruntime-web), with nothing from the network"),
    ("parity.json", "how far the file is from the model that was trained, picture by picture of the worst"),
    ("base-model/", "what is said of the model that this one was made from"),
)

Progress = Callable[[str, float], None]


def write_bundle(run: RunFolder, target: Path, progress: Progress) -> str:
    """Write the bundle of a run's published file to `target`; returns what is missing from it and why, '' where it is whole.

    Without a network the page is left out (see `exporters.web_runtime`); everything else is always there.

    Raises:
        ExportError: the run's published file, or its pictures, are gone.
    """
    spec = RunSpec.from_dict(run.spec())
    progress("Fetching what the page runs on", 0.05)
    missing = ""
    try:
        packages = packages_folder(Path(spec.home))
        runtime = web_runtime(packages, lambda share: progress("Fetching what the page runs on", 0.05 + 0.5 * share))
    except ExportError as error:
        runtime, missing = {}, str(error)
    progress("Asking the file about a picture", 0.6)
    model = OnnxClassifier(run.onnx_path)
    data = Data.read(run.dataset_path)
    picture, shown = _test_picture(data, model)
    expected = _expected(run, model, shown)
    progress("Writing the zip", 0.7)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".bundle-") as folder:
        made = Path(folder) / target.name
        with zipfile.ZipFile(made, "w") as archive:
            _add(archive, "README.md", model_card(_facts(run, spec, model, data, missing)).encode())
            _add(archive, "labels.json", json.dumps(model.labels, ensure_ascii=False, indent=1).encode())
            _add(archive, "expected.json", json.dumps(expected, ensure_ascii=False, indent=1).encode())
            _add(archive, TEST_IMAGE, picture)
            _add(archive, "parity.json", (run.export_dir / "parity.json").read_bytes())
            _add_file(archive, "model.onnx", run.onnx_path)
            for path in sorted(SOURCES.rglob("*")):
                name = path.relative_to(SOURCES).as_posix()
                if path.is_file() and "__pycache__" not in name and (runtime or not name.startswith("web/")):
                    _add_file(archive, name, path)
            for name, path in runtime.items():
                _add_file(archive, f"web/ort/{name}", path)
            card = folder_of(spec.backbone, Path(spec.home)) / "README.md"
            if card.is_file():
                _add_file(archive, "base-model/README.md", card)
        publish(made, target)
    return missing


def _test_picture(data: Data, model: OnnxClassifier) -> tuple[bytes, Prediction]:
    """A held-out picture of moderate size as PNG, without metadata, and what the file says of exactly those pixels."""
    pictures, _, _ = gate_pictures(data, limit=1)
    first = next(iter(pictures()), None)
    if first is None:
        raise ExportError("there is no picture left to check the bundle with.", "Add images to the project and train again.")
    image = Image.fromarray(first.pixels)
    image.thumbnail((TEST_SIDE, TEST_SIDE), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue(), model.predict([np.asarray(image)])[0]


def _expected(run: RunFolder, model: OnnxClassifier, shown: Prediction) -> dict[str, Any]:
    return {
        "image": TEST_IMAGE,
        "label": shown.label,
        "probabilities": [round(float(p), 7) for p in shown.probabilities],
        "tolerance": TOLERANCE,
        "sha256": sha256_file(run.onnx_path),
        "labels": len(model.labels),
    }


def _facts(run: RunFolder, spec: RunSpec, model: OnnxClassifier, data: Data, missing: str) -> Facts:
    home = Path(spec.home)
    gone = BackboneInfo(name=spec.backbone, title=spec.backbone, size_mb=0, licence="see where it came from", resolution=0)
    backbone = find(spec.backbone, home) or gone
    counts = [[0, 0] for _ in model.labels]
    for column, indices in enumerate((data.train, data.held_out)):
        for index in indices:
            counts[data.dataset.items[index].label][column] += 1
    card = (folder_of(spec.backbone, home) / "README.md").is_file()
    files = [row for row in FILES if (row[0] != "web/" or not missing) and (row[0] != "base-model/" or card)]
    return Facts(
        title=spec.project_name or "Picture classifier",
        labels=model.labels,
        counts=[(train, held) for train, held in counts],
        backbone=replace(backbone, licence=backbone.licence.replace("assets/builtin/", "base-model/")),
        result=run.result() or {},
        report=read_json(run.export_dir / "export.json", {}),
        files=files,
        adapter=model.record.adapter,
        web_missing=missing,
    )


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(_member(name), data)


def _add_file(archive: zipfile.ZipFile, name: str, path: Path) -> None:
    with path.open("rb") as source, archive.open(_member(name), "w", force_zip64=True) as sink:
        while piece := source.read(1 << 20):
            sink.write(piece)


def _member(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, STAMP)
    member.compress_type = zipfile.ZIP_STORED if Path(name).suffix in STORED else zipfile.ZIP_DEFLATED
    member.external_attr = 0o644 << 16
    return member
