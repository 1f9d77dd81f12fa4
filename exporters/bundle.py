"""Everything that using a run's file takes, in one zip: the file, its labels and card, programs that run it, a page for the browser."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from blocklora.clip.catalog import BackboneInfo, find, folder_of
from blocklora.errors import ExportError
from blocklora.files import read_json, sha256_file
from blocklora.jobs.run_folder import RunFolder
from blocklora.jobs.spec import RunSpec
from blocklora.training.data import Data
from exporters.model_card import Facts, model_card
from exporters.pipeline import gate_pictures, retrained
from exporters.predictor import OnnxClassifier, Prediction
from exporters.web_runtime import packages_folder, web_runtime
from exporters.zip_file import README, Progress, new_zip

SOURCES = Path(__file__).resolve().parents[1] / "assets" / "bundle"
TEST_IMAGE, TEST_SIDE = "test-image.png", 512
TOLERANCE = 1e-3
FILES = (
    ("model.onnx", "the classifier: preprocessing, weights, labels and calibration in one file"),
    ("labels.json", "the classes, in the order of the file's probabilities"),
    ("predict.py, pictures.py", "labels files and folders; needs onnxruntime, NumPy, Pillow and pillow-heif"),
    ("verify.py, expected.json, test-image.png", "checks that the file gives here what it gave where it was made"),
    ("serve.py, Dockerfile, requirements.txt", "a small web service (FastAPI)"),
    ("web/", "a page that runs the classifier in the browser (onnxruntime-web), with nothing from the network"),
    ("parity.json", "how far the file is from the model that was trained, picture by picture of the worst"),
    ("base-model/", "what is said of the model that this one was made from"),
)


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
    with new_zip(target) as archive:
        archive.text(README, model_card(_facts(run, spec, model, data, missing)))
        archive.text("labels.json", json.dumps(model.labels, ensure_ascii=False, indent=1))
        archive.text("expected.json", json.dumps(expected, ensure_ascii=False, indent=1))
        archive.data(TEST_IMAGE, picture)
        archive.file("parity.json", run.export_dir / "parity.json", packed=True)
        archive.file("model.onnx", run.onnx_path)
        for path in sorted(SOURCES.rglob("*")):
            name = path.relative_to(SOURCES).as_posix()
            if path.is_file() and "__pycache__" not in name and (runtime or not name.startswith("web/")):
                archive.file(name, path, packed=True)
        for name, path in runtime.items():
            archive.file(f"web/ort/{name}", path, packed=True)
        card = folder_of(spec.backbone, Path(spec.home)) / README
        if card.is_file():
            archive.file(f"base-model/{README}", card, packed=True)
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
        "known": shown.known,
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
    card = (folder_of(spec.backbone, home) / README).is_file()
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
        retrained=retrained(run),
    )
