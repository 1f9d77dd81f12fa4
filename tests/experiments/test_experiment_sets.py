"""Sets for few-shot experiments: both layouts are read, and files that lie are refused."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from blocklora.errors import ImportRefused
from blocklora.experiments.coop import ELEVEN, SPLIT_SETS, find_sets, read_set
from blocklora.experiments.sets import few


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def write_split(root: Path, name: str, **parts: list[Any]) -> Path:
    """A set of CoOp's in `root`: its split file, and a file for each path that it names."""
    place = SPLIT_SETS[name]
    for entries in parts.values():
        touch(*(root / name / place.pictures / entry[0] for entry in entries))
    (root / name).mkdir(exist_ok=True)
    path = root / name / place.file
    path.write_text(json.dumps({"val": [], **parts}))
    return path


PETS = {"train": [["a_1.jpg", 0, "beagle"], ["b_1.jpg", 1, "pug"], ["b_2.jpg", 1, "pug"]], "test": [["a_9.jpg", 0, "beagle"]]}


@pytest.mark.parametrize("name", sorted(SPLIT_SETS))
def test_every_split_set_is_read_from_its_folder(tmp_path: Path, name: str) -> None:
    write_split(tmp_path, name, **PETS)
    found = read_set(tmp_path, name)
    assert find_sets(tmp_path) == [name]
    assert found.class_names == ("beagle", "pug") and [item.label for item in found.train.items] == [0, 1, 1]
    assert Path(found.test.items[0].path) == tmp_path / name / SPLIT_SETS[name].pictures / "a_9.jpg"
    assert len(ELEVEN) == 11


def test_a_linked_folder_of_pictures_is_read(tmp_path: Path) -> None:
    write_split(tmp_path, "dtd", **PETS)
    (tmp_path / "dtd" / "images").rename(tmp_path / "elsewhere")
    (tmp_path / "dtd" / "images").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert len(read_set(tmp_path, "dtd").train.items) == 3


@pytest.mark.parametrize("bad", ["../../secret.jpg", "/etc/hostname", "..\\..\\secret.jpg", "link/secret.jpg", "a\0b.jpg", "x" * 5000])
def test_a_path_out_of_the_pictures_is_refused(tmp_path: Path, bad: str) -> None:
    path = write_split(tmp_path, "dtd", **PETS)
    touch(tmp_path / "secret.jpg", tmp_path / "dtd" / "secret.jpg")
    (tmp_path / "dtd" / "images" / "link").symlink_to(tmp_path, target_is_directory=True)
    path.write_text(json.dumps({"train": [*PETS["train"], [bad, 0, "beagle"]], "test": PETS["test"]}))
    with pytest.raises(ImportRefused, match="outside of"):
        read_set(tmp_path, "dtd")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is damaged"),
        ("[" * 100_000, "is damaged"),
        ("[]", "is damaged"),
        ('{"train": []}', "it has no list 'test'"),
        ('{"train": [["a", 0]], "test": []}', "is not \\[path, label, class name\\]"),
        ('{"train": [["a", true, "b"]], "test": []}', "is not \\[path"),
        ('{"train": [["a", -1, "b"]], "test": []}', "is not \\[path"),
        ('{"train": [], "test": []}', "for 0 classes"),
        ('{"train": [["a_1.jpg", 0, "b"], ["a_1.jpg", 2, "c"]], "test": [["a_1.jpg", 0, "b"]]}', "0 to 2 for 2 classes"),
        ('{"train": [["a_1.jpg", 0, "b"], ["a_1.jpg", 0, "c"]], "test": []}', "calls the label 0 'b' and 'c'"),
        ('{"train": [["gone.jpg", 0, "b"]], "test": [["gone.jpg", 0, "b"]]}', "which is not in"),
    ],
)
def test_a_damaged_split_file_says_so(tmp_path: Path, text: str, says: str) -> None:
    write_split(tmp_path, "eurosat", **PETS).write_text(text)
    with pytest.raises(ImportRefused, match=says):
        read_set(tmp_path, "eurosat")


