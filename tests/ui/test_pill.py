"""The job pill's words for what a run is doing."""

from __future__ import annotations

import dataclasses

import pytest
from tab_parts import Bench, new_run, train_some

from blocklora.jobs import events as said
from blocklora.services.studio import QueueEntry
from blocklora.ui.pill import Pill


@pytest.fixture
def entry(bench: Bench) -> QueueEntry:
    run = new_run(bench, "20260101-000000-quick")
    train_some(run)
    return QueueEntry(bench.project.id, bench.project.name, run.name, run.path, False, bench.studio.status(run.path))


def drawn(bench: Bench, entries: list[QueueEntry], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(bench.studio, "queue", lambda: entries)
    return Pill(bench.studio).draw(bench.project)


def test_says_how_far_a_training_is(bench: Bench, entry: QueueEntry, monkeypatch: pytest.MonkeyPatch) -> None:
    words = drawn(bench, [entry], monkeypatch)
    assert "Training" in words and "30 %" in words and "left" in words
    elsewhere = dataclasses.replace(entry, project_id="other", project_name="<b>Other</b>")
    assert "&lt;b&gt;Other" in drawn(bench, [elsewhere], monkeypatch)


def test_says_exporting_when_the_training_is_over(bench: Bench, entry: QueueEntry, monkeypatch: pytest.MonkeyPatch) -> None:
    from blocklora.services.status import fold

    status = entry.status
    for event in (said.Finished(60.0, False), said.ExportStarted(), said.ExportProgress("Writing the ONNX file", 0.35)):
        status = fold(status, said.Stamped(0.0, event))
    words = drawn(bench, [dataclasses.replace(entry, status=status)], monkeypatch)
    assert "Exporting" in words and "35 %" in words and "Training" not in words


def test_rests(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Ready" in drawn(bench, [], monkeypatch)
