"""The labelled pictures of a run with their split, as a zip of class folders that any program reads, this one too.

Bytes are the originals'. A picture that has been deleted or changed since the training is left out, and said to be: whatever a run's
own list names, only files whose content is the very one that was trained on travel. One picture is read at a time, in pieces.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blocklora.errors import ExportError, ProjectError
from blocklora.files import read_json, sha256_file
from blocklora.jobs.run_folder import RunFolder
from blocklora.projects.dataset import Dataset, Item
from blocklora.projects.formats import HEAD, sniff
from blocklora.projects.safe_names import folder_names
from blocklora.services.tables import to_csv
from exporters.file_names import file_name
from exporters.workplace import sweep
from exporters.zip_file import README, Progress, ZipWriter, new_zip

TRAIN, HELD_OUT, TEST, OTHERS = "train", "held-out", "test", "something-else"
TABLE, LABELS, LEFT_OUT = "dataset.csv", "labels.json", "left-out.csv"
STEPS = 100  # how often progress is told


@dataclass(frozen=True)
class _Pictures:
    """A run's pictures: what they are, the indices of each part of the split, and the pictures that were not trained on."""

    dataset: Dataset
    parts: dict[str, list[int]]
    apart: dict[str, tuple[Item, ...]]

    @property
    def total(self) -> int:
        return sum(map(len, self.parts.values())) + sum(map(len, self.apart.values()))

    def __iter__(self) -> Iterator[tuple[str, Item]]:
        """Part and picture, class by class: an import then meets the classes in their order."""
        for part, indices in self.parts.items():
            for index in sorted(indices, key=lambda i: (self.dataset.items[i].label, i)):
                yield part, self.dataset.items[index]
        for part, items in self.apart.items():
            yield from ((part, item) for item in sorted(items, key=lambda item: item.label))


@dataclass
class _Written:
    """Rows of the two tables, and the names that are taken in each class."""

    rows: list[tuple[str, str, str, str]] = field(default_factory=list)
    left_out: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    taken: dict[tuple[bool, int], set[str]] = field(default_factory=dict)


