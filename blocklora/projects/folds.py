"""Folds: the images in parts, each of which is judged by a model that learned from the others (cross-validation)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from blocklora.projects.dataset import Dataset
from blocklora.projects.near import NEAR_BITS, near_groups
from blocklora.projects.splits import draw

MOST = 5
"""More folds cost more trainings and hardly make the figure better (Kohavi 1995 compares 2 to 20)."""


def how_many(dataset: Dataset, held_out: Sequence[int]) -> int:
    """The number of folds that fit a split: as many as make the held-out images one of them; 5 where none are held out.

    At most `MOST`. Where a class has nothing held out, at least 3: its images must not all be in one of the others.
    """
    wanted = MOST if not held_out else round(len(dataset.items) / len(held_out))
    seen = {dataset.items[i].label for i in held_out}
    least = 3 if held_out and len(seen) < len(dataset.class_names) else 2
    return min(max(least, wanted), MOST)


def folds(dataset: Dataset, held_out: Sequence[int], number: int, seed: int, max_bits: int = NEAR_BITS) -> list[tuple[int, ...]]:
    """Indices into the dataset's items in `number` parts: each image in one of them, the `held_out` ones as the first where there are some.

    Parts are stratified, and near-identical images are on one side, as in `splits.split`. A group of them that would leave a class
    nothing to learn from is divided. The choice depends on the seed, the contents and the class names alone.

    Raises:
        ValueError: fewer than two parts.
    """
    if number < 2:
        raise ValueError(f"{number} folds; it takes two")
    labels = [item.label for item in dataset.items]
    keys = [draw(seed, item.sha256, dataset.class_names[item.label]) for item in dataset.items]
    first = set(held_out)
    rest = [i for i in range(len(labels)) if i not in first]
    group_of = near_groups([dataset.items[i].phash for i in rest], max_bits)
    members: dict[int, list[int]] = defaultdict(list)
    for index, number_of_group in zip(rest, group_of, strict=True):
        members[number_of_group].append(index)
    groups: list[list[int]] = [sorted(group, key=keys.__getitem__) for group in members.values()]
    groups.sort(key=lambda group: (-len(group), keys[group[0]]))
    parts: list[list[int]] = [[] for _ in range(number - bool(first))]
    counts: list[Counter[int]] = [Counter() for _ in parts]
    total = Counter(labels)
    for group in groups:
        pieces = [group] if _leaves_some(group, labels, total) else [[i] for i in group]
        for piece in pieces:
            own = Counter(labels[i] for i in piece)
            # the part that has the fewest of these classes, then the fewest images
            place = min(range(len(parts)), key=lambda p: (sum(counts[p][label] * n for label, n in own.items()), len(parts[p]), p))
            parts[place].extend(piece)
            counts[place].update(own)
    made = [tuple(sorted(part)) for part in parts if part]
    return [tuple(sorted(first)), *made] if first else made


def _leaves_some(group: Sequence[int], labels: Sequence[int], total: Counter[int]) -> bool:
    """Whether a part that holds this group leaves every class half of its images to learn from."""
    return all(2 * n <= total[label] for label, n in Counter(labels[i] for i in group).items())
