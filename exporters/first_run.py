"""Runs an inspected file for the first time: `python -m exporters.first_run MEMORY FILE CLASSES DIMENSIONS BATCH...`.

In a process of its own, because a graph that is built as it should may still ask onnxruntime for any amount of memory or time, or
crash it. A line of JSON follows each batch that was answered well: {"answered": pictures}; {"error": ...} says why the first was not.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blocklora.projects.confine import confine

SIDE = (48, 64)  # pixels of the pictures; what follows the preprocessing is of one size whatever they are
LONGEST = 20.0  # seconds: a larger batch is not tried where it can be expected to take longer


def problem(outputs: Sequence[Any], widths: tuple[int, int], batch: int) -> str:
    """What is wrong with probabilities, embedding and (where there is a rule) known for `batch` pictures; '' where nothing is."""
    import numpy as np

    for values in outputs[2:]:
        if not isinstance(values, np.ndarray) or values.dtype != np.bool_ or values.shape != (batch,):
            return f"what it gives as known is not a yes or no for each of {batch} pictures"
    for name, values, width in zip(("probabilities", "embedding"), outputs[:2], widths, strict=True):
        if not isinstance(values, np.ndarray) or values.dtype != np.float32 or values.shape != (batch, width):
            found = f"{values.dtype} of shape {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
            return f"its {name} for {batch} pictures are {found}, not float32 of shape {(batch, width)}"
        if not np.isfinite(values).all():
            return f"its {name} hold values that are not numbers"
    if outputs[0].min() < -1e-3 or np.abs(outputs[0].sum(axis=1) - 1.0).max() > 0.01:
        return "what it gives as probabilities does not add up to 1"
    return ""


def run(path: Path, widths: tuple[int, int], batches: Sequence[int]) -> str:
    """Answer each batch in turn and say so; why the first could not be answered, else ''."""
    import numpy as np

    from exporters.predictor import make_session

    # Two threads, as many as the smallest machine has: each takes address space, which is what is limited.
    session = make_session(path, threads=2, providers=["CPUExecutionProvider"])
    pictures = np.random.default_rng(0).integers(0, 256, (max(batches), *SIDE, 3), dtype=np.uint8)
    each = 0.0
    for batch in batches:
        if each * batch > LONGEST:
            return ""
        start = time.perf_counter()
        outputs = session.run(None, {"images": pictures[:batch]})
        each = (time.perf_counter() - start) / batch
        wrong = problem(outputs, widths, batch)
        if wrong:
            return wrong
        print(json.dumps({"answered": batch}), flush=True)
    return ""


def main(arguments: list[str]) -> int:
    memory, path, classes, dimensions, *batches = arguments
    confine(int(memory))
    try:
        wrong = run(Path(path), (int(classes), int(dimensions)), [int(batch) for batch in batches])
    except MemoryError:
        wrong = "it takes more memory than is allowed"
    except Exception as error:  # onnxruntime's own classes share no base but Exception
        words = str(error)
        short = any(sign in words for sign in ("allocate memory", "bad_alloc", "bad allocation"))
        wrong = "it takes more memory than is allowed" if short else f"onnxruntime says: {words[:300]}"
    if wrong:
        print(json.dumps({"error": wrong}), flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
