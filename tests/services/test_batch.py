"""Many pictures at once: every file has its line, hostile zips too, and the CSV is safe to open."""

from __future__ import annotations

import csv
import threading
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blocklora.errors import ModelFileError
from blocklora.services.batch import Batch, Batches, Task, fill

DEADLINE = 60.0


@dataclass(frozen=True)
class Said:
    label: str
    probability: float = 0.75
    top: Sequence[tuple[str, float]] = ()
    milliseconds: float = 2.0


class Red:
    """Says what the brightest channel is called; one label would be a formula."""

    labels = ("=red", "green", "blue")
    provider = "CPUExecutionProvider"
    metadata: dict[str, Any] = {}

    def predict(self, images: Sequence[np.ndarray]) -> list[Said]:
        return [Said(self.labels[int(image.reshape(-1, 3).mean(axis=0).argmax())]) for image in images]


def picture(path: Path, colour: tuple[int, int, int]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 16), colour).save(path)
    return path


@pytest.fixture
def mixed_zip(tmp_path: Path) -> Path:
    red, green = picture(tmp_path / "a.png", (250, 0, 0)), picture(tmp_path / "b.png", (0, 250, 0))
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(red, "folder/red.png")
        archive.writestr("__MACOSX/._red.png", b"x")
        archive.writestr("folder/empty.jpg", b"")
        archive.writestr("../../escape.png", green.read_bytes())
        archive.writestr("folder/broken.jpg", b"\xff\xd8\xff\xe0 not really")
        archive.writestr("folder/notes.txt", b"hello")
        archive.write(green, "folder/=green.png")
    return path


def run_of(task: Task) -> Batch:
    batch = Batch("ab12cd", "run")
    fill(batch, task, Red())
    return batch


def test_every_file_has_its_line_in_order(mixed_zip: Path, tmp_path: Path) -> None:
    blue = picture(tmp_path / "blue.png", (0, 0, 250))
    missing = tmp_path / "missing.png"
    batch = run_of(Task([("blue.png", blue), ("many.zip", mixed_zip), ("missing.png", missing)], "run", tmp_path / "out"))
    lines = [(row.name, row.label, bool(row.error)) for row in batch.rows]
    assert lines == [
        ("blue.png", "blue", False),
        ("folder/red.png", "=red", False),
        ("folder/empty.jpg", "", True),
        ("../../escape.png", "", True),
        ("folder/broken.jpg", "", True),
        ("folder/notes.txt", "", True),
        ("folder/=green.png", "green", False),
        ("missing.png", "", True),
    ]
    assert batch.answered == 3 and batch.total == 8 and batch.milliseconds == 2.0 and batch.provider == "CPUExecutionProvider"
    reasons = {row.name: row.error for row in batch.rows}
    assert "0 bytes" in reasons["folder/empty.jpg"] and "leads out of the zip" in reasons["../../escape.png"]
    assert not (tmp_path / "escape.png").exists() and not (tmp_path.parent / "escape.png").exists()


def test_csv_has_formulas_defused(mixed_zip: Path, tmp_path: Path) -> None:
    formula = picture(tmp_path / "=1+1.png", (250, 0, 0))
    batch = run_of(Task([("=1+1.png", formula)], "run", tmp_path / "out"))
    assert batch.csv is not None and batch.csv.parent == tmp_path / "out"
    with batch.csv.open(encoding="utf-8-sig", newline="") as stream:
        assert list(csv.reader(stream)) == [["file", "label", "probability", "error"], ["'=1+1.png", "'=red", "0.75", ""]]


def test_nothing_unpacked_is_left_behind(mixed_zip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(work))
    run_of(Task([("many.zip", mixed_zip)], "run", tmp_path / "out"))
    assert list(work.iterdir()) == []


def wait(over: threading.Event) -> None:
    assert over.wait(DEADLINE)


def test_work_goes_on_in_the_background_and_the_latest_is_remembered(mixed_zip: Path, tmp_path: Path) -> None:
    batches, over = Batches(), threading.Event()
    batch = batches.start("p", Task([("many.zip", mixed_zip)], "run", tmp_path / "out"), Red, over.set)
    wait(over)
    assert batches.latest("p") is batch and batch.over and batch.answered == 2 and batch.csv is not None
    batches.forget("p")
    assert batches.latest("p") is None


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [("no.zip", b"nothing of the kind", "is not a zip file"), ("empty.zip", b"PK\x05\x06" + bytes(18), "no file in it")],
)
def test_a_zip_that_is_none_is_said(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    batches, over = Batches(), threading.Event()
    batch = batches.start("p", Task([(name, path)], "run", tmp_path / "out"), Red, over.set)
    wait(over)
    assert words in batch.error and batch.csv is None and batch.over


def test_a_model_that_cannot_be_opened_is_said(mixed_zip: Path, tmp_path: Path) -> None:
    def refuse() -> Red:
        raise ModelFileError("the file is damaged.", "Export again.")

    batches, over = Batches(), threading.Event()
    batch = batches.start("p", Task([("many.zip", mixed_zip)], "run", tmp_path / "out"), refuse, over.set)
    wait(over)
    assert batch.error == "the file is damaged. Export again."


def test_another_batch_gives_up_the_one_before(tmp_path: Path) -> None:
    held, going = threading.Event(), threading.Event()

    class Slow(Red):
        def predict(self, images: Sequence[np.ndarray]) -> list[Said]:
            going.set()
            wait(held)
            return super().predict(images)

    files = [(f"{i}.png", picture(tmp_path / f"{i}.png", (0, 0, 200))) for i in range(6)]
    batches, first_over, second_over = Batches(), threading.Event(), threading.Event()
    first = batches.start("p", Task(files, "run", tmp_path / "out"), Slow, first_over.set)
    wait(going)
    second = batches.start("p", Task(files[:1], "run", tmp_path / "out"), Red, second_over.set)
    held.set()
    wait(first_over)
    wait(second_over)
    assert first.answered < 6 and first.csv is None
    assert batches.latest("p") is second and second.answered == 1
