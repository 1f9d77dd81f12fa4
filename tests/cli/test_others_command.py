"""`train --others`, and what `--test` says of pictures that look like training pictures."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from blocklora.cli.parser import main
from blocklora.jobs.run_folder import RunFolder
from blocklora.projects.intake import accept, plan_folder
from blocklora.projects.library import Library
from blocklora.projects.records import OTHER_ID, TEST

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from tiny_backbone import write_tiny_backbone

MakePictures = Callable[..., Path]


@pytest.fixture
def home(data_home: Path) -> Path:
    write_tiny_backbone(data_home)
    return data_home


def train(*words: str) -> int:
    return main(["train", *words, "--preset", "quick", "--backbone", "tiny", "--steps", "2", "--json"])


def test_others_and_look_alikes(
    home: Path, sample_pictures: Path, make_pictures: MakePictures, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    others = make_pictures("others-pictures", classes=1, each=3)
    known = next(sample_pictures.rglob("*.png"))
    shutil.rmtree(others)
    others.mkdir()
    for number in range(3):
        Image.effect_noise((60, 40), 90).convert("RGB").save(others / f"noise-{number}.png")
    shutil.copy(known, others / "known.png")
    tests = tmp_path / "tests"
    (tests / "class-0").mkdir(parents=True)
    Image.effect_noise((80, 80), 70).convert("RGB").save(tests / "class-0" / "new.png")
    Image.open(known).convert("RGB").save(tests / "class-0" / "again.jpg", quality=90)
    run = tmp_path / "run"
    assert train(str(sample_pictures), "--out", str(run), "--others", str(others), "--test", str(tests)) == 0
    out, err = capsys.readouterr()
    said = json.loads(out.strip().splitlines()[-1])
    assert said["others_n"] == 3 and said["test_leaks"] == 1
    assert f"{others / 'known.png'}: the same picture is in a class" in err
    assert "1 test image looks like images that training saw" in err
    result = RunFolder(run).result() or {}
    assert result["test"]["n"] == 1 and Path(result["test"]["leaks"][0]["test"]["path"]).name == "again.jpg"


def test_a_folder_that_holds_nothing_new_is_refused(
    home: Path, sample_pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert train(str(sample_pictures), "--out", str(tmp_path / "run"), "--others", str(sample_pictures / "class-0")) == 1
    assert "every picture given with --others is in a class" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_project_brings_its_own(
    home: Path, sample_pictures: Path, make_pictures: MakePictures, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    project = Library(home).create("Things")
    accept(project, plan_folder(project, sample_pictures, local_mode=True, allowed_roots=[sample_pictures.parent]))
    first, second, *_ = project.images(project.classes()[0].id).items
    project.move_part([first.id], TEST)
    project.move_images([second.id], OTHER_ID)
    assert train("Things", "--out", str(tmp_path / "run")) == 0
    said = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert said["others_n"] == 1 and said["test"] is not None
    result = RunFolder(tmp_path / "run").result() or {}
    assert result["train_n"] + result["held_out"]["n"] == 22
