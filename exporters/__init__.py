"""What leaves the house: a trained run as one ONNX file, checked against the model it was made from, and what runs it.

The names here are what app.py and the command line put into the services, which know neither.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporters.predictor import OnnxClassifier
    from exporters.preview_model import PreviewModel

WORKER = "exporters.worker"
"""The module that makes the file of a finished run, in a process of its own."""
PREVIEWER = "exporters.previewer"
"""The module that keeps the preview of a project, in a process of its own."""


def open_model(path: Path, many: bool = False) -> OnnxClassifier:
    """The predictor of an exported file, wherever it came from; onnxruntime is imported with the first one.

    The file is inspected, then run for the first time, in other processes before this one loads it. `many` says that it is opened for
    many pictures.

    Raises:
        ModelFileError: it is not a file that this product wrote, or not safe to open.
    """
    from exporters.predictor import OnnxClassifier

    return OnnxClassifier(path, many=many, tried_first=True)


def open_preview(head: Path) -> PreviewModel:
    """The predictor of a preview, by the file of its class weights.

    Raises:
        ModelFileError: the file, or that of the frozen backbone, is gone or damaged.
    """
    from exporters.preview_model import PreviewModel

    return PreviewModel(head)
