"""Heat maps: a model that looks at one corner lights that corner, one that looks at nothing lights nothing."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from safetensors.numpy import save_file
from tiny_export import Exported, make_metadata

from blocklora.cli.parser import main
from blocklora.errors import ImageError
from blocklora.preprocess import Preprocess
from blocklora.services import heat
from blocklora.services.previews import Head
from exporters.heatmap import SIDE, explain
from exporters.onnx_export import INPUT, IR_VERSION, OPSET, OUTPUTS, PIXELS
from exporters.pixel_graph import pixel_graph
from exporters.predictor import OnnxClassifier
from exporters.preview_model import PreviewModel

S, PATCH = 32, 8
CORNERS = {"upper left": (0, 0), "upper right": (0, 1), "lower left": (1, 0), "lower right": (1, 1)}
SQUARE = Preprocess(S, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
SQUASH = Preprocess(S, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), resize_mode="squash")


def corner_model(path: Path, corner: tuple[int, int] | None, preprocess: Preprocess = SQUARE) -> OnnxClassifier:
    """A file of the product's own form whose decision is how bright one corner patch is; None for one that ignores the picture."""
    weights = np.zeros((3, S, S, 2), np.float32)
    if corner is not None:
        y, x = (0 if side == 0 else S - PATCH for side in corner)
        weights[:, y : y + PATCH, x : x + PATCH, 0] = 1 / (3 * PATCH * PATCH)
    constants = {
        "flat": np.array([-1, 3 * S * S], np.int64),
        "weights": weights.reshape(3 * S * S, 2),
        "classes": np.array([[2.0, -2.0, 0.0], [0.0, 0.0, 1.0]], np.float32),
        "bias": np.array([0.5, 0.0, 0.0], np.float32),
    }
    front = pixel_graph(preprocess, INPUT, PIXELS)
    nodes = [
        *front.node,
        helper.make_node("Reshape", [PIXELS, "flat"], ["row"]),
        helper.make_node("MatMul", ["row", "weights"], [OUTPUTS[1]]),
        helper.make_node("MatMul", [OUTPUTS[1], "classes"], ["plain"]),
        helper.make_node("Add", ["plain", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], [OUTPUTS[0]], axis=-1),
    ]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", n]) for name, n in zip(OUTPUTS, (3, 2), strict=True)]
    held = [*front.initializer, *(numpy_helper.from_array(value, name) for name, value in constants.items())]
    model = helper.make_model(
        helper.make_graph(nodes, "classifier", list(front.input), outputs, held), opset_imports=[helper.make_opsetid("", OPSET)]
    )
    model.ir_version = IR_VERSION
    helper.set_model_props(model, make_metadata(preprocess).to_props())
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    return OnnxClassifier(path, threads=1)


def picture(height: int, width: int) -> np.ndarray:
    """Grey noise with a white patch in each corner of what is seen in the middle of it: only the model can tell them apart."""
    pixels = np.random.default_rng(0).integers(60, 120, (height, width, 3), dtype=np.uint8)
    side = min(height, width)
    top, left, patch = (height - side) // 2, (width - side) // 2, side // 4
    for y in (top, top + side - patch):
        for x in (left, left + side - patch):
            pixels[y : y + patch, x : x + patch] = 255
    return pixels


