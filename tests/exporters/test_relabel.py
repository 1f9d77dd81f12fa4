"""Other names for the classes of a published file: metadata change, weights do not."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from tiny_run import CLASSES, write_run

from blocklora.errors import ExportError
from blocklora.files import read_json, sha256_file, write_json
from blocklora.jobs.run_folder import RunFolder
from blocklora.jobs.spec import RunSpec
from blocklora.projects.library import Library
from blocklora.services.exported import DATASET, LABELS, MADE, VARIANTS, exported, made, precisions
from exporters.forms import make_form
from exporters.inspection import inspect_model
from exporters.labels import labels_now
from exporters.pipeline import export_run, make_export, published
from exporters.relabel import relabel

NEW = ("Apfel", "Birne", "Pflaume")


def silent(stage: str, fraction: float) -> None:
    assert stage and 0 <= fraction <= 1


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = write_run(tmp_path_factory.mktemp("relabel"))
    make_export(run, silent)
    make_form(run, VARIANTS, silent)
    return run


@pytest.fixture
def run(finished: RunFolder, tmp_path: Path) -> RunFolder:
    shutil.copytree(finished.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def graph(path: Path) -> bytes:
    return onnx.load_model(path, load_external_data=False).graph.SerializeToString(deterministic=True)


def test_metadata_change_and_nothing_else_does(run: RunFolder) -> None:
    files = {name: run.export_dir / name for name in ("model.onnx", "model-fp16.onnx", "model-int8.onnx")}
    before = {name: (graph(path), inspect_model(path).props) for name, path in files.items()}
    checked = read_json(run.export_dir / "parity.json")
    (run.export_dir / "parity.json").unlink()
    relabel(run, silent, NEW)
    for name, path in files.items():
        info, (was_graph, props) = inspect_model(path), before[name]
        assert graph(path) == was_graph, name
        assert info.metadata.labels == NEW
        assert {key: value for key, value in info.props.items() if key != "labels"} == {k: v for k, v in props.items() if k != "labels"}
    assert read_json(run.export_dir / "parity.json")["images"] == checked["images"]  # it went through the gate again
    report = published(run)
    assert report is not None and report["labels"] == list(NEW) and report["sha256"] == sha256_file(run.onnx_path)
    assert export_run(run.path)["sha256"] == report["sha256"], "the renamed file is the published one: nothing is made anew"


def test_what_was_made_of_the_old_file_is_out_of_date_but_its_variants_follow(run: RunFolder) -> None:
    entries = read_json(run.export_dir / MADE)
    (run.export_dir / "dataset.zip").write_bytes(b"zip")
    write_json(run.export_dir / MADE, {**entries, DATASET: {"of": entries[VARIANTS]["of"]}})
    assert made(run, DATASET) is not None
    relabel(run, silent, NEW)
    assert made(run, DATASET) is None
    found = {entry.precision: entry for entry in precisions(run)}
    assert set(found) == {"fp32", "fp16", "int8"}
    rows = {row["precision"]: row for row in read_json(run.export_dir / "variants.json")}
    for precision in ("fp16", "int8"):
        assert rows[precision]["sha256"] == sha256_file(found[precision].path)


def test_names_that_do_not_fit_are_refused_and_change_nothing(run: RunFolder) -> None:
    before = run.onnx_path.read_bytes()
    for names in (("a", "b"), ("a", "b", "b")):
        with pytest.raises(ExportError, match="classes, or two are the same"):
            relabel(run, silent, names)
    assert run.onnx_path.read_bytes() == before


def test_names_come_from_the_project_by_the_ids_of_classes(run: RunFolder, data_home: Path) -> None:
    project = Library(data_home).create("Fruit")
    ids = [project.add_class(name) for name in CLASSES]
    spec = replace(RunSpec.from_dict(run.spec()), home=str(data_home), project_id=project.id)
    assert labels_now(spec, ids, CLASSES) == CLASSES
    project.rename_class(ids[1], "Birne")
    assert labels_now(spec, ids, CLASSES) == (CLASSES[0], "Birne", CLASSES[2])
    project.delete_class(ids[1])
    assert labels_now(spec, ids, CLASSES) == CLASSES, "a class that is gone keeps the name it had"
    project.rename_class(ids[0], CLASSES[1])
    assert labels_now(spec, ids, CLASSES) == (CLASSES[1], f"{CLASSES[1]} (deleted)", CLASSES[2])
    assert labels_now(replace(spec, project_id="gone"), ids, CLASSES) == CLASSES
    assert labels_now(replace(spec, project_id=""), ids, CLASSES) == CLASSES


def test_the_worker_renames(run: RunFolder, data_home: Path) -> None:
    project = Library(data_home).create("Fruit")
    ids = [project.add_class(name) for name in NEW]
    spec = run.spec() | {"project_id": project.id}
    # The run's own backbone stays where it is: the project is copied beside it.
    shutil.copytree(data_home / "projects", Path(spec["home"]) / "projects", dirs_exist_ok=True)
    write_json(run.spec_path, spec)
    report = read_json(run.export_dir / "export.json")
    make_export_with_ids(run, ids)
    make_form(run, LABELS, silent)
    found = exported(run)
    assert found is not None and tuple(found.labels.values()) == NEW
    assert read_json(run.export_dir / "export.json")["sha256"] != report["sha256"]


def make_export_with_ids(run: RunFolder, ids: list[str]) -> None:
    """Let the published file be of the classes `ids`, as if the run had been trained in that project."""
    model = onnx.load_model(run.onnx_path, load_external_data=False)
    props = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**props, "class_ids": str(ids).replace("'", '"')})
    run.onnx_path.write_bytes(model.SerializeToString(deterministic=True))
    report = read_json(run.export_dir / "export.json")
    write_json(run.export_dir / "export.json", {**report, "sha256": sha256_file(run.onnx_path)})
