"""Smaller forms of an exported file: half precision, and 8-bit integers with scales found while running or beforehand.

Inputs, outputs, preprocessing and the last product (embedding times class weights) stay in fp32: they are a thousandth of the size and
decide between classes. So does the rule for pictures of none of them, which is taken off and put back as it was. The conversions are
onnxruntime's own; nothing here needs torch.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from exporters.known_graph import append, take_off
from exporters.metadata import PRODUCT
from exporters.onnx_export import INPUT, OUTPUTS, PIXELS
from exporters.pixel_graph import PREFIX

# Kept in fp32 besides what the converter itself keeps: a half-precision LayerNormalization may spoil its output from the second run
# on (onnxruntime issue 27768), and sums over a layer's width are where half precision loses most.
WHOLE = [*DEFAULT_OP_BLOCK_LIST, "LayerNormalization"]
WEIGHTED = ["MatMul", "Gemm"]  # the operators that hold nearly all weights of a transformer


def to_fp16(source: Path, target: Path) -> None:
    """Weights and arithmetic of the tower in half precision: half the size. Quicker on a GPU; a processor without fp16 gains size only."""
    model = onnx.load_model(source, load_external_data=False)
    # Only what lies between the ends is converted. Of nodes that are to stay whole the converter still rounds the outputs, and it put
    # casts around the preprocessing in an order that onnxruntime crashed on.
    take_off(model)  # `_finish` brings it back
    front, back = _take_front(model), _take_back(model)
    ordered = OnnxModel(convert_float_to_float16(model, keep_io_types=True, op_block_list=WHOLE))
    ordered.topological_sort()
    graph = ordered.model.graph
    middle = list(graph.node)
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend([*front.nodes, *middle, *back.nodes])
    graph.initializer.extend([*front.constants, *back.constants])
    graph.input.extend(front.ports)
    graph.output.extend(back.ports)
    _finish(ordered.model, source, "fp16", target)


def to_int8_dynamic(source: Path, target: Path) -> None:
    """8-bit weights; the scale of what flows between layers is found anew for each picture."""
    with tempfile.TemporaryDirectory() as folder, _quiet():
        made = Path(folder) / "q.onnx"
        plain, excluded = _plain(source, Path(folder))
        whole, stacks = _by_head(onnx.load_model(plain, load_external_data=False))
        quantize_dynamic(
            plain,
            made,
            op_types_to_quantize=WEIGHTED,
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[*excluded, *whole],
        )
        model = onnx.load_model(made, load_external_data=False)
        _keep_in_8_bits(model, stacks)
        _finish(model, source, "int8", target)


def to_int8_static(source: Path, target: Path, pictures: Iterable[np.ndarray]) -> None:
    """8-bit weights; the scale of what flows between layers is fixed beforehand from `pictures`, each uint8 (H, W, 3)."""
    with tempfile.TemporaryDirectory() as folder, _quiet():
        made = Path(folder) / "q.onnx"
        plain, excluded = _plain(source, Path(folder))
        quantize_static(
            plain,
            made,
            _Calibration(pictures),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=WEIGHTED,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=excluded,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"MatMulConstBOnly": True},
        )
        _finish(onnx.load_model(made, load_external_data=False), source, "int8", target)


class _Calibration(CalibrationDataReader):
    """Feeds pictures to onnxruntime's calibrator, one at a time."""

    def __init__(self, pictures: Iterable[np.ndarray]) -> None:
        self._pictures = iter(pictures)

    def get_next(self) -> dict[str, np.ndarray] | None:
        picture = next(self._pictures, None)
        return None if picture is None else {INPUT: picture[None]}


@dataclass(frozen=True)
class _End:
    """One end of a graph, cut off: its nodes, the constants that they need, and the inputs or outputs of the whole."""

    nodes: list[onnx.NodeProto]
    constants: list[onnx.TensorProto]
    ports: list[onnx.ValueInfoProto]


def _take_front(model: onnx.ModelProto) -> _End:
    """Cut the preprocessing off, in place, so that the model takes normalised pixels."""
    graph = model.graph
    nodes = [node for node in graph.node if node.name.startswith(PREFIX)]
    constants = [tensor for tensor in graph.initializer if tensor.name.startswith(PREFIX)]
    end = _End(nodes, constants, list(graph.input))
    size = next(onnx.numpy_helper.to_array(tensor) for tensor in constants if tensor.name == PREFIX + "size")
    rest, weights = (
        [n for n in graph.node if not n.name.startswith(PREFIX)],
        [t for t in graph.initializer if not t.name.startswith(PREFIX)],
    )
    del graph.node[:], graph.initializer[:], graph.input[:]
    graph.node.extend(rest)
    graph.initializer.extend(weights)
    graph.input.append(onnx.helper.make_tensor_value_info(PIXELS, onnx.TensorProto.FLOAT, ["batch", 3, *map(int, size)]))
    return end


