"""Reads an .onnx file without running it, and refuses whatever this product would not have written.

Run in a process of its own (`python -m exporters.inspection MEMORY FILE`, see `exporters.model_file`), because even parsing a hostile
file may take memory or fail in native code. The order is that of the reasons that help most: not ONNX, not ours, too new, then the rest.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto

from blocklora.errors import ModelFileError
from blocklora.preprocess import Preprocess
from blocklora.projects.confine import confine
from blocklora.projects.names import plain
from exporters.apart import megabytes
from exporters.graph_rules import INPUT, MAX_NODES, check_flow, check_front, check_operators, check_rule
from exporters.known_graph import KNOWN
from exporters.metadata import FOREIGN, ModelMetadata
from exporters.model_file import MAX_WORDS, ModelFileInfo, size_of

OPSETS = (20,)  # of exporters.onnx_export; an older or newer one has other rules
IR_VERSIONS = range(8, 14)
OUTPUTS = ("probabilities", "embedding")
MAX_PROPS = 64
MAX_METADATA = 16 * 2**20  # bytes of all metadata together: labels, ids and prompts of 50,000 classes
MAX_LABELS, MAX_LABEL = 50_000, 1000  # classes, and characters of a name
MAX_SIDE = 1024  # pixels that a backbone takes; known ones end at 512
MAX_DIMS = 8
# Bytes of a value, and the field that holds values which are not kept as raw bytes.
KINDS: dict[int, tuple[int, str]] = {
    TensorProto.FLOAT: (4, "float_data"),
    TensorProto.FLOAT16: (2, "int32_data"),
    TensorProto.INT8: (1, "int32_data"),
    TensorProto.UINT8: (1, "int32_data"),
    TensorProto.BOOL: (1, "int32_data"),
    TensorProto.INT32: (4, "int32_data"),
    TensorProto.INT64: (8, "int64_data"),
}
FIELDS = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")


def inspect_model(path: Path) -> ModelFileInfo:
    """What the file is, when it is sound.

    Raises:
        ModelFileError: the first reason found not to open it, in words that may be shown whatever the file put into them.
    """
    try:
        return _inspect(path)
    except ModelFileError as error:
        raise ModelFileError(plain(error.message, MAX_WORDS), error.advice) from error


def _inspect(path: Path) -> ModelFileInfo:
    size, name = size_of(path), plain(path.name)
    try:
        model = onnx.load_model(path, load_external_data=False)
    except (DecodeError, ValueError, TypeError, OSError) as error:
        raise ModelFileError(f"{name} is not an ONNX file, or is cut off.", "Export or copy it again.") from error
    metadata = _metadata(name, model)
    _check_versions(name, model)
    _check_tensors(name, model.graph)
    check_operators(name, model.graph.node)
    classes, dimensions = _check_ports(name, model.graph)
    if classes != len(metadata.labels):
        raise ModelFileError(f"{name} names {len(metadata.labels)} labels for {classes} outputs.", "Export the run again.")
    check_front(name, model.graph, metadata.preprocess)
    check_flow(name, model.graph)
    rule = check_rule(name, model.graph, classes, dimensions)
    told = metadata.reject
    if (rule or None) != ((told["least_familiar"], told["least_sure"]) if told else None):
        raise ModelFileError(f"{name} tells pictures of none of its classes in another way than its metadata say.", FOREIGN)
    return ModelFileInfo(size, OPSETS[0], classes, dimensions, metadata.to_props(), has_rule=rule is not None)


def _metadata(name: str, model: onnx.ModelProto) -> ModelMetadata:
    """The record in the file, its length and its labels within bounds."""
    entries = model.metadata_props
    total = sum(len(entry.key.encode()) + len(entry.value.encode()) for entry in entries)
    if len(entries) > MAX_PROPS or total > MAX_METADATA:
        found = f"{len(entries):,} entries with {megabytes(total)}"
        raise ModelFileError(f"{name} has metadata of {found}; allowed: {MAX_PROPS} with {megabytes(MAX_METADATA)}.", FOREIGN)
    props = {entry.key: entry.value for entry in entries}
    if len(props) != len(entries):
        raise ModelFileError(f"{name} has two metadata entries of one name.", FOREIGN)
    metadata = ModelMetadata.from_props(props)
    unknown = sorted(props.keys() - metadata.to_props().keys())
    if unknown:
        raise ModelFileError(f"{name} has a metadata entry {plain(unknown[0], 80)!r}, which this product never writes.", FOREIGN)
    longest = max(map(len, metadata.labels))
    if len(metadata.labels) > MAX_LABELS or longest > MAX_LABEL or not all(label.strip() for label in metadata.labels):
        found = f"{len(metadata.labels):,} labels, the longest of {longest:,} characters"
        raise ModelFileError(f"{name} has {found}; allowed: {MAX_LABELS:,}, none empty, of {MAX_LABEL:,} characters at most.", FOREIGN)
    _check_preprocess(name, metadata.preprocess)
    return metadata


def _check_preprocess(name: str, preprocess: Preprocess) -> None:
    numbers = [*preprocess.mean, *preprocess.std]
    sound = len(preprocess.mean) == len(preprocess.std) == 3 and all(map(math.isfinite, numbers)) and min(preprocess.std) > 0
    if not 1 <= preprocess.size <= MAX_SIDE or not sound:
        found = f"pictures of {preprocess.size:,} pixels"
        raise ModelFileError(
            f"{name} wants {found}, normalised by {numbers[:6]}; allowed: 1 to {MAX_SIDE:,} pixels, three numbers each.", FOREIGN
        )


def _check_versions(name: str, model: onnx.ModelProto) -> None:
    domains = {entry.domain for entry in model.opset_import} | {node.domain for node in model.graph.node}
    unknown = sorted(domains - {"", "ai.onnx"})
    if unknown:
        raise ModelFileError(f"{name} uses operators of the unknown domain {plain(', '.join(unknown), 200)}.", FOREIGN)
    versions = [entry.version for entry in model.opset_import]
    if len(versions) != 1 or versions[0] not in OPSETS or model.ir_version not in IR_VERSIONS:
        found = f"operator set {versions[:4]} in format {model.ir_version}"
        allowed = f"{OPSETS[0]} in format {IR_VERSIONS.start} to {IR_VERSIONS.stop - 1}"
        raise ModelFileError(f"{name} names {found}; allowed: {allowed}.", FOREIGN)
    graph = model.graph
    if model.functions or model.training_info or graph.value_info or graph.quantization_annotation:
        raise ModelFileError(f"{name} brings functions, training parts or notes of its own.", FOREIGN)
    if not 0 < len(graph.node) <= MAX_NODES:
        raise ModelFileError(f"{name} has {len(graph.node):,} operators; allowed: 1 to {MAX_NODES:,}.", FOREIGN)


def _check_tensors(name: str, graph: onnx.GraphProto) -> None:
    """Weights are whole and in the file: as many bytes as their dimensions say, of a kind that is known."""
    if graph.sparse_initializer:
        raise ModelFileError(f"{name} has sparse weights, which this product never writes.", FOREIGN)
    for tensor in _tensors(graph):
        what = plain(tensor.name, 80)
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            raise ModelFileError(f"{name} keeps weights in other files ({what}).", "Only files that hold everything are opened.")
        if tensor.data_type not in KINDS or tensor.HasField("segment"):
            raise ModelFileError(f"{name} has weights {what} of a kind that this product never writes.", FOREIGN)
        width, field = KINDS[tensor.data_type]
        shape = list(tensor.dims[: MAX_DIMS + 1])
        if len(shape) > MAX_DIMS or min(shape, default=0) < 0:
            raise ModelFileError(f"{name} has weights {what} with the dimensions {shape}.", FOREIGN)
        values = math.prod(shape)
        filled = [other for other in FIELDS if len(getattr(tensor, other))]
        held = len(tensor.raw_data) if tensor.HasField("raw_data") else width * len(getattr(tensor, field))
        allowed = [] if tensor.HasField("raw_data") else [field]
        if held != values * width or any(other not in allowed for other in filled):
            wanted = f"{values:,} values of {width} bytes"
            raise ModelFileError(f"{name} has weights {what} that do not hold the {wanted} that they declare.", "Copy the file again.")


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every tensor that the graph holds itself; graphs and sparse tensors inside operators are not ours (`check_operators`)."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _check_ports(name: str, graph: onnx.GraphProto) -> tuple[int, int]:
    """The numbers of classes and of embedding dimensions that the outputs declare."""
    kinds = [(port.name, port.type.tensor_type.elem_type) for port in graph.input]
    shape = graph.input[0].type.tensor_type.shape.dim if kinds else []
    if kinds != [(INPUT, TensorProto.UINT8)] or len(shape) != 4 or shape[3].dim_value != 3:
        raise ModelFileError(f"{name} does not take one input '{INPUT}' of 8-bit pictures (batch, height, width, 3).", FOREIGN)
    widths = []
    for port, wanted in zip(graph.output, OUTPUTS, strict=False):
        dims = port.type.tensor_type.shape.dim
        fits = port.name == wanted and port.type.tensor_type.elem_type == TensorProto.FLOAT and len(dims) == 2
        widths.append(dims[1].dim_value if fits else 0)
    third = [(port.name, port.type.tensor_type.elem_type, len(port.type.tensor_type.shape.dim)) for port in graph.output[2:]]
    if third not in ([], [(KNOWN, TensorProto.BOOL, 1)]) or len(widths) != len(OUTPUTS) or min(widths) < 1:
        raise ModelFileError(f"{name} does not give the outputs {' and '.join(OUTPUTS)}.", FOREIGN)
    return widths[0], widths[1]


def main(arguments: list[str]) -> int:
    """Print one JSON line: {"info": ...} or {"error": ..., "advice": ...}."""
    memory, path = int(arguments[0]), Path(arguments[1])
    confine(memory)
    try:
        answer: dict[str, object] = {"info": inspect_model(path).to_dict()}
    except ModelFileError as error:
        answer = {"error": error.message, "advice": error.advice}
    except MemoryError:
        words = f"{plain(path.name)} needs more than {megabytes(memory)} of memory to be read, which is far more than its size."
        answer = {"error": words, "advice": FOREIGN}
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
