"""A backbone as it was trained, as one ONNX file: pictures in, embeddings out. Made once a machine, checked like every exported file."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path

import torch

from blocklora.clip.backbones import Backbone
from blocklora.errors import ImageError, ModelFileError
from blocklora.files import publish
from blocklora.projects.decoding import decode_many
from exporters import parity
from exporters.classifier import build_classifier
from exporters.metadata import ModelMetadata
from exporters.onnx_export import export_onnx
from exporters.predictor import OnnxClassifier

CHECKED = 8  # pictures that the file is held against the model on
CLASSES = ("first", "second")  # an exported file has classes; nobody asks this one for them


def frozen_path(home: Path, backbone: Backbone) -> Path:
    """Where the file of these very weights lies, for this size of input: the same weights may be used with several."""
    return home / "frozen" / f"{backbone.weights_hash[:32]}-{backbone.preprocess.size}.onnx"


def frozen_model(home: Path, backbone: Backbone, pictures: Iterable[Path]) -> OnnxClassifier:
    """The file, opened; made first where it is not there or not whole.

    Args:
        pictures: what a new file is checked on; some must be readable.

    Raises:
        StudioError: the backbone cannot be written as ONNX, or the file does not answer as the model does.
    """
    path = frozen_path(home, backbone)
    if path.exists():
        try:
            return OnnxClassifier(path)
        except ModelFileError:
            path.unlink()
    weights = torch.nn.functional.normalize(torch.randn(2, backbone.embed_dim, generator=torch.Generator().manual_seed(0)), dim=1)
    classifier = build_classifier(backbone.model.visual, weights, backbone.preprocess)  # type: ignore[arg-type]
    metadata = ModelMetadata(
        labels=CLASSES,
        class_ids=CLASSES,
        templates=(),
        preprocess=backbone.preprocess,
        temperature=1.0,
        logit_scale=100.0,
        base_model=backbone.name,
        weights_hash=backbone.weights_hash,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        class_weights="none",
        versions={"torch": torch.__version__, "onnx": version("onnx")},
    )
    chosen = list(pictures)

    def shown() -> Iterator[parity.Picture]:
        number = 0
        for found, pixels in decode_many(chosen):
            if not isinstance(pixels, ImageError) and number < CHECKED:
                number += 1
                yield parity.Picture(found.name, 0, pixels)

    path.parent.mkdir(parents=True, exist_ok=True)
    expected = parity.reference(classifier.ask, shown)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".made-") as folder:
        made = Path(folder) / "model.onnx"
        export_onnx(classifier, metadata, made)
        parity.gate(OnnxClassifier(made, cpu_only=True).predict, expected, shown)
        publish(made, path)
    return OnnxClassifier(path)
