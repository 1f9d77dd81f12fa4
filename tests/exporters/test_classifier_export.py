"""The exported file against the module that it was made from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from tiny_export import LABELS, PREPROCESS, Exported, make_classifier, make_metadata
from torch import nn

from blocklora.errors import ExportError
from blocklora.preprocess import Preprocess
from exporters import onnx_export
from exporters.classifier import build_classifier
from exporters.metadata import ModelMetadata
from exporters.onnx_export import export_onnx


class MeanColour(nn.Module):
    """A tower small enough to compute by hand: the mean of each channel, in a tuple as CoCa's."""

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return pixels.mean(dim=(2, 3)), pixels


class Data(nn.Module):
    """A tower whose path depends on the numbers it sees, which no graph can hold."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.mean(dim=(2, 3)) * (1.0 if bool(pixels.sum() > 0) else 2.0)


def run(path: Path, images: np.ndarray) -> list[np.ndarray]:
    found: list[np.ndarray] = ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"images": images})
    return found


def hand_classifier(temperature: float = 1.0) -> nn.Module:
    plain = Preprocess(4, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    weights = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    return build_classifier(MeanColour(), weights, plain, logit_scale=10.0, temperature=temperature)


def test_probabilities_by_hand() -> None:
    """Colour (0.6, 0.8, 0) is its own embedding; logits 10 / 2 * (0.6, 0.8), so p = sigmoid(1) for the second class."""
    images = torch.tensor([153, 204, 0], dtype=torch.uint8).expand(1, 5, 7, 3)
    probabilities, embedding = hand_classifier(temperature=2.0)(images)
    torch.testing.assert_close(embedding, torch.tensor([[0.6, 0.8, 0.0]]), atol=1e-6, rtol=0)
    torch.testing.assert_close(probabilities, torch.tensor([[0.2689414, 0.7310586]]), atol=1e-6, rtol=0)


def test_file_gives_torchs_numbers_at_every_size_and_batch(exported: Exported) -> None:
    session = ort.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    for height, width in [(1, 1), (1, 500), (37, 211), (640, 480), (32, 32)]:
        for batch in (1, 2, 5):
            images = rng.integers(0, 256, (batch, height, width, 3), dtype=np.uint8)
            probabilities, embedding = session.run(None, {"images": images})
            with torch.no_grad():
                expected = exported.classifier(torch.from_numpy(images))
            assert probabilities.shape == (batch, len(LABELS)) and embedding.shape == (batch, 32)
            assert np.abs(probabilities - expected[0].numpy()).max() < 1e-4, (height, width, batch)
            assert np.abs(embedding - expected[1].numpy()).max() < 1e-4, (height, width, batch)
            np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)
            np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1.0, atol=1e-5)


def test_file_is_one_clean_opset_20_graph(exported: Exported) -> None:
    model = onnx.load_model(exported.path, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 20)]
    assert [p.name for p in exported.path.parent.iterdir()] == ["model.onnx"]
    assert not any(t.external_data for t in model.graph.initializer)
    dims = {
        port.name: [d.dim_param or d.dim_value for d in port.type.tensor_type.shape.dim]
        for port in (*model.graph.input, *model.graph.output)
    }
    assert dims == {"images": ["batch", "height", "width", 3], "probabilities": ["batch", 3], "embedding": ["batch", 32]}


def test_no_folder_of_this_machine_is_in_the_file(exported: Exported) -> None:
    data = exported.path.read_bytes()
    for word in (b".py", b"site-packages", str(Path.home()).encode() + b"/", str(Path(__file__).parents[2]).encode()):
        assert word not in data


def test_metadata_round_trip(exported: Exported) -> None:
    props = dict(ort.InferenceSession(exported.path, providers=["CPUExecutionProvider"]).get_modelmeta().custom_metadata_map)
    assert ModelMetadata.from_props(props) == exported.metadata
    assert {"labels", "class_ids", "templates", "preprocess", "temperature", "logit_scale", "base_model", "weights_hash"} <= set(props)
    assert {"adapter", "accuracy", "versions", "format_version", "product", "created"} <= set(props)


def test_same_classifier_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.onnx", "two.onnx"):
        export_onnx(build_classifier(MeanColour(), torch.eye(3), PREPROCESS), make_metadata(), tmp_path / name)
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()


def test_squash_and_tuple_towers_are_exported(tmp_path: Path) -> None:
    classifier = build_classifier(
        MeanColour(), torch.eye(3), Preprocess(4, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), "bilinear", "squash"), logit_scale=1.0
    )
    export_onnx(classifier, make_metadata(classifier.preprocess), tmp_path / "m.onnx")
    images = np.random.default_rng(1).integers(0, 256, (2, 9, 30, 3), dtype=np.uint8)
    found, expected = run(tmp_path / "m.onnx", images), classifier(torch.from_numpy(images))
    np.testing.assert_allclose(found[0], expected[0], atol=1e-5)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-5)


def test_tower_that_cannot_be_traced_is_refused(tmp_path: Path) -> None:
    classifier = build_classifier(Data(), torch.eye(3), PREPROCESS)
    with pytest.raises(ExportError, match="image tower cannot be written"):
        export_onnx(classifier, make_metadata(), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_model_too_large_for_one_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(onnx_export, "MAX_BYTES", 1000)
    with pytest.raises(ExportError, match="smaller backbone"):
        export_onnx(make_classifier(), make_metadata(), tmp_path / "m.onnx")


def test_labels_must_fit(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="3 labels were given for 2 outputs"):
        export_onnx(hand_classifier(), make_metadata(), tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("weights", "scale", "temperature"),
    [
        (torch.ones(3), 100.0, 1.0),
        (torch.ones(1, 3), 100.0, 1.0),
        (torch.tensor([[1.0, float("nan")], [0.0, 1.0]]), 100.0, 1.0),
        (torch.eye(2), 100.0, 0.0),
        (torch.eye(2), -1.0, 1.0),
    ],
)
def test_unusable_class_weights_are_refused(weights: torch.Tensor, scale: float, temperature: float) -> None:
    with pytest.raises(ExportError):
        build_classifier(MeanColour(), weights, PREPROCESS, scale, temperature)
