"""What a training step costs with each adapter: configurations in turns, so that whatever else the machine does slows all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from blocklora.experiments.bed import Shots
from blocklora.experiments.protocol import Protocol
from blocklora.experiments.single import ready
from blocklora.experiments.tables import Row
from blocklora.experiments.variants import Variant
from blocklora.training.loop import inputs, one_step
from blocklora.training.memory import kept_bytes
from blocklora.training.setup import Setup


def _seconds(shots: Shots, variant: Variant, protocol: Protocol) -> float:
    """One step, the second of a fresh run: the first makes the optimiser's moments."""
    setup, state = ready(shots, variant, protocol)
    try:
        setup.adapters.train(True)
        one_step(setup, state, 0)
        began = _now(setup.compute.device)
        one_step(setup, state, 1)
        return _now(setup.compute.device) - began
    finally:
        setup.adapters.detach()


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _kept(shots: Shots, variant: Variant, protocol: Protocol) -> int:
    setup, _ = ready(shots, variant, protocol)
    try:
        return kept_in_step(setup)
    finally:
        setup.adapters.detach()


def kept_in_step(setup: Setup) -> int:
    """Bytes that autograd keeps of a whole step's forward pass until its backward pass."""
    batch = [(0, i % len(setup.cache)) for i in range(setup.spec.training.batch_size)]
    pixels, labels = inputs(setup, batch, 0), setup.labels[[i for _, i in batch]].to(setup.compute.device)

    def work() -> torch.Tensor:
        with setup.compute.autocast():
            text, features = setup.step_text(), setup.features(pixels)
        return F.cross_entropy(setup.logits(features, setup.class_weights(None if text is None else text.float())), labels)

    setup.adapters.train(True)
    kept = kept_bytes(work, setup.backbone.model)
    setup.adapters.train(False)
    return kept


def measure(shots: Shots, variants: Sequence[Variant], protocol: Protocol, rounds: int) -> list[Row]:
    """For each variant: median milliseconds of a step with the middle half, the median over the rounds of its ratio to the first variant's
    step of the same round, and megabytes that a step keeps for its backward pass. Every other round goes backwards.
    """
    times: list[list[float]] = [[] for _ in variants]
    _seconds(shots, variants[0], protocol)  # warms caches
    for number in range(rounds):
        order = range(len(variants)) if number % 2 == 0 else range(len(variants) - 1, -1, -1)
        for place in order:
            times[place].append(_seconds(shots, variants[place], protocol))
    found = []
    for variant, values in zip(variants, times, strict=True):
        low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
        ratios = [value / first for value, first in zip(values, times[0], strict=True)]
        found.append(
            {
                **variant.key(),
                "step_ms": round(1000 * middle, 1),
                "step_ms_low": round(1000 * low, 1),
                "step_ms_high": round(1000 * high, 1),
                "step_ratio": round(statistics.median(ratios), 3),
                "step_mb": round(_kept(shots, variant, protocol) / 2**20, 1),
            }
        )
    return found
