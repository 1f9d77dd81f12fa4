"""Labelled sets for few-shot experiments: pictures to draw shots from, pictures to test on, names and a prompt.

Two layouts are read: class folders, `<set>/train/<class>/...` and `<set>/test/<class>/...` with prompts in a `bench.json` beside the
sets; and the eleven benchmark sets as CoOp's users keep them (`blocklora.experiments.coop`). Pictures are listed here, and decoded only
when they are needed: of some of these sets there are hundreds of thousands.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blocklora.config import DEFAULT_TEMPLATE
from blocklora.errors import ImportRefused
from blocklora.files import read_json
from blocklora.projects.dataset import Dataset, Item

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


@dataclass(frozen=True)
class LabelledSet:
    """A set with its two parts, which have the same classes in the same order, and the prompt of its class names."""

    name: str
    train: Dataset
    test: Dataset
    template: str = DEFAULT_TEMPLATE

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.train.class_names


def few(dataset: Dataset, shots: int, seed: int) -> Dataset:
    """`shots` pictures a class: their names sorted, shuffled with `random.Random(seed)`, the first ones. Fewer shots of a seed are among
    its more shots.

    Raises:
        ImportRefused: a class has no picture.
    """
    classes: list[list[Any]] = [[] for _ in dataset.class_names]
    for item in dataset.items:
        classes[item.label].append(item)
    empty = [name for name, items in zip(dataset.class_names, classes, strict=True) if not items]
    if empty:
        raise ImportRefused(f"There is no training picture of: {', '.join(empty[:5])}.", "Add pictures of every class.")
    chosen: list[Any] = []
    for items in classes:
        items.sort(key=lambda item: Path(item.path).name)
        random.Random(seed).shuffle(items)
        chosen += items[:shots]
    return dataclasses.replace(dataset, items=tuple(chosen))


def dataset_of(names: Sequence[str], pictures: Sequence[tuple[Path, int]]) -> Dataset:
    """A dataset of (file, label) pairs; what only a project needs of its pictures is left empty."""
    items = tuple(Item(str(path), label, "", "", str(path)) for path, label in pictures)
    return Dataset(tuple(names), tuple(names), items)


def class_folder_set(folder: Path) -> LabelledSet:
    """`<folder>/train/<class>/` and `<folder>/test/<class>/`; the prompt is that of `bench.json` beside the folder, where it has one.

    Raises:
        ImportRefused: a class is in one part only, or there are no pictures.
    """
    parts = {part: _classes(folder / part) for part in ("train", "test")}
    names = sorted(parts["train"])
    apart = sorted(set(parts["train"]) ^ set(parts["test"]))
    if not names or apart:
        found = f"{', '.join(apart[:5])} only in one of train and test" if apart else "no class folders with pictures"
        raise ImportRefused(f"{folder.name} has {found}.", f"Put pictures into {folder}/train/<class> and {folder}/test/<class>.")
    pictures = {part: [(path, names.index(name)) for name in names for path in parts[part][name]] for part in parts}
    return LabelledSet(folder.name, dataset_of(names, pictures["train"]), dataset_of(names, pictures["test"]), _template(folder))


def _classes(folder: Path) -> dict[str, list[Path]]:
    """The pictures of each class folder, sorted; folders without pictures are no classes."""
    found = {}
    for place in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        pictures = sorted(path for path in place.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
        if pictures:
            found[place.name] = pictures
    return found


def _template(folder: Path) -> str:
    """The prompt template of a set.

    Raises:
        ImportRefused: `bench.json` cannot be read, or what it gives is not a template.
    """
    path = folder.parent / "bench.json"
    try:
        values = read_json(path, {})
        template = values.get("sets", {}).get(folder.name, {}).get("prompt_template", DEFAULT_TEMPLATE)
        if not isinstance(template, str) or template.count("{}") != 1:
            raise ValueError(f"prompt_template of {folder.name} is {template!r}")
    except (ValueError, AttributeError, RecursionError) as error:
        raise ImportRefused(
            f"{path} is damaged: {error}.", 'It holds {"sets": {NAME: {"prompt_template": "a photo of a {}."}}}.'
        ) from error
    return template
