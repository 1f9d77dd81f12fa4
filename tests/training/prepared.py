"""A run as tests take it apart: its preparation, and generators run to their end."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from blocklora.jobs.run_folder import RunFolder
from blocklora.jobs.spec import RunSpec
from blocklora.training.class_weights import Choice
from blocklora.training.control import Control
from blocklora.training.data import Data
from blocklora.training.device import choose
from blocklora.training.setup import Setup, prepare


def drain(generator: Generator[Any, None, Any]) -> tuple[list[Any], Any]:
    """All items of a generator, and what it returned."""
    items = []
    while True:
        try:
            items.append(next(generator))
        except StopIteration as done:
            return items, done.value


def preparing(run: RunFolder, control: Control | None = None, choice: Choice | None = None) -> Generator[Any, None, Setup]:
    """`prepare` for a run on the CPU in fp32."""
    compute = choose("cpu", "fp32", lambda message: None)
    return prepare(RunSpec.from_dict(run.spec()), Data.read(run.dataset_path), compute, control or Control(), run.path, choice)
