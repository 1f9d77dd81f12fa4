"""The pictures of a run: which it learns from, which are held out, and a person's own test pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from blocklora.errors import TrainingError
from blocklora.files import read_json
from blocklora.projects.dataset import Dataset, Item
from blocklora.training.pictures import EvalSet


@dataclass(frozen=True)
class Data:
    """The pictures of a run with their split, as dataset.json holds them; `test` is a folder of the person's own."""

    dataset: Dataset
    train: tuple[int, ...]
    held_out: tuple[int, ...]
    test: Dataset | None
    divided: int = 0
    """Sets of near-identical images that lie on both sides of the split, because a class has too little else."""

    @classmethod
    def read(cls, path: Path) -> Data:
        values = read_json(path)
        if values is None:
            raise TrainingError("the run has no dataset.json.", "Start a new run.")
        test, project = values.get("test"), path.absolute().parent.parent.parent  # <project>/runs/<run>: it may have been moved or copied
        dataset = Dataset.from_dict(values["dataset"])
        if not all(Path(item.path).exists() for item in (*dataset.items, *dataset.others)):
            dataset = dataset.located(project)
        tests = None if test is None else Dataset.from_dict(test)
        if tests is not None and not all(Path(item.path).exists() for item in tests.items):
            tests = tests.located(project)
        return cls(dataset, tuple(values["train"]), tuple(values["held_out"]), tests, values.get("divided", 0))

    @property
    def others(self) -> tuple[Item, ...]:
        """Pictures of none of the classes."""
        return self.dataset.others

    def others_set(self, preprocess: Any) -> EvalSet | None:
        """The pictures of none of the classes; None where there are none."""
        if not self.others:
            return None
        labels = torch.tensor([item.label for item in self.others], dtype=torch.long)
        return EvalSet([Path(item.path) for item in self.others], labels, preprocess)

    def eval_set(self, indices: tuple[int, ...], preprocess: Any) -> EvalSet:
        items = [self.dataset.items[i] for i in indices]
        return EvalSet([Path(item.path) for item in items], torch.tensor([item.label for item in items], dtype=torch.long), preprocess)

    def test_set(self, preprocess: Any) -> EvalSet | None:
        if self.test is None:
            return None
        return EvalSet(
            [Path(item.path) for item in self.test.items], torch.tensor([i.label for i in self.test.items], dtype=torch.long), preprocess
        )