def test_a_file_that_is_no_text_and_one_that_is_huge_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_split(tmp_path, "ucf101", **PETS)
    path.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ImportRefused, match="is damaged"):
        read_set(tmp_path, "ucf101")
    monkeypatch.setattr("blocklora.experiments.coop.MOST_BYTES", 2)
    with pytest.raises(ImportRefused, match="at most 2"):
        read_set(tmp_path, "ucf101")


def test_aircraft_and_imagenet(tmp_path: Path) -> None:
    aircraft, imagenet = tmp_path / "fgvc_aircraft", tmp_path / "imagenet"
    touch(*(aircraft / "images" / f"{number}.jpg" for number in ("001", "002", "003")))
    (aircraft / "variants.txt").write_text("707-320\nDC-9-30 long\n")
    (aircraft / "images_variant_train.txt").write_text("001 707-320\n002 DC-9-30 long\n")
    (aircraft / "images_variant_test.txt").write_text("003 DC-9-30 long\n")
    touch(*(imagenet / "images" / part / wnid / "1.JPEG" for part in ("train", "val") for wnid in ("n1", "n2")))
    (imagenet / "classnames.txt").write_text("n1 tench\nn2 great white shark\n")
    assert find_sets(tmp_path) == ["fgvc_aircraft", "imagenet"]
    planes, things = read_set(tmp_path, "fgvc_aircraft"), read_set(tmp_path, "imagenet")
    assert planes.class_names == ("707-320", "DC-9-30 long") and planes.test.items[0].label == 1
    assert things.class_names == ("tench", "great white shark") and things.test.items[1].path.endswith("val/n2/1.JPEG")
    (aircraft / "images_variant_test.txt").write_text("../../003 DC-9-30 long\n")
    with pytest.raises(ImportRefused, match="outside of"):
        read_set(tmp_path, "fgvc_aircraft")
    (imagenet / "classnames.txt").write_text("../../n1 tench\n")
    with pytest.raises(ImportRefused, match="which is not in"):
        read_set(tmp_path, "imagenet")


def test_class_folders_with_a_prompt(tmp_path: Path) -> None:
    touch(*(tmp_path / "things" / part / name / "1.jpg" for part in ("train", "test") for name in ("b", "a")))
    touch(tmp_path / "things" / "train" / "a" / "notes.txt", tmp_path / "things" / "train" / ".cache" / "1.jpg")
    (tmp_path / "bench.json").write_text(json.dumps({"sets": {"things": {"prompt_template": "an odd {}."}}}))
    found = read_set(tmp_path, "things")
    assert found.class_names == ("a", "b") and found.template == "an odd {}." and len(found.train.items) == 2
    (tmp_path / "bench.json").write_text(json.dumps({"sets": {"things": {"prompt_template": "no name"}}}))
    with pytest.raises(ImportRefused, match="no name"):
        read_set(tmp_path, "things")
    touch(tmp_path / "things" / "test" / "c" / "1.jpg")
    (tmp_path / "bench.json").unlink()
    with pytest.raises(ImportRefused, match="c only in one"):
        read_set(tmp_path, "things")


@pytest.mark.parametrize("name", ["nothing", "..", "things/train"])
def test_a_set_that_is_not_there_names_those_that_are(tmp_path: Path, name: str) -> None:
    touch(*(tmp_path / "things" / part / "a" / "1.jpg" for part in ("train", "test")))
    with pytest.raises(ImportRefused, match="there are: things"):
        read_set(tmp_path, name)


def test_shots_are_drawn_as_the_protocol_says(tmp_path: Path) -> None:
    touch(*(tmp_path / "s" / "train" / name / f"{i:02d}.jpg" for name in ("a", "b") for i in range(6)))
    touch(*(tmp_path / "s" / "test" / name / "1.jpg" for name in ("a", "b")))
    whole = read_set(tmp_path, "s").train
    wanted = [f"{i:02d}.jpg" for i in range(6)]
    random.Random(2).shuffle(wanted)
    drawn = few(whole, 3, 2)
    assert [Path(item.path).name for item in drawn.items] == [*wanted[:3], *wanted[:3]]
    assert {item.path for item in few(whole, 1, 2).items} < {item.path for item in drawn.items}
