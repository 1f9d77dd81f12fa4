"""`predict` over many files: killed and given again, tables, and folders of sorted pictures."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from blocklora.cli.parser import main

sys.path.insert(0, str(Path(__file__).parents[1] / "exporters"))
from tiny_export import LABELS, make_classifier, make_metadata

ROOT = Path(__file__).parents[2]
FILES = 600
LONG = "x" * 180  # a line for each file is then longer than a pipe has room for: the command cannot end while nobody reads


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two exported files with other weights."""
    from exporters.onnx_export import export_onnx

    paths = [tmp_path_factory.mktemp("models") / f"{seed}.onnx" for seed in (0, 1)]
    for seed, path in enumerate(paths):
        export_onnx(make_classifier(seed), make_metadata(), path)
    return paths


@pytest.fixture
def many(sample_pictures: Path, tmp_path: Path) -> Path:
    folder, given = tmp_path / "many", sorted(sample_pictures.rglob("*.png"))
    folder.mkdir()
    for number in range(FILES):
        os.link(given[number % len(given)], folder / f"{number:04d}-{LONG}.png")
    return folder


def words(model: Path, *more: object) -> list[str]:
    return [sys.executable, "-m", "blocklora", "predict", str(model), *map(str, more)]


def killed_after(lines: int, command: list[str]) -> list[str]:
    """Start a command, read that many lines of it, and end it as a power cut would; the lines."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = [process.stdout.readline() for _ in range(lines)]
        process.kill()
    assert process.returncode == -9 and all(found)
    return found


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def test_killed_it_goes_on_where_it_was(models: list[Path], many: Path, tmp_path: Path) -> None:
    table = tmp_path / "out.csv"
    command = words(models[0], many, "--csv", table, "--top", "2")
    killed_after(20, command)
    assert not table.exists() and (tmp_path / "out.csv.unfinished").is_file()

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
    before = int(done.stderr.split("Going on: ")[1].split(" of 600")[0])
    assert 20 <= before < FILES and len(done.stdout.splitlines()) == FILES - before
    found = rows(table)
    assert [row["file"] for row in found] == [str(path) for path in sorted(many.iterdir())]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("out.csv.")]

    resumed = table.read_bytes()
    subprocess.run(command, cwd=ROOT, capture_output=True, timeout=300, check=True)
    assert table.read_bytes() == resumed  # what was answered before the kill is what it answers in one go


def test_another_model_starts_anew_and_says_so(models: list[Path], many: Path, tmp_path: Path) -> None:
    table = tmp_path / "out.csv"
    killed_after(20, words(models[0], many, "--csv", table))
    done = subprocess.run(words(models[1], many, "--csv", table), cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
    assert "by another model: starting anew" in done.stderr and "Going on" not in done.stderr
    assert len(done.stdout.splitlines()) == FILES == len(rows(table))


def test_tables_and_sorted_folders(models: list[Path], sample_pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    import pyarrow.parquet as pq

    (sample_pictures / "class-0" / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    target, before = sample_pictures / "sorted", {path: path.read_bytes() for path in sample_pictures.rglob("*.*")}
    command = ["predict", str(models[0]), str(sample_pictures), "--parquet", str(tmp_path / "t.parquet"), "--csv", str(tmp_path / "t.csv")]
    for _ in range(2):  # what was sorted the first time is no picture to sort the second time
        assert main([*command, "--sort-into", str(target), "--link"]) == 1
        out, err = capsys.readouterr()
        assert "broken.jpg: damaged" in err and "24 pictures lie sorted" in err and "24 of them links" in err
        assert len(out.splitlines()) == 24
    placed = [path for path in target.rglob("*") if path.is_file()]
    assert len(placed) == 24 and {path.parent.name for path in placed} <= {"apple", "Birne äöü", "=cmd()"}
    assert {path: path.read_bytes() for path in before} == before
    listed = rows(tmp_path / "t.csv")
    assert list(listed[0]) == ["file", "label", "probability", "label_2", "probability_2", "label_3", "probability_3", "known", "error"]
    found = pq.read_table(tmp_path / "t.parquet").to_pylist()
    assert [row["file"] for row in found] == [row["file"] for row in listed] and len(found) == 25
    assert {row["label"] for row in found} <= {*LABELS, None} and sum(row["error"] is not None for row in found) == 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--sort-into", "{pictures}"], "to be sorted into"),
        (["--link"], "--sort-into"),
        (["--parquet", "{pictures}"], "is a folder"),
        (["--csv", "{pictures}/class-0/000.png/x.csv"], "cannot be written"),
    ],
)
def test_what_cannot_be_is_said_before_the_work(
    more: list[str], said: str, models: list[Path], sample_pictures: Path, capsys: pytest.CaptureFixture
) -> None:
    given = [word.replace("{pictures}", str(sample_pictures)) for word in more]
    assert main(["predict", str(models[0]), str(sample_pictures), *given]) == 1
    out, err = capsys.readouterr()
    assert said in err and not out


def test_a_folder_without_pictures_leaves_nothing_behind(models: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["predict", str(models[0]), str(tmp_path / "empty"), "--csv", str(tmp_path / "t.csv")]) == 1
    assert "there are no pictures in" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_an_interruption_by_a_person_keeps_what_is_there(
    models: list[Path], sample_pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from blocklora.cli import predict

    count = 0

    def interrupted(*_: object) -> None:
        nonlocal count
        count += 1
        if count == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(predict, "_say", interrupted)
        assert main(["predict", str(models[0]), str(sample_pictures), "--csv", str(tmp_path / "t.csv")]) == 130
    assert main(["predict", str(models[0]), str(sample_pictures), "--csv", str(tmp_path / "t.csv"), "--json"]) == 0
    out, err = capsys.readouterr()
    assert "Going on: 5 of 24" in err and out.count('"file"') == 24  # JSON is always the whole
