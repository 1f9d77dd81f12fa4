"""Which images are kept out of training to measure with: stratified, fixed by a seed, near-identical images on one side."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

from blocklora.projects.dataset import Dataset
from blocklora.projects.near import NEAR_BITS, near_groups

MEASURABLE = 3
"""A class with fewer images keeps none out: two are the least to learn from."""


@dataclass(frozen=True)
class Split:
    """Indices into a dataset's items, ascending.

    `groups`: sets of two or more near-identical images; `grouped`: images in them; `divided`: sets that had to be divided
    because a class consists of nothing else, so that its held-out figure flatters.
    """

    train: tuple[int, ...]
    held_out: tuple[int, ...]
    groups: int
    grouped: int
    divided: int


def split(dataset: Dataset, held_out: float, seed: int, max_bits: int = NEAR_BITS) -> Split:
    """Keep about the share `held_out` (0..1) of each class out of training.

    Each class with three or more images gives at least one and never all; smaller classes give none. The choice depends on the seed,
    the contents and the class names alone, not on where files lie or how they are ordered.
    """
    group_of = near_groups([item.phash for item in dataset.items], max_bits)
    members: dict[int, list[int]] = defaultdict(list)
    for index, group in enumerate(group_of):
        members[group].append(index)
    repeated = [group for group in members.values() if len(group) > 1]
    chosen = _choose(dataset, held_out, seed, list(members.values())) if held_out > 0 else set()
    divided = sum(1 for group in repeated if 0 < len(chosen.intersection(group)) < len(group))
    train = tuple(i for i in range(len(dataset.items)) if i not in chosen)
    return Split(train, tuple(sorted(chosen)), len(repeated), sum(map(len, repeated)), divided)


def split_after(dataset: Dataset, before: Mapping[str, bool], held_out: float, seed: int, max_bits: int = NEAR_BITS) -> Split:
    """The split of a run that goes on from another one: what that one held out stays held out, what it trained on stays in training.

    Args:
        before: for each image of the other run, by content, whether it was held out.

    New images that are near-identical to one of those go to its side; the others are split among themselves as by `split`.
    """
    group_of = near_groups([item.phash for item in dataset.items], max_bits)
    side: dict[int, bool] = {}
    for item, group in zip(dataset.items, group_of, strict=True):
        if item.sha256 in before:  # where its copies were on both sides, training has seen it
            side[group] = side.get(group, True) and before[item.sha256]
    chosen, new = set(), []
    for i, (item, group) in enumerate(zip(dataset.items, group_of, strict=True)):
        if item.sha256 in before:
            chosen |= {i} if before[item.sha256] else set()
        elif group in side:
            chosen |= {i} if side[group] else set()
        else:
            new.append(i)
    added = split(replace(dataset, items=tuple(dataset.items[i] for i in new)), held_out, seed, max_bits)
    chosen |= {new[i] for i in added.held_out}
    members = Counter(group_of)
    repeated = [group for group, n in members.items() if n > 1]
    inside = Counter(group_of[i] for i in chosen)
    train = tuple(i for i in range(len(dataset.items)) if i not in chosen)
    divided = sum(0 < inside[group] < members[group] for group in repeated)
    return Split(train, tuple(sorted(chosen)), len(repeated), sum(members[group] for group in repeated), divided)


def _choose(dataset: Dataset, share: float, seed: int, groups: list[list[int]]) -> set[int]:
    """Whole groups in an order drawn from the seed, as long as they fit; then what a class still lacks."""
    labels = [item.label for item in dataset.items]
    keys = [draw(seed, item.sha256, dataset.class_names[item.label]) for item in dataset.items]
    groups = sorted(([*sorted(group, key=keys.__getitem__)] for group in groups), key=lambda group: keys[group[0]])
    total = Counter(labels)
    wanted = {label: _wanted(count, share) for label, count in total.items()}
    have: Counter[int] = Counter()
    chosen: set[int] = set()

    def take(group: list[int]) -> None:
        chosen.update(group)
        have.update(labels[i] for i in group)

    for group in groups:
        parts = Counter(labels[i] for i in group)
        if all(have[label] + n <= wanted[label] for label, n in parts.items()):
            take(group)
    for label in sorted(total, key=lambda label: dataset.class_names[label]):
        if wanted[label] and not have[label]:
            fitting = [g for g in groups if any(labels[i] == label for i in g) and _leaves_some(Counter(labels[i] for i in g), have, total)]
            own = [i for i in sorted(range(len(labels)), key=keys.__getitem__) if labels[i] == label]
            take(min(fitting, key=len) if fitting else own[:1])
    return chosen


def draw(seed: int, sha256: str, class_name: str) -> str:
    """A number drawn for one image from the seed: the smaller, the sooner it is kept out."""
    return hashlib.sha256(f"{seed}/{sha256}/{class_name}".encode()).hexdigest()


def _wanted(count: int, share: float) -> int:
    return min(max(1, int(count * share + 0.5)), count - 1) if count >= MEASURABLE else 0


def _leaves_some(parts: Counter[int], have: Counter[int], total: Counter[int]) -> bool:
    """Whether taking a group leaves every class enough to learn from."""
    return all(total[label] >= MEASURABLE and have[label] + n < total[label] for label, n in parts.items())