@pytest.mark.parametrize("size", [(96, 96), (160, 90), (80, 200)])
@pytest.mark.parametrize("name", CORNERS)
def test_the_corner_that_decides_is_lit(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    model = corner_model(tmp_path / "corner.onnx", CORNERS[name])
    found = explain(model, picture(*size), windows=10)
    reason = found.reasons[0]
    assert reason.label == model.labels[0] == found.answer and not reason.flat and reason.covered < reason.probability - 0.04
    warm, half = np.maximum(reason.heat, 0), SIDE // 2
    y, x = CORNERS[name]
    assert warm[y * half : (y + 1) * half, x * half : (x + 1) * half].sum() > 0.9 * warm.sum()
    side = min(size)
    assert found.box == ((size[0] - side) // 2, (size[1] - side) // 2, side, side) and (found.height, found.width) == size


def test_a_squashed_picture_is_seen_whole(tmp_path: Path) -> None:
    wide = np.full((60, 240, 3), 90, np.uint8)
    wide[:15, :60] = 255  # the corner of the whole picture, far outside its middle square
    model = corner_model(tmp_path / "corner.onnx", (0, 0), SQUASH)
    found = explain(model, wide, windows=7)
    assert found.box == (0, 0, 60, 240) and not found.reasons[0].flat
    assert found.reasons[0].heat[: SIDE // 2, : SIDE // 2].max() == found.reasons[0].heat.max()


def test_a_model_that_ignores_the_picture_says_so(tmp_path: Path) -> None:
    found = explain(corner_model(tmp_path / "blind.onnx", None), picture(90, 90), windows=7)
    reason = found.reasons[0]
    assert reason.flat and not heat.shades(reason).any()
    assert "No part of the picture decides" in heat.words(reason)
    drawn = heat.layer(found, reason)
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) == 1  # one cold colour: noise is not blown up into a map


def test_what_speaks_against_a_label_is_cold_for_it(tmp_path: Path) -> None:
    model = corner_model(tmp_path / "corner.onnx", (0, 0))
    found = explain(model, picture(96, 96), [model.labels[1], model.labels[0]], windows=8)
    against, spoke = found.reasons
    corner = (slice(0, 8), slice(0, 8))
    assert against.heat[corner].mean() < 0 and not heat.shades(against)[corner].any()
    assert heat.shades(spoke)[corner].max() == 1


def test_the_second_label_is_explained_where_it_has_a_chance(tmp_path: Path, exported: Exported) -> None:
    sure = explain(corner_model(tmp_path / "corner.onnx", (0, 0)), np.full((40, 40, 3), 255, np.uint8), windows=7)
    assert sure.reasons[0].label == sure.answer and all(r.probability >= 0.01 for r in sure.reasons[1:])
    unsure = explain(OnnxClassifier(exported.path), picture(50, 70), windows=7)
    assert len(unsure.reasons) == 2 and unsure.reasons[0].probability >= unsure.reasons[1].probability and unsure.passes == 49


def test_an_unknown_label_is_refused_with_those_there_are(exported: Exported) -> None:
    with pytest.raises(ImageError, match="no class 'plum'") as told:
        explain(OnnxClassifier(exported.path), picture(40, 40), ["plum"])
    assert "apple" in told.value.advice


def test_the_preview_explains_too(exported: Exported, tmp_path: Path) -> None:
    weights = np.random.default_rng(3).normal(size=(32, 2)).astype(np.float32)
    head = Head("m", "tiny", str(exported.path), ("cat", "dog"), ("1", "2"), 1, 2, "images", 0.1)
    save_file({"weights": weights}, tmp_path / "head.safetensors", {"head": head.to_json()})
    found = PreviewModel(tmp_path / "head.safetensors").explain(picture(40, 60))
    assert {reason.label for reason in found.reasons} <= {"cat", "dog"} and found.reasons[0].heat.shape == (SIDE, SIDE)


def test_the_same_picture_gives_the_same_map(exported: Exported) -> None:
    model = OnnxClassifier(exported.path, threads=1)
    first, second = (explain(model, picture(64, 48), windows=7).reasons[0].heat for _ in range(2))
    assert np.array_equal(first, second)


def test_the_command_writes_a_picture_and_says_what_it_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], exported: Exported
) -> None:
    model = corner_model(tmp_path / "corner.onnx", (1, 1))
    source, out = tmp_path / "photo.png", tmp_path / "heat.png"
    Image.fromarray(picture(80, 120)).save(source)
    assert main(["explain", str(model.path), str(source), "--out", str(out)]) == 0
    assert f"spoke for “{model.labels[0]}”" in capsys.readouterr().out
    assert Image.open(io.BytesIO(out.read_bytes())).size == (120, 80)
    assert main(["explain", str(model.path), str(source), "--out", str(out), "--label", model.labels[1], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["label"] == model.labels[1]
    assert main(["explain", str(model.path), str(source), "--out", str(out), "--label", "plum"]) == 1
    assert "no class 'plum'" in capsys.readouterr().err
