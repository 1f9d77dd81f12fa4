"""The preprocessing of `blocklora.preprocess.Preprocess` as ONNX operators, to stand in front of an exported image tower.

Written operator by operator: torch's exporter cannot trace a crop whose side is the smaller of two unknown sizes, and these
fourteen nodes are easier to check than what it would make of them. The twin in torch is `blocklora.clip.pixels.to_model_input`;
tests hold the two together. The filter is Pillow's (a = -0.5, antialiased), without Pillow's rounding to 8 bits. A file that is
opened must have exactly these nodes (`exporters.graph_rules`): a change here needs a new format version, and this form kept for the old.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from blocklora.preprocess import Preprocess

PREFIX = "pixels_"
ONNX_MODES = {"bicubic": "cubic", "bilinear": "linear"}

Constant = Callable[..., str]
Node = Callable[..., str]


def pixel_graph(preprocess: Preprocess, input_name: str, output_name: str) -> onnx.GraphProto:
    """The graph uint8 (N, H, W, 3) of any size -> float32 (N, 3, size, size), normalised.

    Every inner name starts with `PREFIX`, so that the graph can be merged with another.
    """
    constants: list[onnx.TensorProto] = []

    def constant(name: str, values: object, kind: type) -> str:
        constants.append(numpy_helper.from_array(np.asarray(values, dtype=kind), PREFIX + name))
        return PREFIX + name

    nodes: list[onnx.NodeProto] = []

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        name = output if output == output_name else PREFIX + output
        nodes.append(helper.make_node(kind, inputs, [name], name=PREFIX + "node_" + output, **attributes))
        return name

    picture = input_name
    if preprocess.resize_mode == "shortest":
        picture = _central_square(input_name, constant, node)
    planes = node("Transpose", [node("Cast", [picture], "float", to=TensorProto.FLOAT)], "planes", perm=[0, 3, 1, 2])
    resized = node(
        "Resize",
        [planes, "", "", constant("size", [preprocess.size, preprocess.size], np.int64)],
        "resized",
        axes=[2, 3],
        mode=ONNX_MODES[preprocess.interpolation],
        antialias=1,
        cubic_coeff_a=-0.5,
        exclude_outside=1,  # weights of pixels beyond the edge go to those inside, as in Pillow and torch
        coordinate_transformation_mode="half_pixel",
    )
    held = node("Clip", [resized, constant("low", 0.0, np.float32), constant("high", 255.0, np.float32)], "held")
    std = np.asarray(preprocess.std, dtype=np.float64).reshape(1, 3, 1, 1)
    mean = np.asarray(preprocess.mean, dtype=np.float64).reshape(1, 3, 1, 1)
    scaled = node("Mul", [held, constant("gain", 1.0 / (255.0 * std), np.float32)], "scaled")
    node("Add", [scaled, constant("shift", -mean / std, np.float32)], output_name)

    images = helper.make_tensor_value_info(input_name, TensorProto.UINT8, ["batch", "height", "width", 3])
    pixels = helper.make_tensor_value_info(output_name, TensorProto.FLOAT, ["batch", 3, preprocess.size, preprocess.size])
    return helper.make_graph(nodes, "preprocess", [images], [pixels], constants)


def _central_square(images: str, constant: Constant, node: Node) -> str:
    """Cut the central square out of (N, H, W, 3): the arithmetic of `blocklora.preprocess.central_square` on shapes."""
    size = node("Shape", [images], "height_width", start=1, end=3)  # (H, W)
    side = node("ReduceMin", [size], "side", keepdims=1)
    start = node("Div", [node("Sub", [size, side], "spare"), constant("two", [2], np.int64)], "start")
    end = node("Add", [start, side], "end")
    return node("Slice", [images, start, end, constant("crop_axes", [1, 2], np.int64)], "square")
