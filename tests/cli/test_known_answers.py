"""A file with a rule for none of its classes on the command line and in the bundle: lines, JSON, tables, folders, the service."""

from __future__ import annotations

import csv
import dataclasses
import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "exporters"))
from tiny_export import LABELS, make_classifier, make_metadata

from blocklora.__main__ import main
from blocklora.projects.decoding import decode_rgb
from exporters.known_graph import Knowing
from exporters.onnx_export import export_onnx
from exporters.predictor import OnnxClassifier

BUNDLE = Path(__file__).resolve().parents[2] / "assets" / "bundle"


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, bool]]:
    """A file that refuses about half of a folder of pictures, that folder (by class), and what it says of each."""
    from PIL import Image

    root = tmp_path_factory.mktemp("known")
    rng = np.random.default_rng(3)
    paths = []
    for number in range(12):
        path = root / "pictures" / LABELS[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        colour = rng.integers(0, 256, 3) + rng.normal(0, 50, (40, 50, 3))
        Image.fromarray(np.clip(colour, 0, 255).astype(np.uint8)).save(path)
        paths.append(path)
    classifier = make_classifier()
    surest = np.sort([classifier.ask(decode_rgb(path)).probabilities.max() for path in paths])
    means = np.eye(3, 32, dtype=np.float32)
    classifier.knowing = Knowing(means, -2.0, float((surest[5] + surest[6]) / 2))
    rule = {"least_familiar": classifier.knowing.least_familiar, "least_sure": classifier.knowing.least_sure}
    export_onnx(classifier, dataclasses.replace(make_metadata(), reject=rule), root / "model.onnx")
    known = {str(path): bool(OnnxClassifier(root / "model.onnx").predict_file(path).known) for path in paths}
    assert sum(known.values()) == 6
    return root / "model.onnx", root / "pictures", known


def test_lines_json_tables_and_folders_say_it(
    answered: tuple[Path, Path, dict[str, bool]], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    model, pictures, known = answered
    assert main(["predict", str(model), str(pictures), "--csv", str(tmp_path / "t.csv"), "--sort-into", str(tmp_path / "sorted")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(": none of these (nearest: " in line for line in lines) == 6 and len(lines) == 12
    with (tmp_path / "t.csv").open(encoding="utf-8-sig", newline="") as stream:
        found = {row["file"]: row["known"] for row in csv.DictReader(stream)}
    assert found == {path: "true" if value else "false" for path, value in known.items()}
    refused = {path.name for path in (tmp_path / "sorted" / "unknown").iterdir()}
    assert refused == {Path(path).name for path, value in known.items() if not value}
    assert main(["predict", str(model), str(pictures), "--json"]) == 0
    assert {row["file"]: row["known"] for row in json.loads(capsys.readouterr().out)} == known


def test_evaluate_counts_what_is_answered(answered: tuple[Path, Path, dict[str, bool]], capsys: pytest.CaptureFixture) -> None:
    model, pictures, known = answered
    right = sum(OnnxClassifier(model).predict_file(Path(path)).label == Path(path).parent.name for path, value in known.items() if value)
    assert main(["evaluate", str(model), str(pictures), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["n"], found["answered"], found["right_of_answered"]) == (12, 6, right)
    assert main(["evaluate", str(model), str(pictures)]) == 0
    assert f"answered 50.0% (6 of 12), {right} of them right" in capsys.readouterr().out


def test_a_file_without_a_rule_says_nothing_of_it(tmp_path: Path, sample_pictures: Path, capsys: pytest.CaptureFixture) -> None:
    export_onnx(make_classifier(), make_metadata(), tmp_path / "m.onnx")
    assert main(["predict", str(tmp_path / "m.onnx"), str(sample_pictures), "--json"]) == 0
    assert {row["known"] for row in json.loads(capsys.readouterr().out)} == {None}


# ---- the bundle's programs


@pytest.fixture
def folder(answered: tuple[Path, Path, dict[str, bool]], tmp_path: Path) -> Path:
    """A bundle's programs beside the file, with what `verify.py` expects of one picture that is refused."""
    model, _, known = answered
    target = tmp_path / "bundle"
    target.mkdir()
    for name in ("pictures.py", "predict.py", "verify.py", "serve.py"):
        shutil.copyfile(BUNDLE / name, target / name)
    shutil.copyfile(model, target / "model.onnx")
    (target / "labels.json").write_text(json.dumps(LABELS), encoding="utf-8")
    refused = next(path for path, value in known.items() if not value)
    shutil.copyfile(refused, target / "test-image.png")
    expect(target, False)
    return target


def expect(folder: Path, known: bool | None) -> None:
    from blocklora.files import sha256_file

    found = OnnxClassifier(folder / "model.onnx").predict_file(folder / "test-image.png")
    told = {"image": "test-image.png", "label": found.label, "probabilities": found.probabilities.tolist(), "tolerance": 1e-3}
    told |= {"sha256": sha256_file(folder / "model.onnx"), "known": known}
    (folder / "expected.json").write_text(json.dumps(told), encoding="utf-8")


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-E", *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_predict_and_verify_hold_the_rule(folder: Path, answered: tuple[Path, Path, dict[str, bool]]) -> None:
    done = python(folder, "predict.py", str(answered[1]))
    lines = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert {path: not words.startswith("none of these (nearest: ") for path, words in lines.items()} == answered[2], done.stderr
    assert python(folder, "verify.py").returncode == 0
    expect(folder, True)
    wrong = python(folder, "verify.py")
    assert wrong.returncode == 1 and "is none of the classes here, and was not where it was made" in wrong.stderr


def test_the_service_says_it(folder: Path, answered: tuple[Path, Path, dict[str, bool]], monkeypatch: pytest.MonkeyPatch) -> None:
    from fastapi.testclient import TestClient

    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "predict", raising=False)
    try:
        client = TestClient(runpy.run_path(str(folder / "serve.py"))["app"])
        for path, known in answered[2].items():
            answer = client.post("/predict", files={"file": Path(path).read_bytes()})
            assert answer.json()["known"] is known
    finally:
        sys.modules.pop("predict", None)
