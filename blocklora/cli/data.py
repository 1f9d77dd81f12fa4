"""DATA on the command line: a folder of class folders, a zip of them, or a project."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from blocklora.errors import ProjectError
from blocklora.projects.dataset import Dataset, Item
from blocklora.projects.folders import read_class_folders, read_zip
from blocklora.projects.sources import Skipped
from blocklora.services.studio import Studio


def read_data(studio: Studio, data: str, work_dir: Path, keep_duplicates: bool = False) -> tuple[Dataset, list[Skipped]]:
    """The pictures that DATA means, and the files that were left out; `keep_duplicates` counts every file, as a test set should.

    Raises:
        ProjectError: DATA is neither a folder, a zip nor a project.
    """
    path = Path(data).expanduser()
    if path.is_file() and path.suffix.lower() == ".zip":
        return read_zip(path, work_dir / "data", keep_duplicates=keep_duplicates)
    project = _project_of(studio, data)
    if project is not None:
        return studio.library.open(project).dataset(), []
    if path.is_dir():
        return read_class_folders(path, keep_duplicates=keep_duplicates)
    raise ProjectError(
        f"{data} is not a folder, a zip or a project.",
        "Name a folder with one folder of pictures a class, or see `python -m blocklora projects`.",
    )


def test_pictures_of(studio: Studio, data: str) -> Dataset | None:
    """The test pictures that DATA has of its own: those of a project; None for a folder or a zip, and where it has none."""
    project = _project_of(studio, data)
    return None if project is None else studio.library.open(project).test_dataset()


def _project_of(studio: Studio, data: str) -> str | None:
    """The id of the project that DATA means: by its id, its name or its folder; None where it means none.

    Raises:
        ProjectError: it is the name of a project and a folder here.
    """
    path = Path(data).expanduser()
    for info in studio.library.list():
        own = path.is_dir() and path.resolve() == Path(info.path).resolve()
        if own or data in (info.id, info.name):
            if path.is_dir() and not own:
                raise ProjectError(
                    f"{data} is a folder here and a project, too.",
                    f"Write .{os.sep}{data} for the folder, or {info.path} for the project.",
                )
            return info.id
    return None


def with_others(dataset: Dataset, others: tuple[Item, ...], known: Dataset | None) -> tuple[Dataset, list[str]]:
    """`dataset` with pictures of none of its classes, and the paths of those that are left out: they are in a class, or test one.

    Raises:
        ProjectError: nothing is left.
    """
    hashes = {item.sha256 for part in (dataset, known) if part is not None for item in part.items}
    left_out = [item.path for item in others if item.sha256 in hashes]
    if len(left_out) == len(others):
        raise ProjectError("every picture given with --others is in a class, too.", "Give pictures of none of the classes.")
    kept = {item.sha256: item for item in (*dataset.others, *others) if item.sha256 not in hashes}
    return dataclasses.replace(dataset, others=tuple(kept.values())), left_out


def with_labels_of(test: Dataset, names: tuple[str, ...]) -> Dataset:
    """A test set with the label numbers of the training classes.

    Raises:
        ProjectError: it has a class that was not trained.
    """
    unknown = sorted(set(test.class_names) - set(names))
    if unknown:
        raise ProjectError(
            f"the test folder has classes that training does not: {', '.join(unknown)}.", f"Trained classes: {', '.join(names)}."
        )
    place = {name: i for i, name in enumerate(names)}
    items = tuple(dataclasses.replace(item, label=place[test.class_names[item.label]]) for item in test.items)
    return dataclasses.replace(test, class_names=names, class_ids=tuple(names), items=items)


def without_known(test: Dataset, dataset: Dataset) -> tuple[Dataset, list[str]]:
    """The test set without the pictures (by content) that are in `dataset` too, and the paths of those: they would test memory.

    Raises:
        ProjectError: nothing is left.
    """
    hashes = {item.sha256 for item in dataset.items}
    known = [item.path for item in test.items if item.sha256 in hashes]
    if len(known) == len(test.items):
        raise ProjectError("every picture of the test folder is in the training data too.", "Give pictures that are not trained on.")
    return dataclasses.replace(test, items=tuple(item for item in test.items if item.sha256 not in hashes)), known
