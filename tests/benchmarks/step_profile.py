"""Where the time of a step goes, by kind of operation: used by `step_time.py --profile`."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

# By the name of the operator whose own time it is, the first that fits.
KINDS = {
    "matrix products": ("mm", "linear", "matmul", "convolution", "mkldnn", "onednn"),
    "softmax": ("softmax",),
    "normalisation": ("layer_norm", "norm"),
    "activation": ("gelu", "sigmoid", "relu", "silu", "tanh"),
    "dropout": ("dropout", "bernoulli", "native_dropout", "rand"),
    "copies and casts": ("copy_", "to_copy", "contiguous", "clone", "cat", "stack", "index", "select", "embedding", "fill", "zero_"),
    "sums and products of elements": ("add", "mul", "div", "sub", "sum", "mean", "pow", "sqrt", "lerp", "addc"),
}


def kind_of(name: str) -> str:
    """The kind of an operator such as "aten::addmm"."""
    short = name.removeprefix("aten::").lower()
    return next((kind for kind, parts in KINDS.items() if any(part in short for part in parts)), "everything else")


def profile(step: Callable[[], None], rounds: int = 3) -> dict[str, float]:
    """Share of each kind of operation (0..1) in the time that operators took themselves, in `rounds` steps."""
    step()
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler otherwise tells the terminal of its own doings
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as found:
        for _ in range(rounds):
            step()
    times: dict[str, float] = {}
    for event in found.key_averages():
        times[kind_of(event.key)] = times.get(kind_of(event.key), 0.0) + event.self_cpu_time_total
    total = sum(times.values())
    return {kind: value / total for kind, value in sorted(times.items(), key=lambda row: -row[1])}


def table(shares: dict[str, dict[str, float]]) -> str:
    """A Markdown table: a row for each kind, a column for each profiled step."""
    kinds = sorted({kind for found in shares.values() for kind in found}, key=lambda kind: -max(f.get(kind, 0) for f in shares.values()))
    lines = ["| share of the time | " + " | ".join(shares) + " |", "| --- " * (len(shares) + 1) + "|"]
    lines += [f"| {kind} | " + " | ".join(f"{found.get(kind, 0):.0%}" for found in shares.values()) + " |" for kind in kinds]
    return "\n".join(lines)
