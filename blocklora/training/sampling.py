"""Which images a step sees, as a function of the seed and the step alone: a resumed run needs no random state to be saved."""

from __future__ import annotations

import torch


def generator_of(seed: int, stream: int, index: int) -> torch.Generator:
    """A generator for one purpose (`stream`) and one position (`index`) of a run."""
    generator = torch.Generator()
    # The generator keeps 32 bits of it, in which one purpose is another one's fifteenth position further on; they draw different things.
    generator.manual_seed((seed * 1_000_003 + stream) * 4_294_967_311 + index & (2**63 - 1))
    return generator


ORDER, PIXELS = 1, 2


def batch_positions(count: int, batch_size: int, step: int, seed: int) -> list[tuple[int, int]]:
    """The images of a step, each as (how often it was seen before, its index).

    Consecutive pieces of endless shuffles of all `count` images, so each is seen equally often.
    """
    first, last = step * batch_size, (step + 1) * batch_size
    chosen: list[tuple[int, int]] = []
    for epoch in range(first // count, (last - 1) // count + 1):
        order = torch.randperm(count, generator=generator_of(seed, ORDER, epoch)).tolist()
        start = epoch * count
        chosen.extend((epoch, index) for index in order[max(first - start, 0) : min(last - start, count)])
    return chosen
