"""A preview that answers: the frozen backbone's file in onnxruntime, and class weights beside it. torch is never imported.

The file of a large backbone has gigabytes and the class weights change with every image, so they are not written into it.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
from safetensors import SafetensorError
from safetensors.numpy import load_file

from blocklora.errors import ModelFileError
from blocklora.services.previews import Head
from exporters.predictor import OnnxClassifier, Prediction

WEIGHTS = "weights"


class PreviewModel(OnnxClassifier):
    """Answers as an exported file does.

    Args:
        head: file of class weights (D, C), scale and temperature folded in; its header names the backbone's file.

    Raises:
        ModelFileError: a file is gone or damaged.
    """

    def __init__(self, head: Path) -> None:
        known = Head.read(head)
        if known is None:
            raise ModelFileError("the preview of this project is damaged.", "Change an image; it is made anew.")
        try:
            self.weights: np.ndarray = load_file(head)[WEIGHTS]
        except (SafetensorError, KeyError, OSError) as error:
            raise ModelFileError("the preview of this project is damaged.", "Change an image; it is made anew.") from error
        super().__init__(Path(known.model))
        self.labels = list(known.labels)

    def _run(self, batch: np.ndarray, top: int, session: ort.InferenceSession | None = None) -> list[Prediction]:
        start = time.perf_counter()
        (embedding,) = (session or self._session).run(["embedding"], {self._input: batch})
        logits = embedding @ self.weights
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = powers / powers.sum(axis=1, keepdims=True)
        each = (time.perf_counter() - start) * 1000 / len(batch)
        return [self._prediction(p, e, top, each) for p, e in zip(probabilities, embedding, strict=True)]
