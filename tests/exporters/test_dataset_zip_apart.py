"""The zip of a run's pictures carries test pictures and pictures of something else, in folders of their own."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_run import CLASSES, write_run

from blocklora.errors import ProjectError
from blocklora.files import read_json, write_json
from blocklora.jobs.run_folder import RunFolder
from blocklora.projects.folders import read_class_folders, read_loose
from exporters.dataset_zip import write_dataset_zip


def quiet(stage: str, fraction: float) -> None:
    pass


def noise(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    made = write_run(tmp_path)
    for number, name in enumerate(CLASSES):
        noise(tmp_path / "tests" / name / "0.png", 100 + number)
    for number in range(2):
        noise(tmp_path / "none" / f"{number}.png", 200 + number)
    values = read_json(made.dataset_path)
    others, _ = read_loose(tmp_path / "none", tmp_path / "work")
    values["dataset"]["others"] = [vars(item) for item in others]
    values["test"] = read_class_folders(tmp_path / "tests")[0].to_dict()
    write_json(made.dataset_path, values)
    return made


def test_both_travel_apart(run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "none" / "1.png").unlink()  # deleted since
    write_dataset_zip(run, tmp_path / "out.zip", quiet)
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        names = set(archive.namelist())
        rows = list(csv.DictReader(io.StringIO(archive.read("dataset.csv").decode("utf-8-sig"))))
        readme = archive.read("README.md").decode()
        missing = archive.read("left-out.csv").decode()
    assert {"test/apple/0.png", "test/pear/0.png", "something-else/0.png", "train/pear/2.png"} <= names
    by_split = {split: [row for row in rows if row["split"] == split] for split in ("train", "held-out", "test", "something-else")}
    assert [len(part) for part in by_split.values()] == [6, 6, 3, 1]
    assert by_split["something-else"][0]["class"] == "" and "something-else" in missing
    assert "3 test pictures" in readme and "1 pictures of none of the classes" in readme and "would mix them" in readme


def test_test_pictures_of_other_classes_are_refused(run: RunFolder, tmp_path: Path) -> None:
    values = read_json(run.dataset_path)
    values["test"] = {"class_names": ["x"], "class_ids": ["x"], "items": []}
    write_json(run.dataset_path, values)
    with pytest.raises(ProjectError, match="other classes"):
        write_dataset_zip(run, tmp_path / "out.zip", quiet)
