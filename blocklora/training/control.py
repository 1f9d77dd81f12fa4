"""How a person's wish reaches a step in flight: a flag that every layer looks at, forwards and backwards.

A step of a large model on a CPU takes seconds; looking only between steps would make Stop feel broken.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import torch
from torch import nn


class StopRequested(Exception):
    """The person asked to stop and keep the best; raised out of whatever layer was running."""


class Control:
    """A flag set by the worker's watcher thread and read inside the model."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._unheard = False

    def stop(self) -> None:
        self._stop.set()

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    def clear(self) -> None:
        """Let computing go on."""
        self._stop.clear()

    @contextlib.contextmanager
    def unheard(self) -> Iterator[None]:
        """While what is measured is short and has to be done: a wish to stop is heard afterwards."""
        self._unheard = True
        try:
            yield
        finally:
            self._unheard = False

    def check(self) -> None:
        if self._stop.is_set() and not self._unheard:
            raise StopRequested

    def watch(self, model: nn.Module) -> None:
        """Look at the flag whenever a normalisation layer runs (each block of every tower has some), and in its backward pass."""

        def forward(_module: nn.Module, _inputs: object, output: object) -> None:
            self.check()
            if isinstance(output, torch.Tensor) and output.requires_grad:
                output.register_hook(backward)

        def backward(_gradient: torch.Tensor) -> None:
            self.check()

        for module in model.modules():
            if isinstance(module, nn.LayerNorm):
                module.register_forward_hook(forward)
