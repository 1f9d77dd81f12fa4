"""Reads an .onnx file without running it, and refuses whatever this product would not have written.

Run in a process of its own (`python -m exporters.inspection FILE`, see `exporters.model_file`), because even parsing a hostile
file may take memory or fail in native code.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from blocklora.errors import ModelFileError
from exporters.metadata import FOREIGN, ModelMetadata
from exporters.model_file import MAX_BYTES, ModelFileInfo

DOMAINS = ("", "ai.onnx", "com.microsoft")  # the last for quantised and half-precision files
OPSETS = range(18, 24)
INPUT, OUTPUTS = "images", ("probabilities", "embedding")
MAX_NODES = 20_000
# Operators that hold other graphs, or wait, or reach outside tensors. A feed-forward classifier has none of them.
REFUSED = {"Loop", "Scan", "If", "SequenceMap", "Optional", "StringNormalizer", "TfIdfVectorizer"}


def inspect_model(path: Path) -> ModelFileInfo:
    """What the file is, when it is sound.

    Raises:
        ModelFileError: the first reason found not to open it.
    """
    size = check_size(path)
    try:
        model = onnx.load_model(path, load_external_data=False)
    except (DecodeError, ValueError, TypeError, OSError) as error:
        raise ModelFileError(f"{path.name} is not an ONNX file, or is cut off.", "Export or copy it again.") from error
    _check_operators(path.name, model)
    _check_tensors(path.name, model)
    metadata = ModelMetadata.from_props({entry.key: entry.value for entry in model.metadata_props})
    classes, dimensions = _check_ports(path.name, model.graph)
    if classes != len(metadata.labels):
        raise ModelFileError(f"{path.name} names {len(metadata.labels)} labels for {classes} outputs.", "Export the run again.")
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    return ModelFileInfo(size=size, opset=opset, n_classes=classes, embed_dim=dimensions, props=metadata.to_props())


def check_size(path: Path) -> int:
    """The file's size in bytes, when it is a file of a size that can be one."""
    if not path.is_file():
        raise ModelFileError(f"there is no file {path.name}.", "Choose an .onnx file.")
    size = path.stat().st_size
    if size == 0 or size > MAX_BYTES:
        raise ModelFileError(f"{path.name} has {size:,} bytes; allowed: 1 to {MAX_BYTES:,}.", FOREIGN)
    return size


def _check_operators(name: str, model: onnx.ModelProto) -> None:
    domains = {entry.domain for entry in model.opset_import} | {node.domain for node in model.graph.node}
    unknown = sorted(domains - set(DOMAINS))
    if unknown:
        raise ModelFileError(f"{name} uses operators of the unknown domain {', '.join(unknown)[:200]}.", FOREIGN)
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if len(versions) != 1 or versions[0] not in OPSETS:
        raise ModelFileError(f"{name} names operator set {versions}; allowed: one of {OPSETS.start} to {OPSETS.stop - 1}.", FOREIGN)
    if model.functions or model.training_info:
        raise ModelFileError(f"{name} brings functions or training parts of its own.", FOREIGN)
    if not 0 < len(model.graph.node) <= MAX_NODES:
        raise ModelFileError(f"{name} has {len(model.graph.node):,} operators; allowed: 1 to {MAX_NODES:,}.", FOREIGN)
    for node in model.graph.node:
        nested = any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute)
        if nested or node.op_type in REFUSED:
            raise ModelFileError(f"{name} uses the operator {node.op_type[:80]}, which this product never writes.", FOREIGN)


def _check_tensors(name: str, model: onnx.ModelProto) -> None:
    for tensor in _tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise ModelFileError(
                f"{name} keeps weights in other files ({tensor.name[:80]}).", "Only files that hold everything are opened."
            )
    if model.graph.sparse_initializer:
        raise ModelFileError(f"{name} has sparse weights, which this product never writes.", FOREIGN)


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every tensor that the graph holds (it has no graphs inside: `_check_operators` came first)."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("sparse_tensor"):
                yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
            for sparse in attribute.sparse_tensors:
                yield from (sparse.values, sparse.indices)


def _check_ports(name: str, graph: onnx.GraphProto) -> tuple[int, int]:
    """The numbers of classes and of embedding dimensions that the outputs declare."""
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [port for port in graph.input if port.name not in constants]
    kinds = [(port.name, port.type.tensor_type.elem_type) for port in inputs]
    shape = inputs[0].type.tensor_type.shape.dim if inputs else []
    if kinds != [(INPUT, onnx.TensorProto.UINT8)] or len(shape) != 4 or shape[3].dim_value != 3:
        raise ModelFileError(f"{name} does not take one input '{INPUT}' of 8-bit pictures (batch, height, width, 3).", FOREIGN)
    widths = []
    for port, wanted in zip(graph.output, OUTPUTS, strict=False):
        dims = port.type.tensor_type.shape.dim
        fits = port.name == wanted and port.type.tensor_type.elem_type == onnx.TensorProto.FLOAT and len(dims) == 2
        widths.append(dims[1].dim_value if fits else 0)
    if len(graph.output) != len(OUTPUTS) or min(widths, default=0) < 1:
        raise ModelFileError(f"{name} does not give the outputs {' and '.join(OUTPUTS)}.", FOREIGN)
    return widths[0], widths[1]


def main(arguments: list[str]) -> int:
    """Print one JSON line: {"info": ...} or {"error": ..., "advice": ...}."""
    try:
        info = inspect_model(Path(arguments[0]))
    except ModelFileError as error:
        print(json.dumps({"error": error.message, "advice": error.advice}))
        return 1
    print(json.dumps({"info": info.to_dict()}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
