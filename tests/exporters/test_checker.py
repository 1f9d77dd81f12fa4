"""The data check end to end on constructed features: a planted wrong label, a copy and a stranger are found, and a clean set has none."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_run import write_backbone, write_pictures

from blocklora.projects.dataset import Dataset, Item
from blocklora.projects.intake import accept, plan_folder
from blocklora.projects.project import Project
from blocklora.services.findings import Check
from blocklora.services.previews import PreviewFolder
from blocklora.training.class_weights import Features, closed_form
from exporters.checker import Qualities, check
from exporters.previewer import Previewer

EACH, WIDTH, NAMES = 10, 24, ("apple", "pear", "plum")


def features(draw: np.random.Generator, label: int) -> np.ndarray:
    centre = np.zeros(WIDTH)
    centre[0], centre[1 + label] = 1.0, 1.0
    value = centre + 0.12 * draw.standard_normal(WIDTH)
    return (value / np.linalg.norm(value)).astype(np.float32)


@pytest.fixture
def planted() -> tuple[Dataset, np.ndarray]:
    """Three classes apart from each other, nothing wrong with them; hashes that have nothing in common."""
    draw = np.random.default_rng(0)
    labels = [label for label in range(3) for _ in range(EACH)]
    hashes = [f"{int(value):016x}" for value in draw.integers(0, 2**63, len(labels), dtype=np.uint64)]
    items = tuple(Item(f"/{i}", label, f"{i:064x}", hashes[i], f"i_{i}") for i, label in enumerate(labels))
    return Dataset(NAMES, NAMES, items), np.stack([features(draw, label) for label in labels])


def run(dataset: Dataset, values: np.ndarray) -> Check:
    text = torch.nn.functional.normalize(torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(1)), dim=1)
    _, choice = closed_form(Features(torch.from_numpy(values), torch.tensor([item.label for item in dataset.items])), text, 100.0)
    return check("m", dataset, values, text, choice, 100.0, [None] * len(dataset.items))


def test_a_clean_set_has_nothing(planted: tuple[Dataset, np.ndarray]) -> None:
    found = run(*planted)
    assert (found.doubts, found.alike, found.far, found.poor, found.n) == ((), (), (), (), 30)


def test_a_planted_flip_is_found_with_its_true_class(planted: tuple[Dataset, np.ndarray]) -> None:
    dataset, values = planted
    items = list(dataset.items)
    items[3] = dataclasses.replace(items[3], label=2)
    found = run(dataclasses.replace(dataset, items=tuple(items)), values)
    assert [(doubt.image, doubt.labelled, doubt.likelier) for doubt in found.doubts] == [("i_3", "plum", "apple")]
    assert found.doubts[0].odds > 2.5


def test_a_planted_copy_in_another_class_is_no_witness_for_itself(planted: tuple[Dataset, np.ndarray]) -> None:
    dataset, values = planted
    items = list(dataset.items)
    items[12] = dataclasses.replace(items[12], phash=items[3].phash)
    values = values.copy()
    values[12] = values[3]
    found = run(dataclasses.replace(dataset, items=tuple(items)), values)
    assert found.alike == (("i_3", "i_12"),)
    assert [doubt.image for doubt in found.doubts] == ["i_12"]


def test_a_planted_stranger_is_found(planted: tuple[Dataset, np.ndarray]) -> None:
    dataset, values = planted
    values = values.copy()
    values[5] = np.eye(WIDTH, dtype=np.float32)[-1]
    assert "i_5" in run(dataset, values).far


def test_qualities_are_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (40, 30), (90, 80, 70)).save(tmp_path / "one.png")
    items = [Item(str(tmp_path / "one.png"), 0, "a" * 64, "0" * 16, "i_1"), Item(str(tmp_path / "gone.png"), 0, "b" * 64, "0" * 16, "i_2")]
    first = Qualities(tmp_path / "qualities.json").of(items, {})
    assert first[0] is not None and first[0].short == 30 and first[1] is None
    (tmp_path / "one.png").unlink()
    assert Qualities(tmp_path / "qualities.json").of(items, {}) == first
    (tmp_path / "qualities.json").write_text('{"a": [1]}')
    assert Qualities(tmp_path / "qualities.json").of(items, {}) == [None, None]


def test_the_preview_leaves_the_check_behind(tmp_path: Path) -> None:
    home = tmp_path / "home"
    write_backbone(home)
    project = Project.create(tmp_path / "project", "Fruit", tmp_path / "staging")
    folder = PreviewFolder.of(project.path, "tiny")
    folder.path.mkdir(parents=True)
    accept(project, plan_folder(project, write_pictures(tmp_path / "pictures"), local_mode=True, allowed_roots=[tmp_path]))
    previewer = Previewer(project.path, home, "tiny")
    previewer.make(project, project.mark())
    made = Check.read(folder.check)
    assert made is not None and made.mark == project.mark() and made.n == project.images(None).total and not made.failed
    for info in project.classes()[1:]:
        project.delete_class(info.id)
    previewer.make(project, project.mark())
    assert not folder.check.exists()
