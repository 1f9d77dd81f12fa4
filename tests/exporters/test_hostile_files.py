"""Files made to do harm: each is refused with its reason, most by reading alone, the rest in the process that runs them first."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_export import LABELS, Exported

from blocklora.errors import ModelFileError
from exporters import apart, model_file, open_model, predictor
from exporters.first_run import problem
from exporters.graph_rules import ALSO, IN_FRONT, SIZES, WRITTEN
from exporters.inspection import MAX_LABELS, inspect_model
from exporters.model_file import check_model_file, try_model_file
from exporters.predictor import OnnxClassifier, _groups

Spoil = Callable[[onnx.ModelProto], None]


def constant(model: onnx.ModelProto, name: str, values: object, kind: type = np.int64) -> str:
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(values, kind), name))
    return name


def hang_in(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], scalar: str) -> None:
    """Let the embedding depend on `scalar`, which `nodes` make, so that onnxruntime cannot leave them out."""
    for node in model.graph.node:
        node.input[:] = ["inner" if name == "embedding" else name for name in node.input]
        node.output[:] = ["inner" if name == "embedding" else name for name in node.output]
    model.graph.node.extend([*nodes, helper.make_node("Mul", ["inner", scalar], ["embedding"])])


def prop(key: str, value: str) -> Spoil:
    def spoil(model: onnx.ModelProto) -> None:
        props = {entry.key: entry.value for entry in model.metadata_props}
        del model.metadata_props[:]
        helper.set_model_props(model, props | {key: value})

    return spoil


def labels(values: list[str]) -> Spoil:
    def spoil(model: onnx.ModelProto) -> None:
        for key in ("labels", "class_ids"):
            prop(key, json.dumps(values))(model)

    return spoil


def operator(kind: str, **attributes: object) -> Spoil:
    """One more operator at the end; what it is given does not matter, it is refused by name."""

    def spoil(model: onnx.ModelProto) -> None:
        model.graph.node.append(helper.make_node(kind, ["embedding"], ["more"], **attributes))

    return spoil


# ---- refused by reading alone


def twice_the_same_key(model: onnx.ModelProto) -> None:
    """onnxruntime might take the first, we the last."""
    model.metadata_props.add(key="labels", value=json.dumps(["x", "y", "z"]))


def short_weights(model: onnx.ModelProto) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if len(tensor.raw_data) > 100)
    tensor.raw_data = tensor.raw_data[:-4]


def enormous_weights(model: onnx.ModelProto) -> None:
    model.graph.initializer.add(name="huge", data_type=TensorProto.FLOAT, dims=[2**40, 2**40], raw_data=b"\0" * 8)


def enormous_weights_without_data(model: onnx.ModelProto) -> None:
    model.graph.initializer.add(name="huge", data_type=TensorProto.FLOAT, dims=[2**30])


def overflowing_dimensions(model: onnx.ModelProto) -> None:
    """In 64 bits the product is 0."""
    model.graph.initializer.add(name="huge", data_type=TensorProto.FLOAT, dims=[2**32, 2**32], raw_data=b"")


def negative_dimension(model: onnx.ModelProto) -> None:
    model.graph.initializer.add(name="less", data_type=TensorProto.FLOAT, dims=[-1, -4], raw_data=b"\0" * 16)


def ninth_dimension(model: onnx.ModelProto) -> None:
    model.graph.initializer.add(name="deep", data_type=TensorProto.FLOAT, dims=[1] * 9, raw_data=b"\0" * 4)


def text_weights(model: onnx.ModelProto) -> None:
    model.graph.initializer.add(name="words", data_type=TensorProto.STRING, dims=[1], string_data=[b"x"])


def data_in_two_places(model: onnx.ModelProto) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if len(tensor.raw_data) > 100 and tensor.data_type == TensorProto.FLOAT)
    tensor.float_data.extend([1.0] * 10)


def two_weights_of_one_name(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(model.graph.initializer[0])


def weights_named_like_the_input(model: onnx.ModelProto) -> None:
    constant(model, "images", [0])


def made_twice(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Relu", ["embedding"], ["probabilities"]))


def circle(model: onnx.ModelProto) -> None:
    model.graph.node.extend([helper.make_node("Relu", ["b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])])


def size_from_the_picture(model: onnx.ModelProto) -> None:
    """Small for most pictures, endless for a white one: no trial would find it."""
    axes = constant(model, "all_axes", [0, 1, 2, 3])
    nodes = [
        helper.make_node("ReduceMax", ["pixel_values", axes], ["brightest"], keepdims=0),
        helper.make_node("Cast", ["brightest"], ["count"], to=TensorProto.INT64),
        helper.make_node("Unsqueeze", ["count", constant(model, "first_axis", [0])], ["counts"]),
        helper.make_node("Expand", [constant(model, "one", [1.0], np.float32), "counts"], ["many"]),
        helper.make_node("ReduceMean", ["many"], ["s"], keepdims=0),
    ]
    hang_in(model, nodes, "s")


def size_by_arithmetic(model: onnx.ModelProto) -> None:
    """Nothing for 1, 4 and 16 pictures, endless for 7."""
    nodes = [
        helper.make_node("Shape", ["pixel_values"], ["batch"], start=0, end=1),
        helper.make_node("Mul", ["batch", constant(model, "factor", [2**40])], ["counts"]),
        helper.make_node("Tile", [constant(model, "one", [1.0], np.float32), "counts"], ["many"]),
        helper.make_node("ReduceMean", ["many"], ["s"], keepdims=0),
    ]
    hang_in(model, nodes, "s")


def batch_of_sixteenfold(model: onnx.ModelProto) -> None:
    """Files that look at all turns of a picture have a fourfold batch; none has four times that, and so on."""
    four = constant(model, "four", 4)
    nodes = [
        helper.make_node("Shape", ["pixel_values"], ["batch"], start=0, end=1),
        helper.make_node("Mul", ["batch", four], ["fourfold"]),
        helper.make_node("Squeeze", ["fourfold"], ["handed_on"]),
        helper.make_node("Mul", ["handed_on", four], ["sixteenfold"]),
        helper.make_node("Reshape", ["sixteenfold", constant(model, "flat", [-1])], ["counts"]),
        helper.make_node("Tile", [constant(model, "one", [1.0], np.float32), "counts"], ["many"]),
        helper.make_node("ReduceMean", ["many"], ["s"], keepdims=0),
    ]
    hang_in(model, nodes, "s")


def second_resize(model: onnx.ModelProto) -> None:
    size = constant(model, "size", [1, 3, 2**20, 2**20])
    nodes = [
        helper.make_node("Resize", ["pixel_values", "", "", size], ["large"]),
        helper.make_node("ReduceMean", ["large"], ["s"], keepdims=0),
    ]
    hang_in(model, nodes, "s")


def larger_front(model: onnx.ModelProto) -> None:
    """The preprocessing's own size, not that of the metadata."""
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "pixels_size")
    tensor.CopyFrom(numpy_helper.from_array(np.array([2**20, 2**20], np.int64), "pixels_size"))


