"""The sample project: complete, small, decodable, made by its script, and not solvable by colour alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SAMPLE = Path(__file__).parents[2] / "assets" / "sample"
KINDS = ("dice", "leaf", "mug", "scissors")


def pictures(part: str) -> list[Path]:
    return sorted((SAMPLE / part).glob("*/*.jpg"))


def pixels(file: Path, side: int | None = None) -> np.ndarray:
    with Image.open(file) as image:
        assert image.format == "JPEG"
        rgb = image.convert("RGB") if side is None else image.convert("RGB").resize((side, side))
        return np.asarray(rgb, dtype=np.float32)


@pytest.mark.parametrize(("part", "each"), [("images", 12), ("unseen", 3)])
def test_every_kind_has_its_pictures(part: str, each: int) -> None:
    assert tuple(sorted(folder.name for folder in (SAMPLE / part).iterdir())) == KINDS
    for kind in KINDS:
        files = sorted((SAMPLE / part / kind).iterdir())
        assert [file.suffix for file in files] == [".jpg"] * each
        assert all(pixels(file).shape == (320, 320, 3) for file in files)


def test_pictures_are_small_and_all_different() -> None:
    files = pictures("images") + pictures("unseen")
    assert sum(file.stat().st_size for file in files) <= 1_500_000
    assert len({file.read_bytes() for file in files}) == len(files) == 60


def test_licence_is_stated() -> None:
    text = (SAMPLE / "README.md").read_text(encoding="utf-8")
    assert "CC0" in text
    assert "make_sample.py" in text


def test_colour_alone_does_not_solve_it() -> None:
    """Nearest class mean of coarse colour histograms gets less than half of the pictures left out one by one (chance: a quarter)."""

    def histogram(file: Path) -> np.ndarray:
        bins = (pixels(file, 64).reshape(-1, 3) // 64).astype(int)
        counts = np.bincount(bins @ np.array([16, 4, 1]), minlength=64)
        return np.sqrt(counts / counts.sum())

    files = pictures("images")
    labels = np.array([KINDS.index(file.parent.name) for file in files])
    features = np.stack([histogram(file) for file in files])
    right = 0
    for i in range(len(files)):
        others = np.arange(len(files)) != i
        means = np.stack([features[others & (labels == k)].mean(axis=0) for k in range(len(KINDS))])
        right += int(np.argmin(((means - features[i]) ** 2).sum(axis=1)) == labels[i])
    assert right / len(files) < 0.5, right


@pytest.mark.parametrize("kind", KINDS)
def test_script_makes_the_committed_pictures(kind: str, tmp_path: Path) -> None:
    name = f"{kind}-unseen-2.jpg"
    command = [sys.executable, "-W", "error", str(SAMPLE / "make_sample.py"), "--out", str(tmp_path), "--only", name]
    subprocess.run(command, check=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True)
    made = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert made == [tmp_path / "unseen" / kind / name]
    difference = np.abs(pixels(made[0]) - pixels(SAMPLE / "unseen" / kind / name))
    # Rounding may move single pixels across an edge; another picture differs by 30 and more on average.
    assert difference.mean() < 1.5
