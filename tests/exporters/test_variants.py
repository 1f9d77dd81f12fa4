"""Half precision and 8 bits: smaller, near, described, gated."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tiny_export import LABELS, Exported, make_metadata
from torch.nn import functional as F

from blocklora.clip.build import build_model, build_preprocess
from blocklora.errors import ExportError, ParityError
from blocklora.files import read_json
from blocklora.jobs.run_folder import RunFolder
from exporters import parity, quantize, variants
from exporters.classifier import build_classifier
from exporters.inspection import inspect_model
from exporters.onnx_export import OUTPUTS, export_onnx
from exporters.parity import Picture, Tolerance
from exporters.predictor import OnnxClassifier
from exporters.variants import make_variants

sys.path.append(str(Path(__file__).parents[1] / "lora"))
from tiny_towers import FAMILIES


def pictures() -> Iterator[Picture]:
    for number in range(7):
        pixels = np.random.default_rng(number).integers(0, 256, (30 + 9 * number, 50, 3), dtype=np.uint8)
        yield Picture(f"picture-{number}.png", number % len(LABELS), pixels)


def calibration() -> Iterator[np.ndarray]:
    return (picture.pixels for picture in pictures())


@pytest.fixture(scope="module")
def full(exported: Exported) -> OnnxClassifier:
    return OnnxClassifier(exported.path, threads=2)


@pytest.fixture(scope="module")
def converted(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("converted")
    paths = {name: folder / f"{name}.onnx" for name in ("fp16", "dynamic", "static")}
    quantize.to_fp16(exported.path, paths["fp16"])
    quantize.to_int8_dynamic(exported.path, paths["dynamic"])
    quantize.to_int8_static(exported.path, paths["static"], calibration())
    return paths


@pytest.mark.parametrize(("name", "far", "share"), [("fp16", 0.005, 0.62), ("dynamic", 0.05, 0.6), ("static", 0.1, 0.7)])
def test_variant_is_smaller_and_near(full: OnnxClassifier, converted: dict[str, Path], name: str, far: float, share: float) -> None:
    model = OnnxClassifier(converted[name], threads=2)
    images = [picture.pixels for picture in pictures()]
    for found, wanted in zip(model.predict(images), full.predict(images), strict=True):
        assert 0 < np.abs(found.probabilities - wanted.probabilities).max() < far
        assert found.probabilities.dtype == found.embedding.dtype == np.float32
        np.testing.assert_allclose([found.probabilities.sum(), np.linalg.norm(found.embedding)], 1.0, atol=1e-5)
    assert converted[name].stat().st_size < share * full.path.stat().st_size


@pytest.mark.parametrize(("name", "precision"), [("fp16", "fp16"), ("dynamic", "int8"), ("static", "int8")])
def test_variant_is_as_sound_and_described_as_its_source(exported: Exported, converted: dict[str, Path], name: str, precision: str) -> None:
    info = inspect_model(converted[name])
    assert info.props == {**exported.metadata.to_props(), "precision": precision}
    assert info.opset == 20
    model = onnx.load_model(converted[name])
    assert [entry.domain for entry in model.opset_import] == [""], "standard operators alone: it must run in a browser too"
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert (
        kinds["whole_weights_t" if precision == "fp16" else "weights_t"] == onnx.TensorProto.FLOAT
    )  # the class weights decide, and stay as they are
    assert (onnx.TensorProto.FLOAT16 if precision == "fp16" else onnx.TensorProto.INT8) in kinds.values()


def test_any_size_and_batch_still_goes(converted: dict[str, Path]) -> None:
    for path in converted.values():
        model = OnnxClassifier(path, threads=2)
        for height, width in ((1, 1), (1, 90), (64, 48)):
            images = np.random.default_rng(0).integers(0, 256, (5, height, width, 3), dtype=np.uint8)
            alone, together = model.predict([images[0]])[0], model.predict(list(images))[0]
            assert np.isfinite(alone.probabilities).all() and np.isfinite(together.probabilities).all()


def test_small_matrices_of_an_attention_are_8_bits_too(tmp_path: Path) -> None:
    """onnxruntime multiplies with a stack of matrices in full precision only: they are stored small all the same."""
    config = FAMILIES["xcit-inner"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, weights = build_model(config), F.normalize(torch.randn(3, config["embed_dim"]), dim=-1)
    preprocess = build_preprocess(config, {})
    full, small = tmp_path / "full.onnx", tmp_path / "small.onnx"
    export_onnx(build_classifier(model.visual, weights, preprocess, logit_scale=20.0), make_metadata(preprocess), full)
    quantize.to_int8_dynamic(full, small)
    graph = onnx.load_model(small).graph
    stacks = {tensor.name for tensor in graph.initializer if len(tensor.dims) == 3 and tensor.data_type == onnx.TensorProto.INT8}
    assert len(stacks) >= 3
    whole = {tensor.name for tensor in graph.initializer if min(tensor.dims, default=0) > 1 and tensor.data_type == onnx.TensorProto.FLOAT}
    last = next(node for node in graph.node if OUTPUTS[0] in node.output).input[0]  # product with the class weights, before softmax
    products = [node for node in graph.node if node.op_type in quantize.WEIGHTED and last not in node.output]
    assert products and not any(whole & set(node.input) for node in products)
    images = [picture.pixels for picture in pictures()]
    for found, wanted in zip(OnnxClassifier(small).predict(images), OnnxClassifier(full).predict(images), strict=True):
        assert 0.999 < found.embedding @ wanted.embedding < 1 - 1e-7
    assert inspect_model(small).n_classes == 3


@pytest.fixture
def run(exported: Exported, tmp_path: Path) -> RunFolder:
    """A run folder with a published file, which is all that variants need."""
    run = RunFolder(tmp_path / "run")
    run.export_dir.mkdir(parents=True)
    run.onnx_path.write_bytes(exported.path.read_bytes())
    return run


def test_variants_are_gated_measured_and_published(run: RunFolder) -> None:
    entries = make_variants(run, pictures, lambda stage, fraction: None)
    assert entries == read_json(run.export_dir / "variants.json")
    assert [entry["precision"] for entry in entries] == ["fp16", "int8"]
    for entry in entries:
        path = run.export_dir / entry["file"]
        assert entry["size"] == path.stat().st_size and entry["milliseconds"] > 0 and entry["fp32_milliseconds"] > 0
        assert entry["images"] == 7 and entry["agreement"] >= 6
        assert entry["marked"] == ((entry["fp32_correct"] - entry["correct"]) / 7 > 0.01)
    assert sorted(path.name for path in run.export_dir.iterdir()) == ["model-fp16.onnx", "model-int8.onnx", "model.onnx", "variants.json"]
    assert [path.name for path in run.path.iterdir()] == ["export"]


def test_refused_variant_is_not_published_and_its_old_file_goes(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    (run.export_dir / "model-fp16.onnx").write_bytes(b"of an earlier export")
    nothing = Tolerance(probability=0.0, cosine=1.0)
    monkeypatch.setattr(variants, "TOLERANCES", {"fp16": nothing, "int8": nothing})
    entries = make_variants(run, pictures, lambda stage, fraction: None)
    assert [set(entry) for entry in entries] == [{"precision", "refused"}] * 2
    assert all("picture-0.png" in entry["refused"] and "off by" in entry["refused"] for entry in entries)
    assert sorted(path.name for path in run.export_dir.iterdir()) == ["model.onnx", "variants.json"]


def test_file_that_does_not_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"nonsense")
    with pytest.raises(ParityError, match="cannot run this form"):
        variants._try_apart(tmp_path / "x.onnx")


@pytest.mark.parametrize(
    ("dynamic", "static", "chosen"),
    [
        ((90, 0.5), (90, 0.6), "dynamic"),
        ((90, 0.6), (90, 0.5), "static"),
        ((90, 0.6), (89, 0.5), "static"),  # within a point of the best: quicker wins
        ((90, 0.6), (88, 0.5), "dynamic"),
    ],
)
def test_way_that_measures_better_is_taken(dynamic: tuple[int, float], static: tuple[int, float], chosen: str) -> None:
    def way(method: str, correct: int, share: float) -> variants._Way:
        return variants._Way(method, Path(), parity.ParityReport(100, correct, Tolerance(), (1, 1), ()), 40 * share, 40.0)

    assert variants._choose([way("dynamic", *dynamic), way("static", *static)]).method == chosen


def test_way_that_is_refused_leaves_the_other(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        if "dynamic" in path.name or "cast" in path.name:
            raise ParityError("it does not run")

    monkeypatch.setattr(variants, "_try_apart", refuse)
    entries = make_variants(run, pictures, lambda stage, fraction: None)
    assert entries[0] == {"precision": "fp16", "refused": "it does not run"}
    assert entries[1]["method"] == "static"


def test_nothing_published_nothing_to_convert(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no exported file"):
        make_variants(RunFolder(tmp_path), pictures, lambda stage, fraction: None)
