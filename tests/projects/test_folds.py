"""Folds: every image once, classes spread, near-identical images together, every class left something to learn from."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest

from blocklora.projects.dataset import Dataset, Item
from blocklora.projects.folds import folds, how_many
from blocklora.projects.splits import split


def dataset_of(counts: list[int], hashes: dict[int, str] | None = None) -> Dataset:
    """Images whose perceptual hashes are far apart, unless `hashes` says otherwise."""
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    items = []
    for i, label in enumerate(labels):
        sha = hashlib.sha256(str(i).encode()).hexdigest()
        items.append(Item(f"{i}.png", label, sha, (hashes or {}).get(i, sha[:16]), str(i)))
    names = tuple(f"class {label}" for label in range(len(counts)))
    return Dataset(names, names, tuple(items))


@pytest.mark.parametrize("counts", [[12, 12, 12], [16, 3, 40], [5, 5], [2, 2], [3, 2, 9], [2, 30]])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.4])
def test_every_image_is_in_one_fold_and_every_class_can_be_learned(counts: list[int], share: float) -> None:
    dataset = dataset_of(counts)
    parts = split(dataset, share, 1)
    made = folds(dataset, parts.held_out, how_many(dataset, parts.held_out), 1)
    assert sorted(i for part in made for i in part) == list(range(sum(counts)))
    assert 2 <= len(made) <= 5 and (not parts.held_out or made[0] == parts.held_out)
    for part in made:
        left = Counter(item.label for i, item in enumerate(dataset.items) if i not in part)
        assert all(left[label] for label in range(len(counts)))


def test_classes_are_spread_evenly() -> None:
    dataset = dataset_of([20, 10])
    made = folds(dataset, (), 5, 3)
    assert [Counter(dataset.items[i].label for i in part) for part in made] == [Counter({0: 4, 1: 2})] * 5
    assert made != folds(dataset, (), 5, 4)


def test_near_identical_images_are_in_one_fold() -> None:
    near = dict.fromkeys((1, 4, 7), "00ff00ff00ff00ff")
    dataset = dataset_of([10, 10], near)
    for seed in range(5):
        made = folds(dataset, (), 5, seed)
        assert sum({1, 4, 7} <= set(part) for part in made) == 1
    everything = dataset_of([4, 4], dict.fromkeys(range(4), "00ff00ff00ff00ff"))  # the first class is one picture four times
    assert all(set(part) != {0, 1, 2, 3} and not {0, 1, 2, 3} <= set(part) for part in folds(everything, (), 2, 1))


def test_the_number_follows_the_held_out_share() -> None:
    dataset = dataset_of([20, 20])
    assert how_many(dataset, tuple(range(8))) == 5 and how_many(dataset, tuple(range(13))) == 3
    assert how_many(dataset, ()) == 5
    assert how_many(dataset_of([30, 2]), tuple(range(15))) == 3  # nothing of the second class is held out: two parts must hold its two
    with pytest.raises(ValueError, match="two"):
        folds(dataset, (), 1, 1)
