"""The pictures of a run with their split, read without torch: for comparing runs, for reports, and for doing a run again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blocklora.errors import JobError
from blocklora.files import read_json
from blocklora.jobs.run_folder import RunFolder
from blocklora.projects.dataset import Dataset, Item


@dataclass(frozen=True)
class RunData:
    """What dataset.json says: the pictures, which of them (by place) were trained on and held out, and a person's own test pictures."""

    dataset: Dataset
    train: tuple[int, ...]
    held_out: tuple[int, ...]
    test: Dataset | None = None

    def items(self, section: str, rows: Sequence[Mapping[str, Any]]) -> list[Item]:
        """The pictures that a section of the result was measured on, in the order of its rows. Test pictures that looked like training
        pictures have no row: those that are left are known by their ids.
        """
        if section == "test":
            counted = {row.get("image_id") or row.get("path") for row in rows}
            items = [] if self.test is None else list(self.test.items)
            return items if len(items) == len(rows) else [item for item in items if (item.image_id or item.path) in counted]
        if section == "cross_validated":  # every picture, judged by a model that had not seen it
            return list(self.dataset.items)
        return [self.dataset.items[i] for i in self.held_out]

    def counts(self, places: tuple[int, ...]) -> list[int]:
        """How many of these pictures each class has."""
        counts = [0] * len(self.dataset.class_names)
        for place in places:
            counts[self.dataset.items[place].label] += 1
        return counts


def read_run_data(run: RunFolder) -> RunData:
    """The pictures of a run, found again in its project where that was moved.

    Raises:
        JobError: the run has none.
    """
    values = read_json(run.dataset_path)
    if not isinstance(values, dict) or "dataset" not in values:
        raise JobError(f"the run {run.name} has no dataset.json, so nobody knows its pictures.", "Choose another run.")
    test = values.get("test")
    return RunData(
        _where_it_is(Dataset.from_dict(values["dataset"]), run),
        tuple(map(int, values.get("train", ()))),
        tuple(map(int, values.get("held_out", ()))),
        _where_it_is(Dataset.from_dict(test), run) if isinstance(test, dict) else None,
    )


def _where_it_is(dataset: Dataset, run: RunFolder) -> Dataset:
    around = run.path.absolute().parents  # <project>/runs/<run>
    if len(around) < 2 or all(Path(item.path).exists() for item in dataset.items):
        return dataset
    return dataset.located(around[1])


def has(result: Mapping[str, Any], section: str) -> bool:
    """Whether a result says anything in that section."""
    return isinstance(result.get(section), dict) and bool(result[section].get("n"))