def write_dataset_zip(run: RunFolder, target: Path, progress: Progress) -> None:
    """Write the zip at `target`, whole or not at all.

    Raises:
        ExportError: the run has no list of pictures, none of them is there any more, or `target` cannot be written.
        ProjectError: the list is damaged.
    """
    pictures = _read(run)
    folders = list(folder_names(pictures.dataset.class_names).values())
    written = _Written()
    sweep(run.export_dir)
    with new_zip(target) as archive:
        for number, (part, item) in enumerate(pictures):
            if number % max(1, pictures.total // STEPS) == 0:
                progress("Packing the pictures", 0.02 + 0.95 * number / pictures.total)
            _add(archive, pictures.dataset, folders, part, item, written)
        if not written.rows:
            raise ExportError(
                f"none of the {pictures.total} pictures of this run is there any more as it was.", "Put them back, or train a new run."
            )
        archive.data(TABLE, to_csv(("file", "class", "split", "sha256"), written.rows))
        if written.left_out:
            archive.data(LEFT_OUT, to_csv(("name", "class", "split", "sha256", "reason"), written.left_out))
        archive.text(LABELS, json.dumps({"classes": _labels(pictures.dataset, folders)}, ensure_ascii=False, indent=1) + "\n")
        archive.text(README, _readme(pictures, written))


def _read(run: RunFolder) -> _Pictures:
    values = read_json(run.dataset_path)
    if not isinstance(values, dict):
        raise ExportError("the run has no dataset.json, so its pictures are not known.", "Start a new run.")
    dataset = Dataset.from_dict(values.get("dataset", {}))
    tests = None if values.get("test") is None else Dataset.from_dict(values["test"])
    if tests is not None and len(tests.class_names) != len(dataset.class_names):
        raise ProjectError("This run's test pictures are of other classes.", "Start a new run from the project.")
    project = run.path.resolve().parents[1]  # <project>/runs/<run>: the project may have been moved or copied
    if not all(Path(item.path).is_file() for item in (*dataset.items, *dataset.others)):
        dataset = dataset.located(project)
    if tests is not None and not all(Path(item.path).is_file() for item in tests.items):
        tests = tests.located(project)
    parts = {TRAIN: values.get("train"), HELD_OUT: values.get("held_out")}
    for indices in parts.values():
        known = isinstance(indices, list) and all(type(i) is int and 0 <= i < len(dataset.items) for i in indices)
        if not known:
            raise ProjectError("This run's split names pictures that it does not have.", "Start a new run from the project.")
    apart = {TEST: () if tests is None else tests.items, OTHERS: dataset.others}
    return _Pictures(dataset, {part: list(indices or ()) for part, indices in parts.items()}, apart)


def _add(archive: ZipWriter, dataset: Dataset, folders: list[str], part: str, item: Item, written: _Written) -> None:
    path, label = Path(item.path), "" if part == OTHERS else dataset.class_names[item.label]
    kind, reason = _kind(path, item.sha256)
    if not kind:
        written.left_out.append((path.name, label, part, item.sha256, reason))
        return
    folder = part if part == OTHERS else f"{part}/{folders[item.label]}"
    name = f"{folder}/{file_name(path.name, kind, written.taken.setdefault((part == TEST, item.label), set()))}"
    archive.file(name, path)
    written.rows.append((name, label, part, item.sha256))


def _kind(path: Path, sha256: str) -> tuple[str, str]:
    """The format of the picture at `path`, where it is the one with this content; else '' and why it is left out."""
    try:
        if not path.is_file():
            return "", "deleted since the training"
        if sha256_file(path) != sha256:
            return "", "changed since the training"
        with path.open("rb") as stream:
            kind = sniff(stream.read(HEAD))
    except OSError as error:
        return "", f"cannot be read ({error.strerror or 'unknown error'})"
    return (kind, "") if kind else ("", "no picture of a kind that is read")


def _labels(dataset: Dataset, folders: list[str]) -> list[dict[str, Any]]:
    parts = zip(folders, dataset.class_names, dataset.class_ids, strict=True)
    return [{"folder": folder, "name": name, "id": identity} for folder, name, identity in parts]


def _readme(pictures: _Pictures, written: _Written) -> str:
    count = {part: sum(row[2] == part for row in written.rows) for part in (TRAIN, HELD_OUT, TEST, OTHERS)}
    apart = ""
    if count[TEST]:
        apart += f"- `{TEST}/<class>/`: {count[TEST]} test pictures, given to measure with and never trained on.\n"
    if count[OTHERS]:
        apart += f"- `{OTHERS}/`: {count[OTHERS]} pictures of none of the classes; in the table their class is empty.\n"
    whole = "or this zip as it is (then the held-out pictures come too): each folder is\na class."
    if apart:
        whole = f"and `{TEST}` through *Test pictures*: each folder is a class.\nThis zip as it is would mix them."
    missing = ""
    if written.left_out:
        missing = f"\n{len(written.left_out)} of the {pictures.total} pictures are left out: `{LEFT_OUT}` says which, and why.\n"
    return f"""# Labelled pictures of a training run

Made with Block-LoRA Studio: {count[TRAIN]} pictures that a run was trained on and {count[HELD_OUT]} that were held out to measure it,
in {len(pictures.dataset.class_names)} classes. The files are the originals, byte for byte.
{missing}
- `{TRAIN}/<class>/`, `{HELD_OUT}/<class>/`: the pictures. Characters that a system forbids in file names stand as their full-width twins
  (a slash as ／), and very long names are cut.
{apart}- `{LABELS}`: the true name of every folder's class, in the order of the model's labels.
- `{TABLE}`: file, class, split and SHA-256 of every picture. It is safe to open in a spreadsheet: a text that one would take for
  a formula has an apostrophe before it.

In this folder:

```python
import json
from pathlib import Path

classes = json.loads(Path("{LABELS}").read_text(encoding="utf-8"))["classes"]
train = [(path, entry["name"]) for entry in classes for path in sorted(Path("{TRAIN}", entry["folder"]).glob("*"))]
held_out = [(path, entry["name"]) for entry in classes for path in sorted(Path("{HELD_OUT}", entry["folder"]).glob("*"))]
```

Block-LoRA Studio imports the folder `{TRAIN}`, a zip of it, {whole}
"""
