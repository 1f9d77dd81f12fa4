"""A classifier as one ONNX file: preprocessing, image tower, class weights and metadata together, nothing beside it."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import onnx
import torch

from blocklora.errors import ExportError
from exporters.classifier import Classifier
from exporters.known_graph import append, known_graph
from exporters.metadata import PRODUCT, ModelMetadata
from exporters.pixel_graph import pixel_graph
from exporters.plain_layers import plain_layers

OPSET = 20
IR_VERSION = 10
INPUT, PIXELS = "images", "pixel_values"
OUTPUTS = ("probabilities", "embedding")
# A single file is one protobuf message, and those end at 2 GiB; the rest is room for the graph itself.
MAX_BYTES = 2**31 - 2**24
TRACE_BATCH = 2  # tracing with 1 would let torch specialise on it


def export_onnx(classifier: Classifier, metadata: ModelMetadata, path: Path) -> None:
    """Write `classifier` to `path`: uint8 `images` (batch, height, width, 3) -> `probabilities` (batch, C), `embedding` (batch, D),
    and `known` (batch,) bool where the classifier has a rule for pictures of none of its classes.

    Opset 20, all three sizes free, weights inside the file. The same classifier and metadata give the same bytes.
    The caller gates the file (see `exporters.parity`) before anyone sees it.

    Raises:
        ExportError: too large for one file, labels that do not fit the outputs, or a tower that cannot be exported.
    """
    n_bytes = sum(t.numel() * t.element_size() for t in (*classifier.parameters(), *classifier.buffers()))
    if n_bytes > MAX_BYTES:
        raise ExportError(
            f"this model has {n_bytes / 1e9:.1f} GB of weights; a single ONNX file holds {MAX_BYTES / 1e9:.1f} GB.",
            "Train the project on a smaller backbone.",
        )
    if len(metadata.labels) != classifier.n_classes:
        raise ExportError(f"{len(metadata.labels)} labels were given for {classifier.n_classes} outputs.", "Train this run again.")
    if classifier.knowing is not None and classifier.knowing.means.shape != (classifier.n_classes, classifier.embed_dim):
        raise ExportError(f"class means of shape {classifier.knowing.means.shape} do not fit the class weights.", "Train this run again.")
    model = _head_graph(classifier)
    _clean(model)
    _prepend(model, pixel_graph(classifier.preprocess, INPUT, PIXELS))
    _declare(model, classifier, metadata)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the exported graph is not valid ONNX: {error}") from error
    path.write_bytes(model.SerializeToString(deterministic=True))


def _head_graph(classifier: Classifier) -> onnx.ModelProto:
    """Trace the part behind the preprocessing with torch's exporter."""
    size = classifier.preprocess.size
    example = torch.zeros(TRACE_BATCH, 3, size, size, device=classifier.head.weights_t.device)
    quiet = _quiet("torch.onnx"), _quiet("onnxscript")
    with torch.no_grad(), plain_layers(classifier), warnings.catch_warnings(), quiet[0], quiet[1]:
        warnings.simplefilter("ignore")  # torch warns about its own internals here; the gate judges the outcome
        try:
            program = torch.onnx.export(
                classifier.head,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                external_data=False,
                input_names=[PIXELS],
                output_names=list(OUTPUTS),
                dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            reason = str(error).split("\n", 1)[0]
            message = f"this backbone's image tower cannot be written as ONNX: {reason}"
            raise ExportError(message, "Train the project on another backbone.") from error
    assert program is not None  # it is only where no ONNX is asked for
    model = program.model_proto
    # torch falls back to the opset it first translated to when it cannot convert; better to stop than to publish another opset.
    found = {entry.domain: entry.version for entry in model.opset_import}
    if found.get("") != OPSET or set(found) != {""}:
        message = f"torch wrote the operator sets {found}; needed: version {OPSET} of the standard one alone."
        raise ExportError(message, "Use torch 2.9 or later.")
    return model


def _clean(model: onnx.ModelProto) -> None:
    """Drop what the tracer noted for its own debugging: source lines, folders of this machine, intermediate shapes."""
    graph = model.graph
    for entry in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del entry.metadata_props[:]
        entry.doc_string = ""
    del graph.value_info[:]


def _prepend(model: onnx.ModelProto, front: onnx.GraphProto) -> None:
    """Put `front` before the model's graph, in place (a merge by copy would hold the weights twice)."""
    graph = model.graph
    nodes = [*front.node, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(front.initializer)
    del graph.input[:]
    graph.input.extend(front.input)


def _declare(model: onnx.ModelProto, classifier: Classifier, metadata: ModelMetadata) -> None:
    """Name the graph, its producer and its sizes, and write the metadata."""
    model.ir_version, model.producer_name, model.producer_version = IR_VERSION, PRODUCT, ""
    model.graph.name = "classifier"
    del model.graph.output[:]
    for name, width in zip(OUTPUTS, (classifier.n_classes, classifier.embed_dim), strict=True):
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", width]))
    if classifier.knowing is not None:
        append(model.graph, known_graph(classifier.knowing))
    onnx.helper.set_model_props(model, metadata.to_props())


class _quiet:
    """Keep a library's logger to errors for a while."""

    def __init__(self, name: str) -> None:
        self.logger = logging.getLogger(name)

    def __enter__(self) -> None:
        self.level = self.logger.level
        self.logger.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        self.logger.setLevel(self.level)
