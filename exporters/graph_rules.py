"""What a graph of this product looks like: its operators by name, its preprocessing to the byte, and sizes that no picture can change.

A list of what is allowed, not of what is forbidden: onnxruntime knows some two hundred operators, each version brings more, and what a
stranger could do with them is not for us to guess. What our exports use is known, and tests hold the list against files of every
backbone family in every precision (tests/exporters/test_export_families.py).

A size that depends on what is in a picture could be harmless whenever it is tried and take all memory one day later. So shapes may
come only from constants and from the sizes of other tensors, carried without arithmetic (but for the fourfold batch of files that look at
all turns of a picture), and the preprocessing (which does reckon with sizes) must be the one that `exporters.pixel_graph` writes. After it
everything is of one size whatever the picture was: a number of pictures that was answered once (`exporters.first_run`) takes the same
memory ever after.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx

from blocklora.errors import ModelFileError
from blocklora.preprocess import TURNS, Preprocess
from blocklora.projects.names import plain
from exporters import known_graph
from exporters.metadata import FOREIGN
from exporters.pixel_graph import PREFIX, pixel_graph

INPUT, PIXELS = "images", "pixel_values"
WRITTEN = frozenset(
    [
        "Add",
        "BatchNormalization",
        "Cast",
        "Clip",
        "Concat",
        "Conv",
        "DequantizeLinear",
        "Div",
        "DynamicQuantizeLinear",
        "Expand",
        "Gather",
        "Gelu",
        "Gemm",
        "LayerNormalization",
        "MatMul",
        "MatMulInteger",
        "Mul",
        "Neg",
        "QuantizeLinear",
        "ReduceL2",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "Relu",
        "Reshape",
        "Resize",
        "Shape",
        "Sigmoid",
        "Slice",
        "Softmax",
        "Split",
        "Squeeze",
        "Sub",
        "Tile",
        "Transpose",
        "Unsqueeze",
    ]
)
# What other versions of torch write for the same towers (its own forms of GELU, of norms and of pooling). None makes more of what it gets.
ALSO = frozenset(
    [
        "AveragePool",
        "Erf",
        "Exp",
        "Flatten",
        "GlobalAveragePool",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "Max",
        "MaxPool",
        "Min",
        "Pow",
        "Reciprocal",
        "ReduceSum",
        "Sqrt",
        "Tanh",
    ]
)
IN_FRONT = frozenset(["Resize"])  # allowed in the preprocessing alone
AT_THE_END = frozenset(["And", "GreaterOrEqual"])  # allowed in the rule for pictures of none of the classes alone
CARRY = frozenset(["Cast", "Concat", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Unsqueeze"])  # hand sizes on as they are
# Inputs that say how large something will be, by position.
SIZES: dict[str, tuple[int, ...]] = {
    "Expand": (1,),
    "Reshape": (1,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "Unsqueeze": (1,),
    "ReduceL2": (1,),
    "ReduceMax": (1,),
    "ReduceMean": (1,),
    "ReduceMin": (1,),
    "ReduceSum": (1,),
}
ATTRIBUTES = frozenset([onnx.AttributeProto.INT, onnx.AttributeProto.INTS, onnx.AttributeProto.FLOAT, onnx.AttributeProto.STRING])
MAX_NODES, MAX_INPUTS, MAX_VALUES, MAX_TEXT = 20_000, 256, 64, 100  # operators; inputs, numbers and characters of one of them


def check_operators(name: str, nodes: Iterable[onnx.NodeProto]) -> None:
    """Every operator is one that this product writes, and carries no more than numbers and words.

    Raises:
        ModelFileError: one does not.
    """
    for node in nodes:
        kind = plain(node.op_type, 80)
        if node.op_type not in WRITTEN | ALSO | AT_THE_END or node.domain not in ("", "ai.onnx") or node.overload:
            raise ModelFileError(f"{name} uses the operator {kind}, which this product never writes.", FOREIGN)
        if max(len(node.input), len(node.output)) > MAX_INPUTS:
            raise ModelFileError(f"{name} has an operator {kind} with more than {MAX_INPUTS} inputs or outputs.", FOREIGN)
        for entry in node.attribute:
            plain_value = entry.type in ATTRIBUTES and not entry.ref_attr_name
            if not plain_value or len(entry.ints) > MAX_VALUES or len(entry.s) > MAX_TEXT:
                what = plain(entry.name, 80)
                raise ModelFileError(f"{name} has an operator {kind} with a setting {what} that this product never writes.", FOREIGN)


def check_front(name: str, graph: onnx.GraphProto, preprocess: Preprocess) -> None:
    """The preprocessing is, to the byte, what this product writes for what the metadata say of it, and nothing else looks into it.

    Raises:
        ModelFileError: it is not.
    """
    wanted = pixel_graph(preprocess, INPUT, PIXELS)
    nodes = [node for node in graph.node if node.name.startswith(PREFIX)]
    constants = [tensor for tensor in graph.initializer if tensor.name.startswith(PREFIX)]
    same = _bytes(nodes) == _bytes(wanted.node) and sorted(_bytes(constants)) == sorted(_bytes(wanted.initializer))
    inner = {output for node in wanted.node for output in node.output if output != PIXELS} | {INPUT}
    inner |= {tensor.name for tensor in wanted.initializer}
    others = (entry for node in graph.node if not node.name.startswith(PREFIX) for entry in node.input)
    if not same or any(entry in inner for entry in others):
        raise ModelFileError(f"{name} prepares pictures in another way than its metadata say.", FOREIGN)


def check_rule(name: str, graph: onnx.GraphProto, classes: int, dimensions: int) -> tuple[float, float] | None:
    """The rule behind the output `known` is the one that this product writes; its two thresholds, or None where a file has no rule.

    Raises:
        ModelFileError: it is another, or half of one.
    """
    nodes = [node for node in graph.node if node.name.startswith(known_graph.PREFIX)]
    constants = {tensor.name: tensor for tensor in graph.initializer if tensor.name.startswith(known_graph.PREFIX)}
    others = [node for node in graph.node if not node.name.startswith(known_graph.PREFIX)]
    inner = {*constants, *(output for node in known_graph.nodes() for output in node.output)}
    if not known_graph.has_rule(graph):
        if nodes or constants or any(node.op_type in AT_THE_END for node in others):
            raise ModelFileError(f"{name} has parts of a rule for pictures of none of its classes, but no such output.", FOREIGN)
        return None
    wanted = {
        known_graph.MEANS_T: (onnx.TensorProto.FLOAT, [dimensions, classes]),
        known_graph.LEAST_FAMILIAR: (onnx.TensorProto.FLOAT, []),
        known_graph.LEAST_SURE: (onnx.TensorProto.FLOAT, []),
        known_graph.AXIS: (onnx.TensorProto.INT64, [1]),
    }
    found = {key: (tensor.data_type, list(tensor.dims)) for key, tensor in constants.items()}
    looked_at = any(entry in inner for node in others for entry in (*node.input, *node.output))
    foreign = any(node.op_type in AT_THE_END for node in others)
    if _bytes(nodes) != _bytes(known_graph.nodes()) or found != wanted or looked_at or foreign:
        raise ModelFileError(f"{name} tells pictures of none of its classes in another way than this product writes.", FOREIGN)
    values = {key: onnx.numpy_helper.to_array(tensor) for key, tensor in constants.items()}
    axis = values.pop(known_graph.AXIS)
    if not all(np.isfinite(value).all() for value in values.values()) or axis.tolist() != [1]:
        raise ModelFileError(f"{name} has a rule with values that are not numbers.", FOREIGN)
    return float(values[known_graph.LEAST_FAMILIAR]), float(values[known_graph.LEAST_SURE])


def _bytes(parts: Iterable[onnx.NodeProto | onnx.TensorProto]) -> list[bytes]:
    return [part.SerializeToString(deterministic=True) for part in parts]


def _is_one_number(tensor: onnx.TensorProto) -> bool:
    return tensor.data_type == onnx.TensorProto.INT64 and not tensor.dims


def check_flow(name: str, graph: onnx.GraphProto) -> None:
    """Everything is made once and before it is used, and no size follows from what is in a picture.

    Raises:
        ModelFileError: it is not so.
    """
    known = [INPUT, *(tensor.name for tensor in graph.initializer)]
    made, sizes = set(known), set(known[1:])  # what there is so far; what may say how large something will be
    fourfold: set[str] = set()  # sizes that have been multiplied already
    four = {tensor.name for tensor in graph.initializer if _is_one_number(tensor) and onnx.numpy_helper.to_array(tensor) == TURNS}
    if len(made) != len(known) or "" in made:
        raise ModelFileError(f"{name} has two weights of one name.", FOREIGN)
    for node in graph.node:
        unknown = [entry for entry in node.input if entry and entry not in made]
        outputs = [entry for entry in node.output if entry]
        if unknown or made & set(outputs) or len(set(outputs)) != len(outputs):
            what = plain(unknown[0] if unknown else ", ".join(outputs), 80)
            raise ModelFileError(f"{name} is not in order: {what} is used before it is made, or made twice.", FOREIGN)
        made.update(outputs)
        again = not fourfold.isdisjoint(node.input)
        multiplies = node.op_type == "Mul" and not four.isdisjoint(node.input) and not again
        if node.op_type == "Shape" or ((multiplies or node.op_type in CARRY) and all(entry in sizes for entry in node.input if entry)):
            sizes.update(outputs)
            fourfold.update(outputs if multiplies or (again and node.op_type != "Shape") else ())
        if node.name.startswith(PREFIX):  # `check_front` has looked at it
            continue
        given = [node.input[place] for place in SIZES.get(node.op_type, ()) if place < len(node.input)]
        if node.op_type in IN_FRONT or any(entry and entry not in sizes for entry in given):
            kind = plain(node.op_type, 80)
            raise ModelFileError(f"{name} has an operator {kind} whose size is reckoned from what it is given.", FOREIGN)
