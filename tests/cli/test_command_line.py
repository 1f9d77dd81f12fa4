"""The command line on real pictures and a tiny backbone: train, export, predict, evaluate, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from unittest.mock import ANY

import pytest
from PIL import Image

from blocklora.cli.parser import build, main
from blocklora.files import sha256_file

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from tiny_backbone import write_tiny_backbone


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A data home, a class folder and a run trained on it by the command line."""
    return (*_home_and_pictures(tmp_path_factory), tmp_path_factory.mktemp("run") / "run")


def _home_and_pictures(factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    home, pictures = factory.mktemp("cli-home"), factory.mktemp("cli-pictures")
    write_tiny_backbone(home)
    return home, pictures


def test_train_export_predict_evaluate(
    trained: tuple[Path, Path, Path], sample_pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    home, _, run = trained
    monkeypatch.setenv("BLOCKLORA_HOME", str(home))
    (sample_pictures / "class-0" / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    words = ["train", str(sample_pictures), "--out", str(run), "--preset", "quick", "--backbone", "tiny", "--steps", "10", "--json"]
    assert main(words) == 0
    out, err = capsys.readouterr()
    said = json.loads(out.strip().splitlines()[-1])
    assert {"run", "zero_shot", "held_out", "seconds"} <= set(said)
    assert 0 <= said["held_out"] <= 1 and said["held_out_n"] == 6
    assert "broken.jpg" in err

    assert main(words) == 1  # the folder holds a run already
    assert "already holds a run" in capsys.readouterr().err

    assert main([*words, "--resume"]) == 0
    again, err = capsys.readouterr()
    assert json.loads(again.strip().splitlines()[-1]) == said and "has finished already" in err

    model = tmp_path / "model.onnx"
    assert main(["export", str(run), "--out", str(model)]) == 0
    assert model.stat().st_size > 100_000
    capsys.readouterr()

    small, bundle = tmp_path / "small.onnx", tmp_path / "bundle.zip"
    words = ["export", str(run), "--out", str(small), "--precision", "int8", "--bundle", str(bundle)]
    words += ["--rename", "class-1", "ein Hund", "--json"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BLOCKLORA_PACKAGES", str(tmp_path / "packages"))  # what the page needs is not here, and no network: no page
        assert main(words) == 0
    out, err = capsys.readouterr()
    said = json.loads(out)
    assert said["labels"][1] == "ein Hund" and "onnxruntime-web" in err
    assert said["precision"] == "int8" and said["size"] == small.stat().st_size and said["sha256"] == sha256_file(small)
    assert said["images"] >= said["same_as_fp32"] > 0 and not said.keys() & {"checked", "worst"}  # what the other file was checked with
    assert main(["export", str(run), "--out", str(small), "--precision", "int8"]) == 0
    assert f"of the fp32 file on {said['same_as_fp32']} of {said['images']} pictures" in capsys.readouterr().out
    assert small.stat().st_size < 0.6 * model.stat().st_size
    with zipfile.ZipFile(bundle) as archive:
        assert json.loads(archive.read("labels.json"))[1] == "ein Hund"
    assert main(["export", str(run)]) == 1
    assert "nothing was asked for" in capsys.readouterr().err
    assert main(["export", str(run), "--out", str(small), "--rename", "class-9", "x"]) == 1
    assert "no class 'class-9'" in capsys.readouterr().err

    table = tmp_path / "answers.csv"
    assert main(["predict", str(model), str(sample_pictures), "--csv", str(table), "--top", "2", "--json"]) == 1  # one picture is broken
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 25 and all(len(row["top"]) == 2 for row in rows if not row["error"])
    with table.open(newline="", encoding="utf-8") as stream:
        written = list(csv.DictReader(stream))
    assert [row["label"] for row in written if not row["error"]] == [row["top"][0][0] for row in rows if not row["error"]]

    assert main(["evaluate", str(model), str(sample_pictures), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["unread"] == 1
    assert main(["predict", str(model), str(sample_pictures), "--csv", str(sample_pictures)]) == 1
    assert "is a folder" in capsys.readouterr().err
    assert main(["predict", str(model), str(sample_pictures), "--csv", str(table / "inside.csv")]) == 1
    assert "cannot be written" in capsys.readouterr().err

    (sample_pictures / "class-0" / "broken.jpg").unlink()
    assert main(["evaluate", str(model), str(sample_pictures), "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["n"] == 24 and 0 <= measured["top1"] <= 1
    assert sum(row["correct"] for row in measured["per_class"]) == round(measured["top1"] * 24)

    (sample_pictures / "stranger").mkdir()
    (sample_pictures / "class-0" / "000.png").rename(sample_pictures / "stranger" / "000.png")
    assert main(["evaluate", str(model), str(sample_pictures)]) == 1
    assert "stranger" in capsys.readouterr().err


def test_pictures_of_the_training_data_do_not_test(
    make_pictures: Callable, sample_pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    home, test = tmp_path / "home", tmp_path / "test"
    write_tiny_backbone(home)
    monkeypatch.setenv("BLOCKLORA_HOME", str(home))
    shutil.copytree(sample_pictures, test)
    new = test / "class-1" / "new.png"
    new.write_bytes(_turned(sample_pictures / "class-1" / "000.png"))
    words = ["train", str(sample_pictures), "--out", str(tmp_path / "run"), "--preset", "quick", "--backbone", "tiny", "--steps", "2"]
    assert main([*words, "--test", str(test)]) == 0
    out, err = capsys.readouterr()
    assert "of 1 images it never saw" in out and err.count("the same picture is in DATA") == 24


def _turned(path: Path) -> bytes:
    out = io.BytesIO()
    with Image.open(path) as image:
        image.rotate(90).save(out, "PNG")
    return out.getvalue()


def test_two_pictures_a_class_are_enough_to_train_and_export(
    make_pictures: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """None can be held out then: each is judged by a model without it, or no figure is made up; training pictures check the file."""
    home, pictures = tmp_path / "home", make_pictures("few", classes=3, each=2)
    write_tiny_backbone(home)
    monkeypatch.setenv("BLOCKLORA_HOME", str(home))
    words = ["train", str(pictures), "--out", str(tmp_path / "run"), "--preset", "thorough", "--backbone", "tiny", "--steps", "4"]
    assert main(words) == 0
    assert "of 6 images, each judged by a model that had not seen it" in capsys.readouterr().out
    assert main([*words[:3], str(tmp_path / "other"), *words[4:], "--estimate-minutes", "0"]) == 0
    assert "No images were kept aside" in capsys.readouterr().out
    model = tmp_path / "model.onnx"
    assert main(["export", str(tmp_path / "run"), "--out", str(model), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["checked"] == {"images": 6, "of": 6, "correct": ANY, "source": "training"}
    assert main(["predict", str(model), str(pictures), "--top", "9", "--json"]) == 0
    assert all(len(row["top"]) == 3 for row in json.loads(capsys.readouterr().out))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train", "{nothing}", "--out", "x"], "not a folder, a zip or a project"),
        (["train", "{pictures}", "--out", "{pictures}/class-0/000.png"], "cannot be made"),
        (["train", "{pictures}", "--out", "x", "--test", "{pictures}"], "every picture of the test folder"),
        (["export", "{nothing}", "--out", "x.onnx"], "is not a run"),
        (["predict", "{nothing}.onnx", "{nothing}.jpg"], "neither a picture nor a folder"),
        (["train", "{pictures}", "--out", "x", "--rank", "3", "--blocks", "2"], "must divide"),
        (["train", "{pictures}", "--out", "x", "--backbone", "unheard-of", "--steps", "1"], "unheard-of"),
        (["train", "{pictures}", "--out", "x", "--template", "no place"], "{}"),
    ],
)
def test_refusals_say_what_and_what_to_do(
    words: list[str], expected: str, sample_pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    nothing = str(tmp_path / "nothing-here")
    assert main([word.replace("{pictures}", str(sample_pictures)).replace("{nothing}", nothing) for word in words]) == 1
    assert expected in capsys.readouterr().err


def test_usage_errors_exit_with_2() -> None:
    wrong: list[list[str]] = [
        [],
        ["train"],
        ["train", "x", "--out", "y", "--preset", "fastest"],
        ["nonsense"],
        ["predict", "model.onnx", "picture.jpg", "--top", "0"],
    ]
    for words in wrong:
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 2


def test_lists(capsys: pytest.CaptureFixture) -> None:
    assert main(["backbones", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "builtin"
    assert main(["projects", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_projects_come_back_from_the_trash_and_from_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    from blocklora.projects.home import default_home
    from blocklora.projects.library import Library

    library = Library(default_home())
    trash_id = library.trash(library.create("Birds").id)
    assert main(["projects", "--trash", "--json"]) == 0
    assert [(row["id"], row["name"]) for row in json.loads(capsys.readouterr().out)] == [(trash_id, "Birds")]
    assert main(["projects", "--restore", trash_id, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["name"] == "Birds"
    shutil.copytree(row["path"], tmp_path / "stick")
    assert main(["projects", "--add", str(tmp_path / "stick"), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2
    assert main(["projects", "--restore", trash_id]) == 1
    assert "no longer in the trash" in capsys.readouterr().err


def test_names_with_brackets_are_listed_as_they_are(capsys: pytest.CaptureFixture) -> None:
    from blocklora.projects.home import default_home
    from blocklora.projects.library import Library

    for name in ("x [/b]", "Birds [old]"):
        Library(default_home()).create(name)
    assert main(["projects"]) == 0
    shown = capsys.readouterr().out
    assert "x [/b]" in shown and "Birds [old]" in shown


def test_what_goes_elsewhere_is_utf_8_whatever_the_machine_thinks() -> None:
    from blocklora.projects.home import default_home
    from blocklora.projects.library import Library

    Library(default_home()).create("Äpfel 日本")
    command = [sys.executable, "-m", "blocklora", "projects", "--json"]
    done = subprocess.run(command, env={**os.environ, "PYTHONIOENCODING": "cp1252"}, capture_output=True, check=True, timeout=120)
    assert json.loads(done.stdout.decode("utf-8"))[0]["name"] == "Äpfel 日本"


def test_a_reader_that_has_enough_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "blocklora", "backbones", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as done:
        assert done.stdout is not None and done.stderr is not None
        done.stdout.close()
        assert done.stderr.read() == b"" and done.wait(120) == 1


def test_a_refused_training_takes_nothing_of_the_person_away(
    make_pictures: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    pictures = make_pictures("work/input")
    (tmp_path / "work" / "test-input").mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert main(["train", str(pictures), "--out", str(tmp_path / "work"), "--rank", "3", "--blocks", "2"]) == 1
    assert "must divide" in capsys.readouterr().err
    archive = shutil.make_archive(str(tmp_path / "set"), "zip", pictures)
    assert main(["train", archive, "--out", str(tmp_path / "work"), "--template", "no place"]) == 1
    Path(archive).unlink()
    (tmp_path / "empty").mkdir()
    assert main(["train", str(pictures), "--out", str(tmp_path / "empty"), "--rank", "3", "--blocks", "2"]) == 1
    (tmp_path / "empty").rmdir()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_name_that_means_two_things_is_asked_about(
    sample_pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from blocklora.projects.home import default_home
    from blocklora.projects.library import Library

    monkeypatch.chdir(sample_pictures.parent)
    Library(default_home()).create(sample_pictures.name)
    assert main(["check", sample_pictures.name]) == 1
    assert "is a folder here and a project, too" in capsys.readouterr().err
    assert main(["train", f"./{sample_pictures.name}", "--out", str(tmp_path / "x"), "--template", "no place"]) == 1
    assert "{}" in capsys.readouterr().err  # it was taken for the folder


def test_help_has_examples() -> None:
    assert "python -m blocklora train photos/" in build().format_help()
