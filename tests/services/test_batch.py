"""Many pictures at once: every file has its line, hostile zips too, and the CSV is safe to open."""

from __future__ import annotations

import csv
import os
import threading
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blocklora.errors import ExportError, ImportRefused, ModelFileError
from blocklora.services.batch import Batch, Batches, Task, fill, make_file, start_making
from blocklora.services.batch_files import list_paths, list_uploads

DEADLINE = 60.0


@dataclass(frozen=True)
class Said:
    label: str
    probability: float = 0.75
    top: Sequence[tuple[str, float]] = ()
    milliseconds: float = 2.0
    known: bool | None = None


class Red:
    """Says what the brightest channel is called; one label would be a formula."""

    labels = ("=red", "green", "blue")
    provider = "CPUExecutionProvider"
    metadata: dict[str, Any] = {}

    def said(self, image: np.ndarray) -> Said:
        label = self.labels[int(image.reshape(-1, 3).mean(axis=0).argmax())]
        return Said(label, top=((label, 0.75), *((other, 0.125) for other in self.labels if other != label)))

    def predict_each(self, items: Iterable[tuple[Any, np.ndarray | None]], top: int = 5) -> Iterator[tuple[Any, Said | None]]:
        for key, image in items:
            yield key, None if image is None else self.said(image)


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


def run_of(files: Sequence[tuple[str, Path]], out: Path) -> Batch:
    batch = Batch("ab12cd", "run", out)
    fill(batch, Task(list_uploads(files), "run", out), Red())
    batch.over = True
    return batch


def read_csv(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.reader(stream))


def test_every_file_has_its_line_in_order(mixed_zip: Path, tmp_path: Path) -> None:
    blue = picture(tmp_path / "blue.png", (0, 0, 250))
    missing = tmp_path / "missing.png"
    batch = run_of([("blue.png", blue), ("many.zip", mixed_zip), ("missing.png", missing)], tmp_path / "out")
    lines = [(row.name, row.label, bool(row.error)) for row in batch.table.rows()]
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
    assert batch.answered == 3 and batch.total == batch.done == 8 and batch.failed == 5 and batch.provider == "CPUExecutionProvider"
    assert [row.name for row in batch.table.page(6, 50)] == ["folder/=green.png", "missing.png"]
    reasons = {row.name: row.error for row in batch.table.rows()}
    assert "0 bytes" in reasons["folder/empty.jpg"] and "leads out of the zip" in reasons["../../escape.png"]
    assert not (tmp_path / "escape.png").exists() and not (tmp_path.parent / "escape.png").exists()


def test_csv_has_formulas_defused_and_every_label(mixed_zip: Path, tmp_path: Path) -> None:
    formula, broken = picture(tmp_path / "=1+1.png", (250, 0, 0)), tmp_path / "broken.jpg"
    broken.write_bytes(b"nothing of the kind")
    batch = run_of([("=1+1.png", formula), ("broken.jpg", broken)], tmp_path / "out")
    head, first, second = read_csv(batch.files["csv"])
    assert batch.files["csv"].parent == tmp_path / "out"
    assert head == ["file", "label", "probability", "label_2", "probability_2", "label_3", "probability_3", "known", "error"]
    assert first == ["'=1+1.png", "'=red", "0.75", "green", "0.125", "blue", "0.125", "", ""]
    assert second[:8] == ["broken.jpg", "", "", "", "", "", "", ""] and "damaged" in second[8]


