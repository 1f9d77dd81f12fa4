"""Runs an exported classifier with onnxruntime and NumPy (and Pillow, which decodes in another process); torch is never imported.

The file does all arithmetic itself: pictures go in as they are, and nothing is resized here, so whoever runs the same file on the
same pixels gets the same numbers.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import onnxruntime as ort

from blocklora.errors import ImageError, ModelFileError
from blocklora.projects.decoding import MANY, decode_many, decode_rgb
from blocklora.projects.names import plain
from exporters.model_file import ADVICE, MAX_WORDS, check_model_file, try_model_file
from exporters.stream import Lanes, in_lanes

if TYPE_CHECKING:
    from blocklora.services.heat import HeatMap

MAX_BATCH = 16
TRIED = (1, 4, MAX_BATCH)  # pictures at once that a file from elsewhere is tried with, and then run with
BATCH_VALUES = 3 * 4_000_000  # bytes of pictures in one run: inside, they become floats and are copied a few times
PROVIDERS: dict[str, dict[str, str]] = {"CUDAExecutionProvider": {"use_tf32": "0"}, "CPUExecutionProvider": {}}
"""What may run a file, the first that is there, each with its options: only what computes in full precision, so that answers are those the
file was checked with. CUDA would otherwise round products to ten bits; Core ML computes in half precision wherever it can.
"""

T = TypeVar("T")


@dataclass(frozen=True)
class Prediction:
    """What the model says of one picture.

    `top` holds (label, probability), most probable first; `probabilities` (C,) and `embedding` (D,) are float32 in the file's
    order; `milliseconds` is the time of the run, divided by the pictures in it. `known` is False where the file's rule says that the
    picture is of none of the classes, None where the file has no rule.
    """

    label: str
    probability: float
    top: list[tuple[str, float]]
    probabilities: np.ndarray
    embedding: np.ndarray
    milliseconds: float
    known: bool | None = None


class OnnxClassifier:
    """An exported file, ready to predict.

    Args:
        path: the .onnx file; it is checked before a session is made of it.
        threads: threads of one run; None for one per core.
        many: it is opened for many pictures (see `exporters.stream`), so that `threads` are runs at once, of one thread each.
        cpu_only: leave accelerators out, for measuring and for checking a file against the trained model.
        tried_first: let the file answer in a process of its own before this one runs it; for every file that this program has not
            just made itself.

    Raises:
        ModelFileError: the file is not one of ours, unsafe, or onnxruntime cannot load it.
    """

    def __init__(
        self, path: Path, threads: int | None = None, cpu_only: bool = False, many: bool = False, tried_first: bool = False
    ) -> None:
        self.path = Path(path)
        self._checked = _mark(self.path)
        self.info = check_model_file(self.path)
        self.batches = try_model_file(self.path, self.info, TRIED) if tried_first else None
        self.record = self.info.metadata
        self.labels = [plain(label) for label in self.record.labels]
        self.preprocess = self.record.preprocess
        self.threads = threads if threads is not None else _cores()
        self._cpu_only = cpu_only
        self._single = many or self.threads == 1
        self._session = self._open(1 if self._single else self.threads)
        self._input = self._session.get_inputs()[0].name
        self._outputs = ["probabilities", "embedding", *(["known"] if self.info.has_rule else [])]

    def _open(self, threads: int) -> ort.InferenceSession:
        available = ort.get_available_providers()
        wanted = ["CPUExecutionProvider"] if self._cpu_only else [name for name in PROVIDERS if name in available]
        try:
            session = make_session(self.path, threads, wanted)
        except Exception as error:  # onnxruntime raises its own classes, which share no base but Exception
            words = plain(f"onnxruntime cannot load {self.path.name}: {error}", MAX_WORDS)
            raise ModelFileError(words, "Export the run again.") from error
        if _mark(self.path) != self._checked:
            raise ModelFileError(f"{plain(self.path.name)} was changed since it was checked.", "Open it again.")
        return session

    @property
    def metadata(self) -> dict[str, Any]:
        """What the file says about itself, as JSON values (see `exporters.metadata.ModelMetadata`)."""
        return self.record.to_dict()

    @property
    def provider(self) -> str:
        """What really runs the model, as the session says (a wanted accelerator that failed to start is not named)."""
        return str(self._session.get_providers()[0])

    def predict(self, images: Sequence[np.ndarray], top: int = 5) -> list[Prediction]:
        """Predictions for uint8 (H, W, 3) RGB pictures, in the order given.

        Pictures of one size run together, at most `MAX_BATCH` at a time and fewer of large ones; others by themselves.

        Raises:
            ImageError: a picture is not uint8 (H, W, 3) with at least one pixel.
        """
        _check(images)
        found: dict[int, Prediction] = {}
        for group in _groups([image.shape for image in images], self.batches):
            batch = np.stack([images[i] for i in group])
            found |= dict(zip(group, self._run(batch, top), strict=True))
        return [found[i] for i in range(len(images))]

    def predict_file(self, path: Path, top: int = 5) -> Prediction:
        """The prediction for one picture file, decoded outside this process.

        Raises:
            ImageError: why the file cannot be used.
        """
        return self.predict([decode_rgb(Path(path))], top)[0]

    def predict_files(self, paths: Iterable[Path], top: int = 5) -> Iterator[tuple[Path, Prediction | ImageError]]:
        """For each file, in order, its prediction or why there is none.

        Files are decoded by other processes while this one predicts; a handful of pictures is in memory at a time, however many
        files there are.
        """
        decoded = ((found, None if isinstance(found[1], ImageError) else found[1]) for found in decode_many(paths, workers=MANY))
        for (path, image), answer in self.predict_each(decoded, top):
            if isinstance(image, ImageError):
                yield path, image
            elif answer is not None:
                yield path, answer

    def predict_each(self, items: Iterable[tuple[T, np.ndarray | None]], top: int = 5) -> Iterator[tuple[T, Prediction | None]]:
        """For each item, in order, the prediction for its picture (H, W, 3), None where it has none; see `exporters.stream`.

        A picture's numbers are those that it gets alone, unless an accelerator runs several of one size together.

        Raises:
            ImageError: a picture is not uint8 (H, W, 3) with at least one pixel.
        """
        if self.provider != "CPUExecutionProvider":
            return in_lanes(items, lambda pictures: self.predict(pictures, top), Lanes(1, MAX_BATCH))
        # One core a run, so another session, for as long as it lasts: how many threads a run has is said when a session is made.
        session = self._session if self._single else self._open(1)

        def alone(pictures: Sequence[np.ndarray]) -> list[Prediction]:
            _check(pictures)
            return [self._run(picture[None], top, session)[0] for picture in pictures]

        return in_lanes(items, alone, Lanes(self.threads, 1))

    def explain(self, image: np.ndarray, labels: Sequence[str] = ()) -> HeatMap:
        """Where in a picture the reasons for labels lie, by default the most probable ones (see `exporters.heatmap`)."""
        from exporters.heatmap import explain

        return explain(self, image, labels)

    def _run(self, batch: np.ndarray, top: int, session: ort.InferenceSession | None = None) -> list[Prediction]:
        start = time.perf_counter()
        probabilities, embedding, *rule = (session or self._session).run(self._outputs, {self._input: batch})
        each = (time.perf_counter() - start) * 1000 / len(batch)
        if self.batches is not None and not np.isfinite(probabilities).all():  # one of our own is for the gate to judge
            raise ModelFileError(f"{plain(self.path.name)} gives values that are no probabilities for this picture.", ADVICE)
        known = [bool(value) for value in rule[0]] if rule else [None] * len(batch)
        return [self._prediction(p, e, top, each, k) for p, e, k in zip(probabilities, embedding, known, strict=True)]

    def _prediction(
        self, probabilities: np.ndarray, embedding: np.ndarray, top: int, milliseconds: float, known: bool | None = None
    ) -> Prediction:
        order = np.argsort(-probabilities, kind="stable")[:top]
        ranked = [(self.labels[i], float(probabilities[i])) for i in order]
        return Prediction(*ranked[0], ranked, probabilities, embedding, milliseconds, known)


def _check(images: Sequence[np.ndarray]) -> None:
    for number, image in enumerate(images):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise ImageError(
                f"picture {number + 1} is {image.dtype} of shape {image.shape}; needed: 8-bit (height, width, 3).", "Convert it to RGB."
            )


def _groups(shapes: Sequence[tuple[int, ...]], allowed: Sequence[int] | None) -> Iterator[list[int]]:
    """Positions of equal shapes together, in runs of at most `MAX_BATCH` pictures and `BATCH_VALUES` bytes, at least one picture.

    Where `allowed` says which numbers of pictures may run together, runs have these and no others.
    """
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for position, shape in enumerate(shapes):
        by_shape.setdefault(shape, []).append(position)
    for shape, positions in by_shape.items():
        most = max(1, min(MAX_BATCH, BATCH_VALUES // math.prod(shape)))
        start = 0
        while start < len(positions):
            room = min(most, len(positions) - start)
            size = room if allowed is None else max(number for number in allowed if number <= room)
            yield positions[start : start + size]
            start += size


def make_session(path: Path, threads: int, providers: Sequence[str]) -> ort.InferenceSession:
    """A session of a checked file on `providers` (of `PROVIDERS`).

    It is read as ONNX whatever else it looks like, and never as onnxruntime's own format.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    # onnxruntime keeps a plan of memory for every size of picture that it has seen: many pictures have many sizes.
    options.enable_mem_pattern = threads > 1
    options.add_session_config_entry("session.load_model_format", "ONNX")
    return ort.InferenceSession(str(path), options, providers=[(name, PROVIDERS[name]) for name in providers])


def _mark(path: Path) -> tuple[int, int, int] | None:
    """Another one for a file that was replaced or written to."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
