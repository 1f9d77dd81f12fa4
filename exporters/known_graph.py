"""The rule of `blocklora.reject` as ONNX operators, behind a classifier's outputs: does the model know the picture at all?

    familiarity = max over classes of embedding . mean      (unit vectors: cosines)
    known = familiarity >= least_familiar  and  max(probabilities) >= least_sure

Written operator by operator, for two reasons: the thresholds are constants with names, so that they can be changed later without a new
training (`exporters.rerule`), and a file that is opened must have exactly these nodes (`exporters.graph_rules`). Conversions to smaller
forms take this part off and put it back as it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from blocklora.errors import ExportError

PREFIX = "known_"
KNOWN = "known"
MEANS_T, LEAST_FAMILIAR, LEAST_SURE, AXIS = PREFIX + "means_t", PREFIX + "least_familiar", PREFIX + "least_sure", PREFIX + "axis"
PROBABILITIES, EMBEDDING = "probabilities", "embedding"


@dataclass(frozen=True)
class Knowing:
    """What the graph needs for it: class means (C, D) of length 1, the least familiarity (a cosine) and the least probability."""

    means: np.ndarray
    least_familiar: float
    least_sure: float

    def __post_init__(self) -> None:
        norms = np.linalg.norm(self.means, axis=-1) if self.means.ndim == 2 else np.zeros(1)
        if not (np.isfinite(self.means).all() and np.allclose(norms, 1, atol=1e-3)):
            raise ExportError("the class means of this run are not unit vectors, one for each class.", "Train this run again.")
        if not np.isfinite([self.least_familiar, self.least_sure]).all():
            raise ExportError("a threshold of this run is not a number.", "Choose it again in Results.")
        for name in ("least_familiar", "least_sure"):  # as the file holds them: metadata and constants are compared exactly
            object.__setattr__(self, name, float(np.float32(getattr(self, name))))


def known_graph(knowing: Knowing) -> onnx.GraphProto:
    """The nodes, constants and output; `probabilities` (batch, C) and `embedding` (batch, D) must have been made before."""
    constants = [
        numpy_helper.from_array(np.ascontiguousarray(knowing.means.T, dtype=np.float32), MEANS_T),
        scalar(LEAST_FAMILIAR, knowing.least_familiar),
        scalar(LEAST_SURE, knowing.least_sure),
        numpy_helper.from_array(np.array([1], dtype=np.int64), AXIS),
    ]
    return helper.make_graph(nodes(), "known", [], [port()], constants)


def nodes() -> list[onnx.NodeProto]:
    """The operators, the same in every file."""
    made: list[onnx.NodeProto] = []

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        name = output if output == KNOWN else PREFIX + output
        made.append(helper.make_node(kind, inputs, [name], name=PREFIX + "node_" + output, **attributes))
        return name

    cosines = node("MatMul", [EMBEDDING, MEANS_T], "cosines")  # (batch, C)
    familiarity = node("ReduceMax", [cosines, AXIS], "familiarity", keepdims=0)  # (batch,)
    surest = node("ReduceMax", [PROBABILITIES, AXIS], "surest", keepdims=0)
    familiar = node("GreaterOrEqual", [familiarity, LEAST_FAMILIAR], "familiar")
    sure = node("GreaterOrEqual", [surest, LEAST_SURE], "sure")
    node("And", [familiar, sure], KNOWN)
    return made


def port() -> onnx.ValueInfoProto:
    """The third output."""
    return helper.make_tensor_value_info(KNOWN, TensorProto.BOOL, ["batch"])


def scalar(name: str, value: float) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(value, dtype=np.float32), name)


def has_rule(graph: onnx.GraphProto) -> bool:
    return any(output.name == KNOWN for output in graph.output)


def append(graph: onnx.GraphProto, part: onnx.GraphProto) -> None:
    """Put `part` (of `known_graph` or `take_off`) behind a graph, in place."""
    graph.node.extend(part.node)
    graph.initializer.extend(part.initializer)
    graph.output.extend(part.output)


def take_off(model: onnx.ModelProto) -> onnx.GraphProto | None:
    """Cut the rule off a model, in place; None where it has none."""
    graph = model.graph
    if not has_rule(graph):
        return None
    part = helper.make_graph(
        [node for node in graph.node if node.name.startswith(PREFIX)],
        "known",
        [],
        [output for output in graph.output if output.name == KNOWN],
        [tensor for tensor in graph.initializer if tensor.name.startswith(PREFIX)],
    )
    rest = (
        [node for node in graph.node if not node.name.startswith(PREFIX)],
        [tensor for tensor in graph.initializer if not tensor.name.startswith(PREFIX)],
        [output for output in graph.output if output.name != KNOWN],
    )
    del graph.node[:], graph.initializer[:], graph.output[:]
    graph.node.extend(rest[0])
    graph.initializer.extend(rest[1])
    graph.output.extend(rest[2])
    return part
