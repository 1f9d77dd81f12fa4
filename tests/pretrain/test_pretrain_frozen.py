"""Frozen-feature figures: right on features that are easy, and computed on the right images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_data import COLOURS, TINY_CFG, picture

from blocklora.errors import TrainingError
from blocklora.pretrain.frozen import class_means, evaluate_set, logistic_regression, read_set
from blocklora.pretrain.network import build_model


def make_set(folder: Path) -> Path:
    for part, numbers in (("train", range(8)), ("test", range(50, 56))):
        for class_id in COLOURS:
            home = folder / part / class_id
            home.mkdir(parents=True)
            for number in numbers:
                (home / f"{number:02d}.png").write_bytes(picture(class_id, number, size=(30, 20)))
    return folder


def test_both_heads_separate_what_is_separable() -> None:
    torch.manual_seed(0)
    centres = torch.eye(3, 8)
    labels = torch.arange(3).repeat(8)
    train = torch.nn.functional.normalize(centres[labels] + 0.05 * torch.randn(24, 8), dim=-1)
    test = torch.nn.functional.normalize(centres[labels] + 0.05 * torch.randn(24, 8), dim=-1)
    assert torch.equal(class_means(train, labels, test), labels)
    assert torch.equal(logistic_regression(train, labels, test, seed=1), labels)


def test_a_set_is_evaluated_at_each_number_of_shots(tmp_path: Path) -> None:
    torch.manual_seed(0)
    results = evaluate_set(build_model(TINY_CFG).eval().visual, make_set(tmp_path / "set"), [1, 4])
    assert set(results) == {1, 4}
    assert all(0 <= figure <= 100 for pair in results.values() for figure in pair)
    assert results[4][1] > 60  # colours are visible even to random weights


def test_a_folder_that_is_no_set_is_explained(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="holds 0 classes"):
        read_set(tmp_path, "train")
