"""The rule of a run, from its adapter file and what was chosen into the published file, and changed there without a training."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.torch
import torch
from onnx import numpy_helper
from tiny_run import CLASSES, write_run

from blocklora.errors import ExportError
from blocklora.files import read_json, write_json
from blocklora.jobs.run_folder import RunFolder
from blocklora.lora.adapter_file import load_adapter, save_adapter
from blocklora.reject import OFF, PERSON, Wish
from blocklora.services.exported import VARIANTS, precisions
from blocklora.services.rejecting import RULE, choose, rejecting
from exporters.forms import make_form
from exporters.inspection import inspect_model
from exporters.pipeline import make_export
from exporters.predictor import OnnxClassifier
from exporters.relabel import relabel
from exporters.rerule import rerule

NEW = ("Apfel", "Birne", "Pflaume")


def silent(stage: str, fraction: float) -> None:
    assert stage and 0 <= fraction <= 1


def with_means(run: RunFolder) -> RunFolder:
    """Let the run be one that measured familiarity: class means in the adapter file, scores in the result."""
    tensors, meta = load_adapter(run.adapter_path)
    means = torch.nn.functional.normalize(torch.randn(len(CLASSES), 32, generator=torch.Generator().manual_seed(4)), dim=1)
    save_adapter(run.adapter_path, {**tensors, "class_means": means, "familiarity": torch.tensor([0.1, 0.05])}, meta)
    rows = [{"label": i % 3, "predicted": 0, "probability": 0.4 + i / 40, "familiar": i / 10 - 1} for i in range(20)]
    result = run.result() or {}
    write_json(run.result_path, {**result, "held_out": {**result["held_out"], "images": rows}})
    return run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = with_means(write_run(tmp_path_factory.mktemp("rerule")))
    make_export(run, silent)
    make_form(run, VARIANTS, silent)
    return run


@pytest.fixture
def run(finished: RunFolder, tmp_path: Path) -> RunFolder:
    shutil.copytree(finished.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def rule_in(path: Path) -> dict[str, float]:
    rule = inspect_model(path).metadata.reject
    return {key: rule[key] for key in ("least_familiar", "least_sure")}


def weights(path: Path) -> dict[str, bytes]:
    graph = onnx.load_model(path, load_external_data=False).graph
    return {t.name: numpy_helper.to_array(t).tobytes() for t in graph.initializer if not t.name.startswith("known_least")}


def test_the_published_file_has_the_default_rule_as_a_cosine_of_its_own_model(run: RunFolder) -> None:
    found = rejecting(run)
    assert found is not None and found.wish.how == "default" and not found.waits
    fifth = np.quantile(np.arange(20) / 10 - 1, 0.05)
    assert rule_in(run.onnx_path) == {"least_familiar": pytest.approx(0.1 + 0.05 * fifth, abs=1e-6), "least_sure": 0.0}
    measured = inspect_model(run.onnx_path).metadata.reject["measured"]
    assert (measured["n"], measured["answered"], measured["on"]) == (20, 19, "held-out")


def test_another_choice_changes_two_constants_in_every_precision(run: RunFolder) -> None:
    files = [run.onnx_path, run.export_dir / "model-fp16.onnx", run.export_dir / "model-int8.onnx"]
    before = [weights(path) for path in files]
    choose(run, Wish(-99.0, 0.45, PERSON))
    found = rejecting(run)
    assert found is not None and found.waits
    make_form(run, RULE, silent)
    found = rejecting(run)
    assert found is not None and not found.waits and found.in_file == Wish(-99.0, 0.45, PERSON)
    for path, was in zip(files, before, strict=True):
        assert weights(path) == was
        assert rule_in(path) == {"least_familiar": -2.0, "least_sure": pytest.approx(0.45)}
        predictions = OnnxClassifier(path).predict(list(np.random.default_rng(1).integers(0, 256, (9, 30, 40, 3), dtype=np.uint8)))
        assert [p.known for p in predictions] == [bool(p.probabilities.max() >= np.float32(0.45)) for p in predictions]
    assert {entry.precision for entry in precisions(run)} == {"fp32", "fp16", "int8"}
    assert read_json(run.export_dir / "parity.json")["passed"]


def test_off_answers_everything_and_the_default_comes_back(run: RunFolder) -> None:
    choose(run, Wish(how=OFF))
    rerule(run, silent)
    assert rule_in(run.onnx_path) == {"least_familiar": -2.0, "least_sure": 0.0}
    choose(run, None)
    found = rejecting(run)
    assert found is not None and found.waits and found.wish.how == "default"


def test_new_names_keep_the_rule_of_the_file_though_another_was_chosen_since(run: RunFolder) -> None:
    before = rule_in(run.onnx_path)
    choose(run, Wish(0.9, 0.9, PERSON))
    relabel(run, silent, NEW)
    assert rule_in(run.onnx_path) == before and inspect_model(run.onnx_path).metadata.labels == NEW


def test_a_run_from_before_there_were_rules_exports_without_and_says_so(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    report = make_export(run, silent)
    assert report["reject"] is None and not inspect_model(run.onnx_path).has_rule and rejecting(run) is None
    before = run.onnx_path.read_bytes()
    with pytest.raises(ExportError, match="before files could say"):
        rerule(run, silent)
    assert run.onnx_path.read_bytes() == before
    # The same published file with an adapter file that has the means gets a rule.
    with_means(run)
    with pytest.raises(ExportError, match="not of its adapters"):
        rerule(run, silent)


def test_tensors_of_the_wrong_shape_make_no_rule(run: RunFolder) -> None:
    tensors, meta = load_adapter(run.adapter_path)
    save_adapter(run.adapter_path, {**tensors, "class_means": torch.ones(2, 32)}, meta)
    assert make_export(run, silent)["reject"] is None
    assert "class_means" in safetensors.torch.load_file(run.adapter_path)
