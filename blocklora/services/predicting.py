"""Prediction as the window and the command line see it. The real predictor (onnxruntime) is injected; nothing here imports it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from blocklora.errors import ImageError

if TYPE_CHECKING:
    import numpy as np

    from blocklora.services.heat import HeatMap

T = TypeVar("T")


class Prediction(Protocol):
    """One picture's answer. `top` is (label, probability), best first; times in milliseconds. `known` is False where the model's rule says
    that the picture is of none of its classes, None where it has no rule.
    """

    @property
    def label(self) -> str: ...
    @property
    def probability(self) -> float: ...
    @property
    def top(self) -> Sequence[tuple[str, float]]: ...
    @property
    def milliseconds(self) -> float: ...
    @property
    def known(self) -> bool | None: ...


class Predictor(Protocol):
    """A published ONNX file, ready to answer."""

    @property
    def labels(self) -> Sequence[str]: ...
    @property
    def provider(self) -> str: ...
    @property
    def metadata(self) -> dict[str, Any]: ...
    def predict(self, images: Sequence[np.ndarray], top: int = 5) -> Sequence[Prediction]: ...
    def explain(self, image: np.ndarray, labels: Sequence[str] = ()) -> HeatMap: ...
    def predict_files(self, paths: Iterable[Path], top: int = 5) -> Iterator[tuple[Path, Prediction | ImageError]]: ...
    def predict_each(self, items: Iterable[tuple[T, np.ndarray | None]], top: int = 5) -> Iterator[tuple[T, Prediction | None]]: ...


PredictorFactory = Callable[[Path], Predictor]
Key = tuple[str, int, int]  # a path, and what tells one file at it from another
KEPT = 3


class Predictors:
    """The last few opened files; one is opened again when the file at its path was replaced."""

    def __init__(self, factory: PredictorFactory) -> None:
        self._factory = factory
        self._open: OrderedDict[Key, Predictor] = OrderedDict()
        self._opening: dict[Key, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, path: Path) -> Predictor:
        """The predictor of a published file. Opening may take a while; files that are open already answer meanwhile."""
        found = path.stat()
        key = (str(path), found.st_mtime_ns, found.st_size)
        with self._lock:
            opening = self._opening.setdefault(key, threading.Lock())
        try:
            with opening:
                with self._lock:
                    made = self._open.get(key)
                if made is None:
                    made = self._factory(path)
                with self._lock:
                    self._open[key] = made
                    self._open.move_to_end(key)
                    while len(self._open) > KEPT:
                        self._open.popitem(last=False)
                return made
        finally:
            with self._lock:
                self._opening.pop(key, None)  # who waits still holds it, and finds what was made


@dataclass(frozen=True)
class FileAnswer:
    """A file with its prediction, or the reason why there is none."""

    path: Path
    prediction: Prediction | None
    reason: str = ""


def predict_files(predictor: Predictor, paths: Sequence[Path], top: int = 5) -> Iterator[FileAnswer]:
    """Answers in the given order; pictures are decoded outside this process, at full size, as for training and the parity gate."""
    for path, answer in predictor.predict_files(paths, top):
        yield FileAnswer(path, None, answer.message) if isinstance(answer, ImageError) else FileAnswer(path, answer)