def _take_back(model: onnx.ModelProto) -> _End:
    """Cut normalisation, class weights and softmax off, in place, so that the model gives the tower's features."""
    graph = model.graph
    makers = {output: node for node in graph.node for output in node.output}
    features = makers[OUTPUTS[1]].input[0]  # embedding = features / their length
    nodes, made = [], {features}
    for node in graph.node:
        if made & set(node.input):
            nodes.append(node)
            made |= set(node.output)
    constants = []
    for tensor in graph.initializer:
        users = [node for node in nodes if tensor.name in node.input]
        if users:
            # A copy of its own: the middle may use the same constant, and will have it in half precision.
            own = onnx.TensorProto()
            own.CopyFrom(tensor)
            own.name = "whole_" + tensor.name
            constants.append(own)
            for node in users:
                node.input[:] = [own.name if name == tensor.name else name for name in node.input]
    end = _End([_copy(node) for node in nodes], constants, list(graph.output))
    names = {node.name for node in nodes}
    rest = [node for node in graph.node if node.name not in names]
    used = {name for node in rest for name in node.input}
    weights = [tensor for tensor in graph.initializer if tensor.name in used]
    width = end.ports[1].type.tensor_type.shape.dim[1].dim_value
    del graph.node[:], graph.initializer[:], graph.output[:]
    graph.node.extend(rest)
    graph.initializer.extend(weights)
    graph.output.append(onnx.helper.make_tensor_value_info(features, onnx.TensorProto.FLOAT, ["batch", width]))
    return end


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    copied = onnx.NodeProto()
    copied.CopyFrom(node)
    return copied


def _plain(source: Path, folder: Path) -> tuple[Path, list[str]]:
    """The file without its rule, and the nodes of it that stay whole."""
    model = onnx.load_model(source, load_external_data=False)
    excluded = _last_product(model)
    if take_off(model) is None:
        return source, excluded
    plain = folder / "plain.onnx"
    plain.write_bytes(model.SerializeToString(deterministic=True))
    return plain, excluded


def _last_product(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes from the embedding to the probabilities: the product with the class weights, and the softmax."""
    makers = {output: node for node in model.graph.node for output in node.output}
    softmax = makers[OUTPUTS[0]]
    return [softmax.name, makers[softmax.input[0]].name]


def _by_head(model: onnx.ModelProto) -> tuple[list[str], list[onnx.TensorProto]]:
    """Products with a stack of small matrices, one for each head of an attention: names of the nodes, and the stacks.

    onnxruntime 1.32 cannot multiply with a stack of 8-bit matrices that have a scale for each column.
    """
    stacks = {tensor.name: tensor for tensor in model.graph.initializer if len(tensor.dims) > 2}
    nodes = [node for node in model.graph.node if node.op_type in WEIGHTED and stacks.keys() & set(node.input)]
    used = {name for node in nodes for name in node.input}
    return [node.name for node in nodes], [tensor for name, tensor in stacks.items() if name in used]


def _keep_in_8_bits(model: onnx.ModelProto, stacks: list[onnx.TensorProto]) -> None:
    """Store these constants as 8-bit integers with a scale for each last place, in place; they are multiplied with in full precision."""
    graph = model.graph
    names = {tensor.name for tensor in stacks}
    kept = [tensor for tensor in graph.initializer if tensor.name not in names]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    nodes = []
    for tensor in stacks:
        values = onnx.numpy_helper.to_array(tensor)
        scale = np.abs(values).max(axis=tuple(range(values.ndim - 1))).clip(min=np.finfo(np.float32).tiny) / 127
        stored, scales = tensor.name + "_quantized", tensor.name + "_scale"
        graph.initializer.append(onnx.numpy_helper.from_array(np.rint(values / scale).astype(np.int8), stored))
        graph.initializer.append(onnx.numpy_helper.from_array(scale.astype(np.float32), scales))
        name = tensor.name + "_dequantize"
        nodes.append(onnx.helper.make_node("DequantizeLinear", [stored, scales], [tensor.name], name, axis=values.ndim - 1))
    nodes.extend(graph.node)
    del graph.node[:]
    graph.node.extend(nodes)


def _finish(model: onnx.ModelProto, source: Path, precision: str, target: Path) -> None:
    """Write a converted model: metadata and rule of its source, with the new precision, nothing else that a converter left in it."""
    original = onnx.load_model(source, load_external_data=False)
    props = {entry.key: entry.value for entry in original.metadata_props}
    del model.metadata_props[:], model.graph.value_info[:]
    rule = take_off(original)
    if rule is not None:
        append(model.graph, rule)
    onnx.helper.set_model_props(model, {**props, "precision": precision})
    model.producer_name, model.producer_version, model.doc_string, model.graph.doc_string = PRODUCT, "", "", ""
    onnx.checker.check_model(model, full_check=True)
    target.write_bytes(model.SerializeToString(deterministic=True))


@contextmanager
def _quiet() -> Iterator[None]:
    """onnxruntime's tools log advice about other workflows to the root logger; keep it out of the run's log."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
