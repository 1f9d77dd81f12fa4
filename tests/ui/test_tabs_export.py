"""The Export tab in each state of the file, and the lines of code it offers, run as they stand."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tab_parts import Bench, finish, new_run, publish
from tiny_model import TINY_LABELS, export_tiny_model

from blocklora.errors import JobError
from blocklora.files import read_json, write_json
from blocklora.jobs import events as said
from blocklora.ui.export_tab import ExportTab
from blocklora.ui.export_view import SNIPPET, snippets
from blocklora.ui.forms import Act


def tab_of(bench: Bench) -> ExportTab:
    room: Any = "room"
    return ExportTab(bench.ctx, room)


def test_nothing_to_export_and_nothing_exported_have_one_way_on(bench: Bench) -> None:
    tab = tab_of(bench)
    assert 'data-do="new-project"' in tab.show(None)["room"]
    drawn = tab.show(bench.project)["room"]
    assert "Nothing to export yet" in drawn and 'data-tab="train"' in drawn and drawn.count("<button") == 1
    with pytest.raises(JobError, match="nothing to export"):
        tab.answer(Act("export", {}), bench.values)
    finish(new_run(bench, "20260101-000000-quick"), bench)
    drawn = tab.show(bench.project)["room"]
    assert 'data-act="export"' in drawn and drawn.count("<button") == 1


def test_export_starts_the_worker_and_shows_how_far_it_is(bench: Bench) -> None:
    run = new_run(bench, "20260101-000000-quick")
    finish(run, bench)
    tab = tab_of(bench)
    tab.answer(Act("export", {}), bench.values)
    assert bench.launcher.started[-1] == ("exporters.worker", run.path)
    run.writer()(said.ExportStarted())
    run.writer()(said.ExportProgress("Checking it against the trained model", 0.65))
    drawn = tab.tick(bench.values)["room"]
    assert "Checking it against the trained model" in drawn and 'aria-valuenow="65.0"' in drawn
    tab.answer(Act("cancel", {}), bench.values)
    assert run.requested() == "cancel"


def test_a_failed_gate_names_the_picture_and_publishes_nothing(bench: Bench) -> None:
    run = new_run(bench, "20260101-000000-quick")
    finish(run, bench)
    run.writer()(said.ExportStarted())
    run.writer()(said.ExportFailed("On <cat>/3.jpg (batch of 2) the exported file is off by 0.2.", "Nothing was published. Export again."))
    drawn = tab_of(bench).show(bench.project)["room"]
    assert "On &lt;cat&gt;/3.jpg (batch of 2) the exported file is off by 0.2." in drawn
    assert "Nothing was published" in drawn and 'data-act="export"' in drawn and "download" not in drawn


def test_a_file_shows_its_figures_and_where_it_lies(bench: Bench) -> None:
    run = new_run(bench, "20260101-000000-quick")
    finish(run, bench)
    publish(run)
    drawn = tab_of(bench).show(bench.project)["room"]
    for words in ("1.2 MB", "7.5 ms", "on the processor, 2 threads", "0.000003", "6 pictures", "all of them; in batches of 1, 2 and 5"):
        assert words in drawn, words
    assert str(run.onnx_path) in drawn
    url = re.search(r'href="/download/([^/]+)/([^"]+)"', drawn)
    assert url and url[2] == "colours-shapes.onnx"
    offer = bench.ctx.downloads.find(url[1])
    assert offer is not None and offer.path == run.onnx_path.resolve()
    assert tab_of(bench).tick(bench.values)["room"] == drawn  # the address stays, or the page would be redrawn for ever


def test_where_the_file_lies_is_told_on_this_machine_only(bench: Bench) -> None:
    run = new_run(bench, "20260101-000000-quick")
    finish(run, bench)
    publish(run)
    away = dataclasses.replace(bench.ctx, local=False)
    drawn = ExportTab(away, "room").show(bench.project)["room"]  # type: ignore[arg-type]
    assert "/download/" in drawn and str(run.path) not in drawn


def test_an_earlier_file_stays_on_offer_while_a_new_one_is_made(bench: Bench) -> None:
    run = new_run(bench, "20260101-000000-quick")
    finish(run, bench)
    publish(run)
    bench.launcher.launch("", run)
    run.writer()(said.ExportStarted())
    drawn = tab_of(bench).show(bench.project)["room"]
    assert "Making the ONNX file" in drawn and "/download/" in drawn
    assert re.search(r'data-act="export"[^>]* disabled', drawn)


def test_project_names_are_quoted_in_code() -> None:
    drawn = snippets('a "quoted" <name>')
    assert "&lt;name&gt;" in drawn and "<name>" not in drawn
    assert "project=&#x27;a &quot;quoted&quot; &lt;name&gt;&#x27;" in drawn


def test_the_lines_of_code_run_as_they_stand(tmp_path: Path) -> None:
    """A real file, and a process that has onnxruntime, NumPy and Pillow but nothing of ours in reach."""
    export_tiny_model(tmp_path / "model.onnx")
    Image.new("RGB", (60, 40), (200, 30, 30)).save(tmp_path / "photo.jpg")
    assert len([line for line in SNIPPET.splitlines() if line]) <= 10
    done = subprocess.run([sys.executable, "-I", "-c", SNIPPET], cwd=tmp_path, check=True, timeout=300, capture_output=True, text=True)
    label, probability = done.stdout.strip().rsplit(" ", 1)
    assert label in TINY_LABELS and 0 < float(probability) <= 1


def published_run(bench: Bench) -> Any:
    run = new_run(bench, "20260101-000000-quick")
    finish(run, bench)
    publish(run)
    return run


def made_of(run: Any, form: str, **more: Any) -> None:
    """As the worker leaves it: the form is of the file that is there now."""
    report = read_json(run.export_dir / "export.json") | {"sha256": "f" * 64}
    write_json(run.export_dir / "export.json", report)
    known = read_json(run.export_dir / "made.json", {})
    write_json(run.export_dir / "made.json", {**known, form: {"of": report["sha256"], **more}})


def test_forms_are_made_by_the_worker_and_shown_at_once(bench: Bench) -> None:
    run, tab = published_run(bench), tab_of(bench)
    drawn = tab.show(bench.project)["room"]
    assert all(f'data-form="{form}"' in drawn for form in ("bundle", "variants", "checkpoint", "lora", "dataset"))
    drawn = tab.answer(Act("make", {"form": "bundle"}), bench.values)["room"]
    assert bench.launcher.started[-1] == ("exporters.worker bundle", run.path)
    assert "Everything in one zip" in drawn and "Starting" in drawn and 'data-act="cancel"' in drawn
    assert len(re.findall(r'data-act="make"[^>]* disabled', drawn)) == drawn.count('data-act="make"') == 5
    run.writer()(said.FormProgress("bundle", "Writing the zip", 0.7))
    assert 'aria-valuenow="70.0"' in tab.tick(bench.values)["room"]
    with pytest.raises(JobError, match="no form 'cake'"):
        tab.answer(Act("make", {"form": "cake"}), bench.values)


def test_a_form_that_was_not_made_says_why_and_leaves_the_file(bench: Bench) -> None:
    run = published_run(bench)
    run.writer()(said.FormStarted("lora"))
    run.writer()(said.FormFailed("lora", "<built-in> has no twin in transformers.", "Take the checkpoint."))
    drawn = tab_of(bench).show(bench.project)["room"]
    assert "Ordinary LoRA adapter: not made" in drawn and "&lt;built-in&gt; has no twin" in drawn and "Take the checkpoint." in drawn
    assert "/download/" in drawn and re.search(r'data-act="make" data-form="lora"', drawn)


def test_a_zip_without_its_page_says_so(bench: Bench) -> None:
    run = published_run(bench)
    (run.export_dir / "bundle.zip").write_bytes(b"zip")
    made_of(run, "bundle", note="onnxruntime-web could not be fetched.")
    drawn = tab_of(bench).show(bench.project)["room"]
    assert "colours-shapes.zip" in drawn and "missing from it. onnxruntime-web could not be fetched." in drawn


def test_smaller_files_show_what_they_cost(bench: Bench) -> None:
    run = published_run(bench)
    row = {"milliseconds": 3.0, "fp32_milliseconds": 7.5, "images": 40, "fp32_correct": 36, "marked": True, "sha256": "", "created": ""}
    rows = [
        {"precision": "fp16", "refused": "onnxruntime cannot run <it>."},
        {"precision": "int8", "method": "static", "file": "model-int8.onnx", "size": 400_000, "correct": 35, "agreement": 38} | row,
    ]
    (run.export_dir / "model-int8.onnx").write_bytes(b"8")
    write_json(run.export_dir / "variants.json", rows)
    assert "Make smaller files" in tab_of(bench).show(bench.project)["room"], "variants of another file are not shown"
    made_of(run, "variants")
    drawn = tab_of(bench).show(bench.project)["room"]
    for words in ("0.4 MB", "3.0 ms", "35 of 40", "95 %", "less accurate", "36 of 40", "100 %", "7.5 ms", "cannot run &lt;it&gt;."):
        assert words in drawn, words
    assert "colours-shapes-int8.onnx" in drawn and "colours-shapes-fp16.onnx" not in drawn


def test_class_names_that_changed_are_offered_to_the_file(bench: Bench) -> None:
    run, tab = published_run(bench), tab_of(bench)
    classes = bench.project.classes()
    report = read_json(run.export_dir / "export.json")
    names = {"labels": [info.name for info in classes], "class_ids": [info.id for info in classes]}
    write_json(run.export_dir / "export.json", report | names)
    assert "Use the new names" not in tab.show(bench.project)["room"]
    bench.project.rename_class(classes[0].id, "<Hund>")
    drawn = tab.show(bench.project)["room"]
    assert f"“{classes[0].name}” is now “&lt;Hund&gt;”" in drawn
    tab.answer(Act("make", {"form": "labels"}), bench.values)
    assert bench.launcher.started[-1] == ("exporters.worker labels", run.path)


def test_images_that_were_trained_on_since_are_not_called_unseen(bench: Bench) -> None:
    run = published_run(bench)
    assert "images it never saw." in tab_of(bench).show(bench.project)["room"]
    result = run.result()
    write_json(run.result_path, result | {"held_out": result["held_out"] | {"since_trained_on": True}})
    assert "images before it was trained on these too." in tab_of(bench).show(bench.project)["room"]
