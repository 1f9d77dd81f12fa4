"""Shards and class folders are read the same way, once; wrong ones are explained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_data import COLOURS, picture, write_shard

from blocklora.errors import TrainingError
from blocklora.pretrain.data import load_images, read_classes

IDS = list(COLOURS)


def test_shards_and_class_folders_give_the_same_images(source: Path, tmp_path: Path) -> None:
    from_tar = load_images([source / "val.tar"], IDS, 16, tmp_path / "cache")
    folder = tmp_path / "folder"
    for class_id in IDS:
        for number in range(100, 104):
            path = folder / class_id / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(class_id, number))
    from_folder = load_images([folder], IDS, 16, tmp_path / "cache")
    assert from_tar.images.shape == (12, 3, 16, 16)
    assert from_tar.labels.tolist() == [0, 1, 2] * 4
    order = torch.argsort(from_tar.labels, stable=True)
    assert torch.equal(from_tar.images[order], from_folder.images)
    assert from_folder.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_decoding_happens_once_and_again_when_a_shard_changes(source: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    load_images([source / "val.tar"], IDS, 16, cache)
    first = {path.name: path.stat().st_mtime_ns for path in cache.iterdir()}
    load_images([source / "val.tar"], IDS, 16, cache)
    assert {path.name: path.stat().st_mtime_ns for path in cache.iterdir()} == first
    write_shard(source / "val.tar", range(5))
    assert len(load_images([source / "val.tar"], IDS, 16, cache).labels) == 15


def test_other_sizes_become_a_central_square(tmp_path: Path) -> None:
    path = tmp_path / "wide" / "n1" / "0.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(picture("n1", 0, size=(90, 40)))
    assert load_images([tmp_path / "wide"], IDS, 16, tmp_path / "cache").images.shape == (1, 3, 16, 16)


def test_the_stored_images_cannot_be_changed_through_the_array(source: Path, tmp_path: Path) -> None:
    before = load_images([source / "val.tar"], IDS, 16, tmp_path / "cache").images
    kept = before.clone()
    before.zero_()
    assert torch.equal(load_images([source / "val.tar"], IDS, 16, tmp_path / "cache").images, kept)


def test_mistakes_in_the_data_say_what_to_do(source: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"There is no .*absent\.tar"):
        load_images([source / "absent.tar"], IDS, 16, tmp_path / "cache")
    with pytest.raises(TrainingError, match=r"folders found: n1, n2, n3"):
        load_images([source / "val.tar"], ["other"], 16, tmp_path / "cache")
    (source / "no.tar").write_bytes(b"not a tar file")
    with pytest.raises(TrainingError, match="Give a tar file"):
        load_images([source / "no.tar"], IDS, 16, tmp_path / "cache")
    broken = tmp_path / "broken" / "n1" / "0.png"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"not a picture")
    with pytest.raises(TrainingError, match=r"0\.png .* no readable image"):
        load_images([tmp_path / "broken"], IDS, 16, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.npy"))


@pytest.mark.parametrize("content", ["[]", "{}", '{"n1": []}', '{"n1": "name"}', "{"])
def test_class_files_of_another_shape_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "classes.json"
    path.write_text(content)
    with pytest.raises(TrainingError, match="list of"):
        read_classes(path)
