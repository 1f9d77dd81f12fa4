"""The smaller variants of a run's published file, each gated against the fp32 file and measured beside it.

The gate here asks whether people would notice: small shifts of probabilities are the price of the format, another answer is not.
A variant that loses more than a point of accuracy is published with a mark, so that nobody takes it unawares.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from blocklora.errors import ExportError, ParityError
from blocklora.files import publish, sha256_file, write_json
from blocklora.jobs.run_folder import RunFolder
from exporters import parity, quantize
from exporters.apart import PROJECT_ROOT
from exporters.model_file import SECONDS
from exporters.parity import Answer, Familiar, ParityReport, Picture, Pictures, Reference, Tolerance
from exporters.predictor import OnnxClassifier

PRECISIONS = ("fp16", "int8")
TOLERANCES = {
    "fp16": Tolerance(probability=0.02, cosine=1e-3, disagreements=0.02),
    "int8": Tolerance(probability=1.0, cosine=0.1, disagreements=0.1),
}
MARKED_DROP = 0.01
CALIBRATION_PICTURES = 32
TURNS, TIMED_RUNS, UNTIMED_RUNS = 3, 5, 3

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Variant:
    """A gated variant. `correct` and `agreement` count pictures of `images`; times are medians at batch 1, fp32's taken in turn.

    `marked` says that it is right on more than a point less than the fp32 file, so it must never be the one people get unasked.
    """

    precision: str
    method: str
    file: str
    size: int
    sha256: str
    milliseconds: float
    fp32_milliseconds: float
    images: int
    correct: int
    fp32_correct: int
    agreement: int
    marked: bool
    created: str


def make_variants(run: RunFolder, pictures: Pictures, progress: Progress) -> list[dict[str, Any]]:
    """Make, gate, measure and publish every variant of the run's published file; returns what export/variants.json then holds.

    A variant that the gate refuses is not published; its entry has a `refused` reason instead.

    Raises:
        ExportError: the run has no published file.
    """
    if not run.onnx_path.is_file():
        raise ExportError("this run has no exported file yet.", "Export it first.")
    full = OnnxClassifier(run.onnx_path, cpu_only=True)
    progress("Asking the fp32 file", 0.05)
    expected = parity.reference(lambda pixels: _ask(full, pixels), pictures)
    labels = [picture.label for picture in pictures()]
    fp32_correct = sum(int(a.probabilities.argmax()) == label for a, label in zip(expected.answers, labels, strict=True))
    entries: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=run.path, prefix=".export-") as folder:
        for number, precision in enumerate(PRECISIONS):
            progress(f"Making {precision}", 0.1 + 0.9 * number / len(PRECISIONS))
            try:
                way = _best(precision, full, expected, pictures, Path(folder))
            except ParityError as error:
                entries.append({"precision": precision, "refused": error.message})
                (run.export_dir / _name(precision)).unlink(missing_ok=True)
                continue
            entries.append(asdict(_describe(precision, way, fp32_correct)))
            publish(way.path, run.export_dir / _name(precision))
    write_json(run.export_dir / "variants.json", entries)
    return entries


def _describe(precision: str, way: _Way, fp32_correct: int) -> Variant:
    report = way.report
    return Variant(
        precision=precision,
        method=way.method,
        file=_name(precision),
        size=way.path.stat().st_size,
        sha256=sha256_file(way.path),
        milliseconds=way.milliseconds,
        fp32_milliseconds=way.fp32_milliseconds,
        images=report.images,
        correct=report.correct,
        fp32_correct=fp32_correct,
        agreement=report.batches[0].same_top1,
        marked=(fp32_correct - report.correct) / report.images > MARKED_DROP,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )


@dataclass(frozen=True)
class _Way:
    """A converted file that passed the gate, with its own and fp32's milliseconds."""

    method: str
    path: Path
    report: ParityReport
    milliseconds: float
    fp32_milliseconds: float


def _best(precision: str, full: OnnxClassifier, expected: Reference, pictures: Pictures, folder: Path) -> _Way:
    """Of the ways to make a precision that pass the gate: the quickest of those within a point of the most accurate.

    Raises:
        ParityError: none passes; the last reason.
    """
    passed: list[_Way] = []
    refused: ParityError | None = None
    for method, make in _methods(precision, pictures).items():
        made = folder / f"{precision}-{method}.onnx"
        make(full.path, made)
        try:
            _try_apart(made)
            model = OnnxClassifier(made, cpu_only=True)
            report = parity.gate(model.predict, expected, pictures, TOLERANCES[precision])
        except ParityError as error:
            refused = error
            continue
        passed.append(_Way(method, made, report, *_times(model, full, expected.on_canvas[0][0])))
    if not passed:
        assert refused is not None
        raise refused
    return _choose(passed)


def _choose(ways: list[_Way]) -> _Way:
    most = max(way.report.correct for way in ways)
    near = [way for way in ways if (most - way.report.correct) / way.report.images <= MARKED_DROP]
    return min(near, key=lambda way: way.milliseconds / way.fp32_milliseconds)


def _try_apart(path: Path) -> None:
    """Open and run a converted file in a process of its own first: onnxruntime has crashed on half-precision graphs, not only refused them.

    Raises:
        ParityError: it does not run.
    """
    program = "import sys; from pathlib import Path; from exporters.predictor import OnnxClassifier as M; import numpy as n;"
    program += "M(Path(sys.argv[1]), 1, True).predict([n.zeros((64, 64, 3), n.uint8)])"
    done = subprocess.run([sys.executable, "-c", program, str(path)], cwd=PROJECT_ROOT, capture_output=True, check=False, timeout=SECONDS)
    if done.returncode:
        raise ParityError(f"onnxruntime cannot run this form of the model on this machine (it ended with {done.returncode}).")


def _methods(precision: str, pictures: Pictures) -> dict[str, Callable[[Path, Path], None]]:
    if precision == "fp16":
        return {"cast": quantize.to_fp16}

    def static(source: Path, target: Path) -> None:
        quantize.to_int8_static(source, target, _first(pictures))

    return {"dynamic": quantize.to_int8_dynamic, "static": static}


def _first(pictures: Callable[[], Any]) -> Iterator[np.ndarray]:
    """Pixels of the first pictures, for calibration."""
    picture: Picture
    for picture in islice(pictures(), CALIBRATION_PICTURES):
        yield picture.pixels


def _ask(model: OnnxClassifier, pixels: np.ndarray) -> Answer:
    (found,) = model.predict([pixels])
    return Answer(found.probabilities, found.embedding, None if found.known is None else Familiar(found.known))


def _times(variant: OnnxClassifier, full: OnnxClassifier, picture: Picture) -> tuple[float, float]:
    """Median milliseconds of both at batch 1, in turns so that whatever else the machine does hits both.

    A turn is a few runs: the threads of the session before go on waiting awake for a while, and would slow the first ones.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(TURNS):
        for model, kept in zip((variant, full), times, strict=True):
            runs = [model.predict([picture.pixels])[0].milliseconds for _ in range(UNTIMED_RUNS + TIMED_RUNS)]
            kept.extend(runs[UNTIMED_RUNS:])
    return round(median(times[0]), 2), round(median(times[1]), 2)


def _name(precision: str) -> str:
    return f"model-{precision}.onnx"