def test_parquet_keeps_names_and_kinds(mixed_zip: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    batch = run_of([("many.zip", mixed_zip)], tmp_path / "out")
    found = pq.read_table(make_file(batch, "parquet")[0])
    assert found.column_names == read_csv(batch.files["csv"])[0]
    assert found["file"].to_pylist() == [row.name for row in batch.table.rows()]
    assert found["label"].to_pylist() == ["=red", None, None, None, None, "green"]
    assert str(found.schema.field("probability_2").type) == "float" and found["probability"][0].as_py() == 0.75
    assert [reason is None for reason in found["error"].to_pylist()] == [True, False, False, False, False, True]


def test_zip_of_sorted_pictures_has_the_very_files(mixed_zip: Path, tmp_path: Path) -> None:
    red = picture(tmp_path / "up" / "red.png", (240, 0, 0))
    batch = run_of([("red.png", red), ("many.zip", mixed_zip)], tmp_path / "out")
    with zipfile.ZipFile(make_file(batch, "zip")[0]) as archive, zipfile.ZipFile(mixed_zip) as given:
        assert sorted(archive.namelist()) == ["=red/red (2).png", "=red/red.png", "green/=green.png"]
        assert archive.read("=red/red.png") == red.read_bytes() and archive.read("=red/red (2).png") == given.read("folder/red.png")


def test_a_zip_says_what_is_not_in_it(tmp_path: Path) -> None:
    """Uploads are put away after some hours; a file may have no time, or one that a zip does not know."""
    old, gone = (picture(tmp_path / "up" / f"{name}.png", (240, 0, number)) for number, name in enumerate(("old", "gone")))
    os.utime(old, (0, 0))
    batch = run_of([("old.png", old), ("gone.png", gone)], tmp_path / "out")
    gone.unlink()
    path, missing = make_file(batch, "zip")
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["=red/old.png"] and missing == 1
    old.unlink()
    path.unlink()
    with pytest.raises(ExportError, match="None of the pictures"):
        make_file(batch, "zip")
    assert not list((tmp_path / "out").glob("sorted-*"))


def test_a_folder_is_walked_in_order_without_what_is_left_out(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for name in ("b/2.png", "b/1.PNG", "a.jpg", "b/.hidden.png", "sorted/x/3.png", "notes.txt"):
        picture((root / name).with_suffix(".png"), (9, 9, 200)).rename(root / name)
    (root / "loop").symlink_to(root)
    batch = Batch("ab12cd", "run", tmp_path / "out")
    fill(batch, Task(list_paths([root], leave_out=(root / "sorted").resolve(), relative=True), "run", tmp_path / "out"), Red())
    assert [row.name for row in batch.table.rows()] == ["a.jpg", "b/1.PNG", "b/2.png"] and batch.answered == 3


def test_a_folder_that_may_not_be_read_has_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "root" / "a.png", (9, 9, 200))
    (tmp_path / "root" / "closed").mkdir()
    real = os.scandir

    def scandir(path: Path) -> Any:  # a mode would not stop root
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr("blocklora.services.batch_files.os.scandir", scandir)
    found = {file.name: file.error for file in list_paths([tmp_path / "root"], relative=True)}
    assert found["a.png"] == "" and "Permission denied" in found["closed"]


def test_one_thing_at_a_time_is_made_of_a_finished_table(mixed_zip: Path, tmp_path: Path) -> None:
    batch, held, going = run_of([("many.zip", mixed_zip)], tmp_path / "out"), threading.Event(), threading.Event()

    def work() -> str:
        going.set()
        wait(held)
        return "done"

    start_making(batch, "Working", work)
    wait(going)
    with pytest.raises(ImportRefused, match="not ready"):
        start_making(batch, "Again", work)
    held.set()
    until(lambda: not batch.making)
    assert batch.said == "done"


def test_nothing_unpacked_is_left_behind(mixed_zip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(work))
    make_file(run_of([("many.zip", mixed_zip)], tmp_path / "out"), "zip")
    assert list(work.iterdir()) == []


def wait(over: threading.Event) -> None:
    assert over.wait(DEADLINE)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_work_goes_on_in_the_background_and_files_stay_until_it_is_put_away(mixed_zip: Path, tmp_path: Path) -> None:
    batches, away = Batches(), threading.Event()
    batch = batches.start("p", Task(list_uploads([("many.zip", mixed_zip)]), "run", tmp_path / "out"), Red, away.set)
    until(lambda: batch.over)
    assert batches.latest("p") is batch and batch.answered == 2 and "csv" in batch.files and not away.is_set()
    batches.forget("p")
    assert batches.latest("p") is None and away.is_set()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [("no.zip", b"nothing of the kind", "is not a zip file"), ("empty.zip", b"PK\x05\x06" + bytes(18), "no picture in it")],
)
def test_a_zip_that_is_none_is_said(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    batch = Batches().start("p", Task(list_uploads([(name, path)]), "run", tmp_path / "out"), Red)
    until(lambda: batch.over)
    assert words in batch.error and not batch.files


def test_a_model_that_cannot_be_opened_is_said(mixed_zip: Path, tmp_path: Path) -> None:
    def refuse() -> Red:
        raise ModelFileError("the file is damaged.", "Export again.")

    batch = Batches().start("p", Task(list_uploads([("many.zip", mixed_zip)]), "run", tmp_path / "out"), refuse)
    until(lambda: batch.over)
    assert batch.error == "the file is damaged. Export again."


def test_another_batch_gives_up_the_one_before(tmp_path: Path) -> None:
    held, going = threading.Event(), threading.Event()

    class Slow(Red):
        def said(self, image: np.ndarray) -> Said:
            going.set()
            wait(held)
            return super().said(image)

    files = [(f"{i}.png", picture(tmp_path / f"{i}.png", (0, 0, 200))) for i in range(6)]
    batches = Batches()
    first = batches.start("p", Task(list_uploads(files), "run", tmp_path / "out"), Slow)
    wait(going)
    second = batches.start("p", Task(list_uploads(files[:1]), "run", tmp_path / "out"), Red)
    held.set()
    until(lambda: first.over and second.over)
    assert first.answered < 6 and not first.files
    assert batches.latest("p") is second and second.answered == 1
