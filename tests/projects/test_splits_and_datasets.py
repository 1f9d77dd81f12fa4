"""Snapshots, what they hash to, near-identical images, and the split that keeps those on one side."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from projects_helpers import encoded, fill, picture

from blocklora.errors import ImportRefused, ProjectError
from blocklora.projects.dataset import Dataset, Item
from blocklora.projects.folders import read_class_folders, read_zip
from blocklora.projects.near import NEAR_BITS, near_groups, perceptual_hash
from blocklora.projects.project import Project
from blocklora.projects.splits import Split, split


def made(counts: list[int], groups: dict[int, int] | None = None, seed: int = 0) -> Dataset:
    """A dataset of these counts; images far apart, but those whose number maps to the same group in `groups` are near-identical."""
    rng = random.Random(seed)
    shared: dict[int, int] = {}
    items = []
    for label, count in enumerate(counts):
        for _ in range(count):
            number = len(items)
            base = rng.getrandbits(64)
            if groups and number in groups:
                base = shared.setdefault(groups[number], base) ^ (1 << (number % 64))
            items.append(Item(f"/x/{number}.png", label, hashlib.sha256(b"%d" % number).hexdigest(), f"{base:016x}", f"i_{number}"))
    names = tuple(f"class {n}" for n in range(len(counts)))
    return Dataset(names, names, tuple(items))


def per_class(dataset: Dataset, indices: tuple[int, ...]) -> list[int]:
    counts = Counter(dataset.items[i].label for i in indices)
    return [counts[label] for label in range(len(dataset.class_names))]


# ---- splits


def test_stratified() -> None:
    dataset = made([1, 2, 3, 4, 10, 16, 100])
    found = split(dataset, 0.2, seed=1)
    assert per_class(dataset, found.held_out) == [0, 0, 1, 1, 2, 3, 20]
    assert sorted(found.train + found.held_out) == list(range(136)) and (found.groups, found.divided) == (0, 0)
    assert per_class(dataset, split(dataset, 0.5, seed=1).held_out) == [0, 0, 2, 2, 5, 8, 50]


def test_nothing_is_held_out_on_request_and_never_all() -> None:
    dataset = made([5, 5])
    assert split(dataset, 0.0, 1) == Split(tuple(range(10)), (), 0, 0, 0)
    assert per_class(dataset, split(dataset, 0.99, 1).held_out) == [4, 4]
    assert split(made([]), 0.2, 1) == Split((), (), 0, 0, 0)


def test_fixed_by_its_seed_and_independent_of_order() -> None:
    dataset = made([20, 20, 20], groups={0: 1, 5: 1, 30: 2, 31: 2})
    one = {dataset.items[i].sha256 for i in split(dataset, 0.3, 7).held_out}
    order = list(range(60))
    random.Random(3).shuffle(order)
    shuffled = Dataset(dataset.class_names, dataset.class_ids, tuple(dataset.items[i] for i in order))
    assert {shuffled.items[i].sha256 for i in split(shuffled, 0.3, 7).held_out} == one
    relabelled = Dataset(
        dataset.class_names[::-1],
        dataset.class_ids[::-1],
        tuple(Item("/elsewhere", 2 - i.label, i.sha256, i.phash, "other") for i in dataset.items),
    )
    assert {relabelled.items[i].sha256 for i in split(relabelled, 0.3, 7).held_out} == one
    assert {dataset.items[i].sha256 for i in split(dataset, 0.3, 8).held_out} != one


@pytest.mark.parametrize("seed", range(12))
def test_near_identical_images_stay_on_one_side_also_across_classes(seed: int) -> None:
    groups = {0: 1, 1: 1, 2: 1, 9: 1, 12: 2, 13: 2, 14: 3, 25: 3}
    dataset = made([10, 10, 10], groups, seed)
    found = split(dataset, 0.3, seed)
    held = set(found.held_out)
    for group in set(groups.values()):
        members = {number for number, of in groups.items() if of == group}
        assert members <= held or not members & held
    assert (found.groups, found.grouped, found.divided) == (3, 8, 0)
    assert all(1 <= count < 10 for count in per_class(dataset, found.held_out))


def test_a_class_of_near_identical_images_only_is_divided_and_that_is_said() -> None:
    dataset = made([6, 6], dict.fromkeys(range(6), 1))
    found = split(dataset, 0.3, 1)
    assert per_class(dataset, found.held_out) == [1, 2] and found.divided == 1


def test_a_group_larger_than_the_share_is_taken_whole_where_there_is_no_smaller() -> None:
    dataset = made([8, 8], {**{n: n // 4 for n in range(8)}})
    found = split(dataset, 0.2, 1)
    assert per_class(dataset, found.held_out)[0] == 4 and found.divided == 0


def test_a_burst_of_one_class_that_holds_a_small_class_does_not_swallow_it() -> None:
    dataset = made([2, 6], {0: 1, 2: 1, 1: 2, 3: 2})
    found = split(dataset, 0.3, 1)
    assert per_class(dataset, found.held_out) == [0, 2]


def test_five_thousand_images_in_a_hundred_classes() -> None:
    dataset = made([50] * 100)
    found = split(dataset, 0.2, 1)
    assert per_class(dataset, found.held_out) == [10] * 100


# ---- near-identical images


def test_hash_is_that_of_imagehash() -> None:
    import imagehash

    for number in range(40):
        image = picture(number, 40 + number)
        assert perceptual_hash(image) == str(imagehash.phash(image))


def test_hash_survives_what_people_do_to_copies() -> None:
    import io

    for number in range(20):
        image = picture(number, 240)
        out = io.BytesIO()
        image.resize((150, 150), Image.Resampling.BICUBIC).save(out, "JPEG", quality=60)
        with Image.open(out) as copy:
            hashes = [perceptual_hash(image), perceptual_hash(copy.convert("RGB"))]
        assert near_groups(hashes) == [0, 0], number
    different = [perceptual_hash(picture(number, 240)) for number in range(60)]
    assert len(set(near_groups(different))) == 60


def test_groups_are_chains() -> None:
    rng = np.random.default_rng(0)
    values = [int(v) for v in rng.integers(0, 2**63, 1500, dtype=np.uint64)]
    values[1400] = values[3] ^ ((1 << NEAR_BITS) - 1)
    values[700] = values[1400] ^ (((1 << NEAR_BITS) - 1) << 20)
    values[701] = values[3] ^ ((1 << (NEAR_BITS + 1)) - 1)  # one bit too far from 3, one from 1400
    groups = near_groups([f"{v:016x}" for v in values])
    assert groups[3] == groups[1400] == groups[700] == groups[701] and len(set(groups)) == 1497
    assert near_groups([]) == [] and near_groups(["f" * 16] * 3000) == [0] * 3000


# ---- datasets


def test_data_hash_knows_contents_and_names_only() -> None:
    dataset = made([3, 3])
    moved = Dataset(
        dataset.class_names[::-1], ("a", "b"), tuple(Item("/other", 1 - i.label, i.sha256, "0" * 16, "z") for i in reversed(dataset.items))
    )
    assert moved.data_hash == dataset.data_hash
    assert Dataset(("x", "class 1"), dataset.class_ids, dataset.items).data_hash != dataset.data_hash
    assert Dataset(dataset.class_names, dataset.class_ids, dataset.items[1:]).data_hash != dataset.data_hash
    assert made([]).data_hash == hashlib.sha256(b"[]").hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.pop("items"),
        lambda v: v["items"][0].pop("sha256"),
        lambda v: v["items"][0].update(label=9),
        lambda v: v["items"][0].update(sha256="../x"),
        lambda v: v.update(class_ids=[]),
        lambda v: v.update(items=3),
    ],
)
def test_snapshots_that_contradict_themselves_are_refused(change: Callable[[dict[str, object]], object]) -> None:
    values = made([2, 2]).to_dict()
    change(values)
    with pytest.raises(ProjectError):
        Dataset.from_dict(values)


def test_class_folders_without_a_project(make_pictures: Callable[..., Path]) -> None:
    root = make_pictures("set", classes=3, each=4)
    (root / "class-1" / "broken.png").write_bytes(b"")
    (root / "class-2" / "twin.png").write_bytes((root / "class-2" / "000.png").read_bytes())
    (root / "notes.txt").write_text("x")
    dataset, skipped = read_class_folders(root)
    assert dataset.class_names == ("class-0", "class-1", "class-2") and dataset.counts == (4, 4, 4)
    assert {entry.name: entry.kind for entry in skipped} == {
        "class-1/broken.png": "empty",
        "class-2/twin.png": "duplicate",
        "notes.txt": "unsupported",
    }
    assert read_class_folders(root, keep_duplicates=True)[0].counts == (4, 4, 5)
    assert all(Path(item.path).is_file() for item in dataset.items)


def test_zip_of_class_folders_without_a_project(make_zip: Callable[..., Path], tmp_path: Path) -> None:
    path = make_zip({"top/b/1.png": encoded(1), "top/a/2.png": encoded(2), "top/B/3.png": encoded(3), "../evil.png": encoded(4)})
    dataset, skipped = read_zip(path, tmp_path / "work")
    assert dataset.class_names == ("a", "b") and dataset.counts == (1, 2) and [entry.kind for entry in skipped] == ["unsafe"]
    assert all(Path(item.path).parent == tmp_path / "work" and Path(item.path).is_file() for item in dataset.items)


def test_a_projects_folder_as_data_is_the_project(project: Project) -> None:
    fill(project, "pears", range(2))
    fill(project, "apples", range(10, 12))
    dataset, skipped = read_class_folders(project.path)
    assert dataset == project.dataset() and dataset.class_names == ("pears", "apples") and skipped == []


def test_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImportRefused, match="No picture"):
        read_class_folders(tmp_path)
    with pytest.raises(ImportRefused, match="not a folder"):
        read_class_folders(tmp_path / "nowhere")
