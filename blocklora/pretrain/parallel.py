"""One batch in pieces, on as many threads as there are cores.

The usual way, every operation split over the threads, makes all of them wait for the slowest several hundred times a
step, which is worst on a machine that does other work too. Here each thread takes the next piece of the batch through
the whole network and back, and they meet once a step. How much that gains has not been measured at equal load.
"""

from __future__ import annotations

import copy
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar, cast

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)
P = TypeVar("P")
R = TypeVar("R")


def shared_copy(module: M) -> M:
    """A copy with the same weights in memory and gradients of its own."""
    twin = copy.deepcopy(module)
    for mine, theirs in zip(twin.parameters(), module.parameters(), strict=True):
        mine.data = theirs.data
        mine.grad = None
    return twin


class Team(Generic[M]):
    """Threads with a shared copy of `module` each, and the sum of their gradients."""

    def __init__(self, module: M, threads: int) -> None:
        self._module = module
        self._copies = [module] if threads == 1 else [shared_copy(module) for _ in range(threads)]
        # every operation runs on one thread, the caller's as well: OpenMP's threads wait for each other by spinning
        self._pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) if threads > 1 else None
        if self._pool is not None:
            torch.set_num_threads(1)

    def run(self, work: Callable[[M, P], R], pieces: Sequence[P]) -> list[R]:
        """`work(copy, piece)` for every piece, in any order; afterwards the gradients are those of the module itself.

        `work` calls backward on its part of the loss. Returns its results in the order of the pieces.
        """
        if self._pool is None:
            return [work(self._module, piece) for piece in pieces]
        waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        for position in range(len(pieces)):
            waiting.put(position)
        results: list[R | None] = [None] * len(pieces)

        def consume(twin: M) -> None:
            while True:
                try:
                    position = waiting.get_nowait()
                except queue.Empty:
                    return
                results[position] = work(twin, pieces[position])

        list(self._pool.map(consume, self._copies))
        self._share_statistics()
        for parameter, *twins in zip(self._module.parameters(), *(twin.parameters() for twin in self._copies), strict=True):
            for twin in twins:
                if twin.grad is not None:
                    parameter.grad = twin.grad if parameter.grad is None else parameter.grad.add_(twin.grad)
                    twin.grad = None
        return cast("list[R]", results)

    @torch.no_grad()
    def _share_statistics(self) -> None:
        """Running statistics (batch normalisation) of all copies, and the module's, become their mean: each saw other pieces."""
        for own, *buffers in zip(self._module.buffers(), *(twin.buffers() for twin in self._copies), strict=True):
            if buffers[0].is_floating_point():
                mean = torch.stack(buffers).mean(0)
                for buffer in (own, *buffers):
                    buffer.copy_(mean)

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
