"""What a run is given and never trains on: pictures of something else, test pictures, and among these look-alikes of training pictures."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageOps

from blocklora.config import AdapterConfig, TrainingConfig
from blocklora.files import read_json
from blocklora.jobs.events import Note
from blocklora.jobs.run_folder import RunFolder
from blocklora.projects.dataset import Dataset
from blocklora.projects.folders import read_class_folders, read_loose
from blocklora.services.runs import RunRequest, make_run, split_of
from blocklora.training.alike import LEAST, correlations, small_grey
from blocklora.training.data import Data
from blocklora.training.leaks import Leak, counted_tests, words
from blocklora.training.worker import work

MakePictures = Callable[..., Path]


def photo(seed: int, width: int = 200, height: int = 150) -> Image.Image:
    """A smooth picture of its own for each seed."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, 256, (1, 3, 7, 9), generator=generator).float()
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 255)[0]
    return Image.fromarray(fine.permute(1, 2, 0).byte().numpy())


def folders(root: Path, parts: dict[str, list[Image.Image]]) -> Path:
    for name, pictures in parts.items():
        (root / name).mkdir(parents=True)
        for number, picture in enumerate(pictures):
            picture.save(root / name / f"{number}.png")
    return root


def cut(picture: Image.Image, share: float) -> Image.Image:
    width, height = picture.size
    return picture.crop((0, 0, round(width * share), round(height * share)))


@pytest.fixture
def given(tmp_path: Path, tiny_home: Path) -> RunFolder:
    """Two classes of six; of six test pictures one is a mirrored, one a cropped and one a recoded training picture; three others."""
    train, _ = read_class_folders(folders(tmp_path / "train", {"a": [photo(i) for i in range(6)], "b": [photo(i) for i in range(10, 16)]}))
    changed = [ImageOps.mirror(photo(0)), cut(photo(1), 0.9), photo(2).resize((100, 75))]
    test, _ = read_class_folders(folders(tmp_path / "test", {"a": changed, "b": [photo(i) for i in range(30, 33)]}))
    others, _ = read_loose(folders(tmp_path / "others", {"x": [photo(i) for i in range(40, 43)]}), tmp_path / "work")
    config = TrainingConfig(preset="quick", steps=4, batch_size=4, checks=2, patience=8, device="cpu", learning_rate=5e-3)
    dataset = replace(train, others=others)
    return make_run(tmp_path / "run", tiny_home, dataset, split_of(dataset, config), RunRequest("tiny", config, AdapterConfig(), test=test))


def test_a_whole_run(given: RunFolder) -> None:
    assert work(given) == 0
    result: dict[str, Any] = given.result() or {}
    assert result["train_n"] == 12 - result["held_out"]["n"]
    spec, written = given.spec(), read_json(given.dataset_path)["dataset"]
    assert spec["data_hash"] == result["data_hash"] == Dataset.from_dict(written).data_hash and len(written["others"]) == 3
    others = result["others"]
    assert others["n"] == 3 and [Path(row["path"]).parent.name for row in others["images"]] == ["x"] * 3
    for row in others["images"]:
        assert row["top"][0] == [row["predicted"], row["probability"]] and "label" not in row and row["image_id"]
        assert sum(p for _, p in row["top"]) == pytest.approx(1)
    test = result["test"]
    assert test["n"] == 3 and [Path(row["path"]).parent.name for row in test["images"]] == ["b"] * 3
    found = {(Path(pair["test"]["path"]).name, Path(pair["like"]["path"]).name, pair["sign"]) for pair in test["leaks"]}
    assert found == {("0.png", "0.png", "pixels"), ("1.png", "1.png", "pixels"), ("2.png", "2.png", "hash")}
    assert "of 3 images" in result["verdict"]
    notes = [stamped.event.message for stamped in given.events()[0] if isinstance(stamped.event, Note)]
    assert "3 test images look like images that training saw: the test figure is told without them." in notes


def test_a_moved_project_finds_them_again(given: RunFolder, tmp_path: Path) -> None:
    """Pictures named by content, as in a project, are found where the project is now."""
    data = Data.read(given.dataset_path)
    project = tmp_path / "moved"
    run = project / "runs" / "r"
    run.mkdir(parents=True)
    assert data.test is not None
    for item in (*data.dataset.items, *data.others, *data.test.items):
        target = project / "images" / item.sha256[:2] / f"{item.sha256}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(item.path, target)
    shutil.copy(given.dataset_path, run / "dataset.json")
    for part in ("train", "test", "others"):
        (tmp_path / part).rename(tmp_path / f"{part}-gone")
    again = Data.read(run / "dataset.json")
    assert again.test is not None
    assert all(Path(item.path).is_file() for item in (*again.dataset.items, *again.others, *again.test.items))


def test_runs_without_them_are_as_before(make_tiny_run: Callable) -> None:
    run = make_tiny_run(steps=2)
    assert "others" not in read_json(run.dataset_path)["dataset"]
    data = Data.read(run.dataset_path)
    assert data.others == () and data.others_set(None) is None
    assert work(run) == 0
    assert "others" not in (run.result() or {}) and "test" not in (run.result() or {})


def test_the_figure_counts_all_where_nothing_else_is_left() -> None:
    leaks = [Leak(0, 3, "hash"), Leak(1, 4, "pixels")]
    assert counted_tests(3, leaks) == [2]
    assert counted_tests(2, leaks) == [0, 1]
    test = Dataset((), (), ())
    assert "flatters" in words([], test)


def grey(picture: Image.Image) -> torch.Tensor:
    import numpy as np

    return small_grey(torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None])


@pytest.mark.parametrize(
    "change",
    [
        ImageOps.mirror,
        lambda p: cut(p, 0.9),
        lambda p: ImageOps.mirror(cut(p, 0.85)),
        lambda p: p.point(lambda v: round(0.6 * v)),
        lambda p: p.convert("L").convert("RGB"),
        lambda p: p.resize((60, 45)),
        lambda p: p.rotate(90, expand=True),
        lambda p: ImageOps.mirror(cut(p, 0.85)).rotate(-90, expand=True),
    ],
    ids=["mirrored", "cropped", "cropped and mirrored", "darker", "grey", "smaller", "turned", "cropped, mirrored and turned"],
)
def test_a_changed_picture_is_alike_and_another_is_not(change: Callable[[Image.Image], Image.Image]) -> None:
    many = torch.cat([grey(photo(seed)) for seed in (1, 2, 3)])
    found = correlations(grey(change(photo(2))), many)
    assert int(found.argmax()) == 1 and float(found[1]) >= LEAST
    assert float(found[[0, 2]].max()) < LEAST
    back = correlations(grey(photo(2)), grey(change(photo(2))))  # whichever of the two was cut
    assert float(back[0]) >= LEAST


def test_pictures_of_one_colour_are_alike_nothing() -> None:
    plain = grey(Image.new("RGB", (40, 40), (9, 9, 9)))
    assert float(correlations(plain, torch.cat([plain, grey(photo(1))])).abs().max()) < 0.5