def more_in_front(model: onnx.ModelProto) -> None:
    model.graph.node.insert(1, helper.make_node("Identity", ["images"], ["pixels_more"], name="pixels_node_more"))


def past_the_front(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Shape", ["images"], ["how_large"]))


def endless_setting(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Transpose", ["embedding"], ["more"], perm=list(range(100_000))))


def wordy_setting(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Gelu", ["embedding"], ["more"], approximate="x" * 1_000_000))


def many_operator_sets(model: onnx.ModelProto) -> None:
    model.opset_import.extend([helper.make_opsetid("", 20)] * 100_000)


def notes(model: onnx.ModelProto) -> None:
    model.graph.value_info.append(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [2**40]))


FOREIGN_KINDS = ["ConstantOfShape", "Pad", "Range", "NonZero", "Einsum", "OneHot", "GridSample"]  # make more of little
FOREIGN_KINDS += ["ImageDecoder", "SequenceConstruct", "StringNormalizer", "RandomNormal", "If"]  # or are no arithmetic
SQUASH = {"size": 32, "mean": [0, 0, 0], "std": [1, 1, 1], "interpolation": "bicubic", "resize_mode": "squash"}

HOSTILE: list[tuple[Spoil, str]] = [
    *((operator(kind), f"operator {kind}, which") for kind in FOREIGN_KINDS),
    (operator("Constant", value_string="x" * 1_000_000), "operator Constant"),
    (operator("Relu\x1b[31m\u202e", x=1), "operator Relu\ufffd\\[31m\ufffd, which"),
    (operator("Relu", body=numpy_helper.from_array(np.zeros(1), "t")), "weights t of a kind"),
    (operator("Relu", body=numpy_helper.from_array(np.zeros(1, np.float32), "t")), "setting body"),
    (endless_setting, "setting perm"),
    (wordy_setting, "setting approximate"),
    (prop("product", "\x1b[2J" + "x" * 1_000_000), "not exported by Block-LoRA Studio: its metadata name \ufffd"),
    (prop("format_version", "9" * 1_000_000 + "\u202e"), "format version"),
    (prop("temperature", json.dumps("\x1b\ud800" + "x" * 1_000_000)), "cannot be read"),
    (prop("preprocess", json.dumps(SQUASH | {"mean": [0.5] * 1_000_000})), "normalised"),
    (prop("preprocess", json.dumps(SQUASH | {"interpolation": "x" * 1_000_000})), "cannot be read"),
    (many_operator_sets, "operator set"),
    (twice_the_same_key, "two metadata entries of one name"),
    (prop("ort_config", '{"session_options": {}}'), "entry 'ort_config'"),
    (prop("base_model", "x" * 2**24), "metadata of .* with 16 MB; allowed: 64 with 16 MB"),
    (labels(["a", "b", "c" * 10_000_000]), "metadata of"),
    (labels(["a", "b", "c" * 1001]), "longest of 1,001 characters"),
    (labels(["a", "b", "   "]), "none empty"),
    (labels([str(i) for i in range(1_000_000)]), "metadata of|1,000,000 labels"),
    (labels([str(i) for i in range(MAX_LABELS + 1)]), "50,001 labels"),
    (prop("labels", "[" * 5_000_000), "cannot be read"),
    (prop("accuracy", "9" * 10_000), "cannot be read"),
    (prop("preprocess", json.dumps(SQUASH | {"size": 10**6})), "1,000,000 pixels"),
    (prop("preprocess", json.dumps(SQUASH | {"std": [1, 1, 0]})), "normalised"),
    (prop("preprocess", json.dumps(SQUASH)), "another way than its metadata say"),
    (short_weights, "do not hold"),
    (enormous_weights, "do not hold"),
    (enormous_weights_without_data, "do not hold"),
    (overflowing_dimensions, "do not hold"),
    (negative_dimension, r"dimensions \[-1, -4\]"),
    (ninth_dimension, "dimensions"),
    (text_weights, "weights words of a kind"),
    (data_in_two_places, "do not hold"),
    (two_weights_of_one_name, "two weights of one name"),
    (weights_named_like_the_input, "two weights of one name"),
    (made_twice, "made twice"),
    (circle, "b is used before it is made"),
    (size_from_the_picture, "Expand whose size is reckoned"),
    (size_by_arithmetic, "Tile whose size is reckoned"),
    (batch_of_sixteenfold, "Tile whose size is reckoned"),
    (second_resize, "Resize whose size is reckoned"),
    (larger_front, "another way"),
    (more_in_front, "another way"),
    (past_the_front, "another way"),
    (notes, "notes of its own"),
]


def spoilt(exported: Exported, folder: Path, spoil: Spoil) -> Path:
    model = onnx.load_model(exported.path, load_external_data=False)
    spoil(model)
    path = folder / "hostile.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(("spoil", "reason"), HOSTILE, ids=[f"{i}-{spoil.__name__}" for i, (spoil, _) in enumerate(HOSTILE)])
def test_reading_finds_it(exported: Exported, tmp_path: Path, spoil: Spoil, reason: str) -> None:
    with pytest.raises(ModelFileError, match=reason) as caught:
        inspect_model(spoilt(exported, tmp_path, spoil))
    assert caught.value.advice and len(caught.value.message) < 700
    assert not set(caught.value.message) & set("\x1b\u202e\n\ud800")  # it may be printed on a terminal


def test_operators_that_can_grow_are_known_to_the_rules() -> None:
    """Each allowed operator that reads a size from an input is listed with that input."""
    measured = {"Expand", "Reshape", "Slice", "Split", "Squeeze", "Tile", "Unsqueeze"}
    measured |= {kind for kind in WRITTEN | ALSO if kind.startswith("Reduce")}
    assert set(SIZES) == measured and {"Resize"} == IN_FRONT
    assert not (WRITTEN & ALSO)
    for kind in WRITTEN | ALSO:
        schema = onnx.defs.get_schema(kind, 20)
        # An operator with an input of whole numbers that is neither data nor index would be another way to say a size.
        ports = [place for place, port in enumerate(schema.inputs) if port.type_str == "tensor(int64)"]
        assert set(ports) <= {*SIZES.get(kind, ()), *({3} if kind == "Resize" else ())}, kind


def test_depth_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep.onnx"
    data = b""
    for level in range(3_000):
        tag = (b"\x32", b"\x2a", b"\x0a")[level % 3]  # a graph, in a setting, in an operator, in a graph ...
        data = tag + _varint(len(data)) + data
    path.write_bytes(b"\x08\x0a" + b"\x3a" + _varint(len(data)) + data)
    with pytest.raises(ModelFileError, match=r"is not an ONNX file|could not be read"):
        check_model_file(path)


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def test_millions_of_empty_parts_take_no_more_memory_than_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two bytes in the file become a hundred in memory."""
    path = tmp_path / "bomb.onnx"
    parts = b"\x0a\x00" * 16_000_000
    path.write_bytes(b"\x08\x0a\x3a" + _varint(len(parts)) + parts)
    monkeypatch.setattr(model_file, "READ_MEMORY", 400 * 2**20)
    with pytest.raises(ModelFileError, match=r"memory|is not an ONNX file"):
        check_model_file(path)


# ---- refused by the first run


def large_constant(model: onnx.ModelProto) -> None:
    """64 GB from eight bytes, as soon as onnxruntime folds constants."""
    nodes = [
        helper.make_node("Expand", [constant(model, "one", [[1.0]], np.float32), constant(model, "size", [2**17, 2**17])], ["many"]),
        helper.make_node("ReduceMean", ["many"], ["s"], keepdims=0),
    ]
    hang_in(model, nodes, "s")


def tiles(model: onnx.ModelProto) -> None:
    nodes = [
        helper.make_node("Tile", [constant(model, "one", [1.0], np.float32), constant(model, "count", [2**34])], ["many"]),
        helper.make_node("ReduceMean", ["many"], ["s"], keepdims=0),
    ]
    hang_in(model, nodes, "s")


def doubling(model: onnx.ModelProto) -> None:
    nodes = [helper.make_node("Concat", [f"d{i}", f"d{i}"], [f"d{i + 1}"], axis=1) for i in range(40)]
    nodes[0].input[:] = ["inner", "inner"]
    hang_in(model, [*nodes, helper.make_node("ReduceMean", ["d40"], ["s"], keepdims=0)], "s")


def outer_product(model: onnx.ModelProto) -> None:
    column, row = constant(model, "column", np.ones((2**17, 1)), np.float32), constant(model, "row", np.ones((1, 2**17)), np.float32)
    hang_in(model, [helper.make_node("Mul", [column, row], ["many"]), helper.make_node("ReduceMean", ["many"], ["s"], keepdims=0)], "s")


def wide_border(model: onnx.ModelProto) -> None:
    weights = constant(model, "w", np.ones((1, 3, 1, 1)), np.float32)
    nodes = [
        helper.make_node("Conv", ["pixel_values", weights], ["many"], pads=[2**17] * 4),
        helper.make_node("ReduceMean", ["many"], ["s"], keepdims=0),
    ]
    hang_in(model, nodes, "s")


@pytest.mark.parametrize("spoil", [large_constant, tiles, doubling, outer_product, wide_border])
def test_memory_bombs_end_in_the_process_that_runs_them_first(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Spoil
) -> None:
    path = spoilt(exported, tmp_path, spoil)
    inspect_model(path)  # nothing is wrong with how it is built
    monkeypatch.setattr(predictor, "make_session", lambda *_, **__: pytest.fail("this process made a session of it"))
    with pytest.raises(ModelFileError, match=r"failed its first run: (it takes more memory|onnxruntime says)") as caught:
        open_model(path)
    assert "2.0 GB of memory and 180 seconds" in caught.value.advice


def test_what_takes_too_long_is_ended(exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(model: onnx.ModelProto) -> None:
        side = 2048
        weights = constant(model, "w", np.zeros((side, side)), np.float32)
        wide = constant(model, "size", [side, side])
        nodes = [
            helper.make_node("ReduceMean", ["inner"], ["m"], keepdims=0),
            helper.make_node("Expand", ["m", wide], ["p0"]),
            *(helper.make_node("MatMul", [f"p{i}", weights], [f"p{i + 1}"]) for i in range(2000)),
            helper.make_node("ReduceMean", ["p2000"], ["s"], keepdims=0),
        ]
        hang_in(model, nodes, "s")

    path = spoilt(exported, tmp_path, slow)
    info = inspect_model(path)
    monkeypatch.setattr(model_file, "RUN_SECONDS", 6)
    with pytest.raises(ModelFileError, match="not done within 6 seconds"):
        try_model_file(path, info, (1,))


def test_answers_that_are_none_are_refused(exported: Exported, tmp_path: Path) -> None:
    def nothing(model: onnx.ModelProto) -> None:
        zero = constant(model, "zero", 0.0, np.float32)
        hang_in(model, [helper.make_node("Div", [zero, zero], ["s"])], "s")

    def no_shares(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            node.output[:] = ["shares" if name == "probabilities" else name for name in node.output]
        model.graph.node.append(helper.make_node("Mul", ["shares", constant(model, "two", 2.0, np.float32)], ["probabilities"]))

    for spoil, reason in ((nothing, "not numbers"), (no_shares, "add up to 1")):
        with pytest.raises(ModelFileError, match=reason):
            open_model(spoilt(exported, tmp_path, spoil))


@pytest.mark.parametrize(
    ("probabilities", "embedding", "reason"),
    [
        (np.full((2, 3), 1 / 3, np.float32), np.ones((2, 4), np.float32), ""),
        (np.full((2, 4), 1 / 4, np.float32), np.ones((2, 4), np.float32), "shape"),
        (np.full((1, 3), 1 / 3, np.float32), np.ones((2, 4), np.float32), "shape"),
        (np.full((2, 3), 1 / 3, np.float64), np.ones((2, 4), np.float32), "float64"),
        (np.full((2, 3), 1 / 3, np.float32), np.full((2, 4), np.inf, np.float32), "not numbers"),
        (np.array([[-1, 1, 1]] * 2, np.float32), np.ones((2, 4), np.float32), "add up"),
        ([1.0], np.ones((2, 4), np.float32), "list"),
    ],
)
def test_outputs_are_judged(probabilities: object, embedding: object, reason: str) -> None:
    said = problem((probabilities, embedding), (3, 4), 2)
    assert (reason in said) if reason else said == ""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_crash_of_the_first_run_is_a_refusal(exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    crashing = tmp_path / "python"
    crashing.write_text("#!/bin/sh\nkill -SEGV $$\n")
    crashing.chmod(0o755)
    info = inspect_model(exported.path)
    monkeypatch.setattr(apart.sys, "executable", str(crashing))
    with pytest.raises(ModelFileError, match=r"crashed \(signal 11\)"):
        try_model_file(exported.path, info, (1,))


# ---- and what is left is run only as it was tried


def test_numbers_of_pictures_that_fail_are_left_out_later(exported: Exported, tmp_path: Path) -> None:
    """16 pictures would need 16 to the power of 8 values."""

    def power(model: onnx.ModelProto) -> None:
        nodes = [
            helper.make_node("Shape", ["pixel_values"], ["batch"], start=0, end=1),
            helper.make_node("Concat", ["batch"] * 8, ["size"], axis=0),
            helper.make_node("Expand", [constant(model, "one", [1.0], np.float32), "size"], ["many"]),
            helper.make_node("ReduceMean", ["many"], ["s"], keepdims=0),
        ]
        hang_in(model, nodes, "s")

    model = open_model(spoilt(exported, tmp_path, power))
    assert model.batches == (1, 4)
    sizes: list[int] = []
    run = model._run
    model._run = lambda batch, top: sizes.append(len(batch)) or run(batch, top)  # type: ignore[method-assign, func-returns-value]
    assert len(model.predict([np.zeros((9, 9, 3), np.uint8)] * 7)) == 7
    assert sizes == [4, 1, 1, 1]


def test_groups_have_allowed_sizes_only() -> None:
    shapes = [(4, 4, 3)] * 22
    assert [len(group) for group in _groups(shapes, (1, 4, 16))] == [16, 4, 1, 1]
    assert [len(group) for group in _groups(shapes, (1,))] == [1] * 22
    assert [len(group) for group in _groups(shapes, None)] == [16, 6]
    assert [place for group in _groups(shapes, (1, 4, 16)) for place in group] == list(range(22))


def test_good_file_is_tried_once_and_answers(exported: Exported) -> None:
    model = open_model(exported.path)
    assert model.batches == (1, 4, 16) and model.labels == list(LABELS)
    pictures = [np.random.default_rng(i).integers(0, 256, (30, 40, 3), dtype=np.uint8) for i in range(7)]
    for ours, tried in zip(OnnxClassifier(exported.path).predict(pictures), model.predict(pictures), strict=True):
        np.testing.assert_allclose(ours.probabilities, tried.probabilities, atol=1e-5)


def test_labels_cannot_move_the_text_around_them(exported: Exported, tmp_path: Path) -> None:
    path = spoilt(
        exported,
        tmp_path,
        labels(
            [
                "a\x1b[2J\nb\ud800",
                "\u202egpj.tac",
                "<b>👩\u200d🌾</b>",
            ]
        ),
    )
    model = open_model(path)
    assert model.labels == ["a\ufffd[2J\ufffdb\ufffd", "\ufffdgpj.tac", "<b>👩\u200d🌾</b>"]
    assert model.predict([np.zeros((9, 9, 3), np.uint8)])[0].label in model.labels


def test_file_that_changes_while_it_is_checked_is_not_used(exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(exported.path.read_bytes())
    real = predictor.check_model_file

    def swap(found: Path) -> object:
        info = real(found)
        other = path.with_suffix(".other")
        other.write_bytes(exported.path.read_bytes())
        other.replace(path)
        return info

    monkeypatch.setattr(predictor, "check_model_file", swap)
    with pytest.raises(ModelFileError, match="was changed since"):
        OnnxClassifier(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names")
def test_pipes_and_devices_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "zero.onnx").symlink_to("/dev/zero")
    for name in ("pipe.onnx", "zero.onnx"):
        with pytest.raises(ModelFileError, match=f"no file {name}"):
            check_model_file(tmp_path / name)
