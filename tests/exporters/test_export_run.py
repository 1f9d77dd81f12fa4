"""A finished run becomes a published file, or nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_run import CLASSES, write_run

from blocklora.errors import AdapterError, ExportError, ParityError, StudioError
from blocklora.files import read_json, sha256_file, write_json
from blocklora.jobs.events import Cancelled, Event, ExportFailed, ExportFinished, ExportProgress, ExportStarted
from blocklora.jobs.launcher import LocalLauncher
from blocklora.jobs.run_folder import CANCEL, RunFolder
from blocklora.jobs.spec import RunSpec
from blocklora.lora.adapters import Adapters
from blocklora.projects.decoding import decode_rgb
from blocklora.training.data import Data
from exporters import pipeline, worker
from exporters.pipeline import export_run, gate_pictures, load_run, make_export
from exporters.predictor import OnnxClassifier

ROOT = Path(__file__).parents[2]
MakeRun = Callable[[], RunFolder]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return write_run(tmp_path_factory.mktemp("finished"))


@pytest.fixture(scope="session")
def worked(finished: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, subprocess.CompletedProcess[str]]:
    """A copy of the run after its worker, as a real process."""
    copy = RunFolder(tmp_path_factory.mktemp("worked") / "run")
    shutil.copytree(finished.path, copy.path)
    done = subprocess.run([sys.executable, "-m", "exporters.worker", str(copy.path)], cwd=ROOT, capture_output=True, text=True, timeout=300)
    return copy, done


@pytest.fixture
def run(finished: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy of the finished run that a test may spoil."""
    shutil.copytree(finished.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def said(run: RunFolder) -> list[Event]:
    return [stamped.event for stamped in run.events()[0]]


def leftovers(run: RunFolder) -> list[str]:
    return sorted(path.name for path in run.path.rglob("*") if "onnx" in path.name or path.name.startswith(".export-"))


def test_worker_publishes_and_tells(worked: tuple[RunFolder, subprocess.CompletedProcess[str]]) -> None:
    run, done = worked
    assert (done.returncode, done.stderr) == (0, "")
    events = said(run)
    assert isinstance(events[0], ExportStarted) and isinstance(events[-1], ExportFinished)
    fractions = [event.fraction for event in events if isinstance(event, ExportProgress)]
    assert fractions == sorted(fractions) and fractions[0] > 0 and fractions[-1] < 1
    assert events[-1].size == run.onnx_path.stat().st_size
    assert leftovers(run) == ["model.onnx"]
    assert sorted(path.name for path in run.export_dir.iterdir()) == ["export.json", "model.onnx", "parity.json"]


def test_reports_say_what_was_checked(worked: tuple[RunFolder, subprocess.CompletedProcess[str]]) -> None:
    run, _ = worked
    parity = read_json(run.export_dir / "parity.json")
    assert parity["passed"] is True and parity["source"] == "held-out"
    assert [(b["batch"], b["images"]) for b in parity["batches"]] == [(1, 6), (2, 6), (5, 10)]
    assert all(b["probability"] < 1e-4 and b["same_top1"] == b["images"] for b in parity["batches"])
    report = read_json(run.export_dir / "export.json")
    assert report["sha256"] == sha256_file(run.onnx_path) and report["size"] == run.onnx_path.stat().st_size
    assert report["checked"] == {"images": 6, "of": 6, "correct": parity["correct"], "source": "held-out"}
    assert report["milliseconds"] > 0 and report["threads"] >= 1 and report["provider"] == "CPUExecutionProvider"


def test_file_answers_as_the_adapted_model_and_not_as_the_frozen_one(worked: tuple[RunFolder, subprocess.CompletedProcess[str]]) -> None:
    run, _ = worked
    spec = RunSpec.from_dict(run.spec())
    data = Data.read(run.dataset_path)
    loaded = load_run(run, spec)
    model = OnnxClassifier(run.onnx_path, threads=2)
    frozen = load_run(run, spec)
    frozen.adapters.detach()
    for index in data.held_out:
        pixels = decode_rgb(Path(data.dataset.items[index].path))
        with torch.no_grad():
            adapted, untuned = (c(torch.tensor(pixels)[None])[0][0].numpy() for c in (loaded.classifier, frozen.classifier))
        (found,) = model.predict([pixels])
        np.testing.assert_allclose(found.probabilities, adapted, atol=1e-4)
        assert np.abs(found.probabilities - untuned).max() > 0.01


def test_file_carries_the_run(worked: tuple[RunFolder, subprocess.CompletedProcess[str]]) -> None:
    run, _ = worked
    record = OnnxClassifier(run.onnx_path, threads=1).record
    assert sorted(record.labels) == sorted(CLASSES) and len(set(record.class_ids)) == 3
    assert (record.base_model, record.temperature, record.logit_scale, record.class_weights) == ("tiny", 1.5, 20.0, "blend")
    assert record.accuracy["held_out"] == {"n": 6, "correct": 4, "top1": 4 / 6, "interval": [0.3, 0.9]}
    assert record.accuracy["zero_shot"]["correct"] == 2 and record.adapter["rank"] == 2 and record.versions["blocklora"] == "0"
    data = run.onnx_path.read_bytes()
    assert b"secret.jpg" not in data and str(run.path).encode() not in data


def test_published_file_is_copied_without_making_it_again(
    worked: tuple[RunFolder, subprocess.CompletedProcess[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = worked
    monkeypatch.setattr(pipeline, "make_export", lambda *_: pytest.fail("made again"))
    report = export_run(run.path, tmp_path / "new folder" / "mine.onnx")
    assert (tmp_path / "new folder" / "mine.onnx").read_bytes() == run.onnx_path.read_bytes()
    assert report == read_json(run.export_dir / "export.json")
    assert [path.name for path in (tmp_path / "new folder").iterdir()] == ["mine.onnx"]
    with pytest.raises(ExportError, match="cannot be written"):
        export_run(run.path, run.onnx_path / "below-a-file.onnx")


@pytest.mark.parametrize("spoil", ["model", "adapter", "report"])
def test_published_file_that_no_longer_fits_is_made_again(
    worked: tuple[RunFolder, subprocess.CompletedProcess[str]], tmp_path: Path, spoil: str
) -> None:
    run = RunFolder(tmp_path / "run")
    shutil.copytree(worked[0].path, run.path)
    assert pipeline.published(run) is not None
    path = {"model": run.onnx_path, "adapter": run.adapter_path, "report": run.export_dir / "export.json"}[spoil]
    path.write_bytes(b"null" if spoil == "report" else path.read_bytes() + b"\0")
    assert pipeline.published(run) is None


def test_failed_gate_publishes_nothing_and_leaves_the_old_file(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A merge that does nothing: the file is then sound, and wrong."""
    run.export_dir.mkdir()
    run.onnx_path.write_bytes(b"the file of before")
    (run.path / ".export-killed").mkdir()
    ten_days_ago = time.time() - 10 * 24 * 3600
    os.utime(run.path / ".export-killed", (ten_days_ago, ten_days_ago))
    monkeypatch.setattr(Adapters, "merge", Adapters.detach)
    monkeypatch.setattr(worker, "_watch", lambda *_: None)
    assert worker.work(run) == 1
    failed = said(run)[-1]
    assert isinstance(failed, ExportFailed)
    names = [Path(p).name for p in ("0.png", "1.jpg")]
    assert any(name in failed.reason for name in names) and "off by" in failed.reason and "allowed: 0.001" in failed.reason
    assert "Nothing was published" in failed.advice
    assert run.onnx_path.read_bytes() == b"the file of before"
    assert leftovers(run) == ["model.onnx"] and not (run.export_dir / "parity.json").exists()


def test_unfinished_run_is_refused_in_words(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    run.adapter_path.unlink()
    with pytest.raises(ExportError, match="no adapter file"):
        export_run(run.path)
    monkeypatch.setattr(worker, "_watch", lambda *_: None)
    assert worker.work(run) == 1
    failed = said(run)[-1]
    assert isinstance(failed, ExportFailed) and "no adapter file" in failed.reason and failed.advice


def test_adapter_of_another_base_is_refused(run: RunFolder, tmp_path: Path) -> None:
    spec = run.spec()
    other = tmp_path / "other-home"
    shutil.copytree(Path(spec["home"]) / "backbones", other / "backbones")
    weights = other / "backbones" / "tiny" / "open_clip_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    write_json(run.spec_path, {**spec, "home": str(other)})
    with pytest.raises(AdapterError, match="trained on tiny"):
        export_run(run.path)


def test_bug_is_reported_as_one_with_its_traceback(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def bug(*_: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setattr(pipeline, "make_export", bug)
    monkeypatch.setattr(worker, "_watch", lambda *_: None)
    assert worker.work(run) == 1
    failed = said(run)[-1]
    assert isinstance(failed, ExportFailed) and "ZeroDivisionError: oh" in failed.reason
    assert "Traceback" in capsys.readouterr().err
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"  # a worker shares the machine with the window


def test_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(StudioError, match="not a run"):
        export_run(tmp_path)
    assert worker.main([]) == 2


def test_gate_uses_training_pictures_only_where_none_was_held_out(run: RunFolder) -> None:
    data = Data.read(run.dataset_path)
    pictures, source, total = gate_pictures(data)
    names = [picture.name for picture in pictures()]
    assert (source, total, len(names)) == ("held-out", 6, 6)
    assert sorted(names) == sorted(f"{name}/{file}" for name in CLASSES for file in ("0.png", "1.jpg"))
    all_train = Data(data.dataset, tuple(range(len(data.dataset.items))), (), None)
    pictures, source, total = gate_pictures(all_train)
    assert (source, total, len(list(pictures()))) == ("training", 12, 12)
    _, source, total = gate_pictures(data, since_trained_on=True)
    assert (source, total) == ("training", 6)


def test_deleted_pictures_are_left_out_of_the_gate(run: RunFolder, tmp_path: Path) -> None:
    values = read_json(run.dataset_path)
    held = values["held_out"]
    for index in held[1:]:
        values["dataset"]["items"][index]["path"] = str(tmp_path / "gone.png")
    write_json(run.dataset_path, values)
    pictures, _, total = gate_pictures(Data.read(run.dataset_path))
    assert total == len(held) and len(list(pictures())) == 1


def test_no_picture_left_is_no_pass(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    values = read_json(run.dataset_path)
    for item in values["dataset"]["items"]:
        item["path"] += ".gone"
    write_json(run.dataset_path, values)
    with pytest.raises(ParityError, match="no picture"):
        make_export(run, lambda stage, fraction: None)
    assert leftovers(run) == []


def test_cancel_ends_a_lone_export(run: RunFolder) -> None:
    LocalLauncher().launch("exporters.worker", run)
    deadline = time.monotonic() + 120
    while not run.events()[0] and time.monotonic() < deadline:
        time.sleep(0.05)
    run.request(CANCEL)
    while run.alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert isinstance(said(run)[-1], Cancelled), run.log_tail()
    assert not run.onnx_path.exists()


def test_report_is_json(worked: tuple[RunFolder, subprocess.CompletedProcess[str]]) -> None:
    for name in ("export.json", "parity.json"):
        json.loads((worked[0].export_dir / name).read_text(encoding="utf-8"))
