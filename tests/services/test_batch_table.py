"""The table of a batch on disk: what is kept, what is asked again, and who may write it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocklora.errors import ImageError, JobError
from blocklora.services.batch_rows import Listed
from blocklora.services.batch_table import CHUNK, Table
from blocklora.services.tables import write_csv

ROOT = Path(__file__).parents[2]


def files(count: int, size: int = 1, start: int = 0) -> list[Listed]:
    return [Listed(0, Path(f"/pictures/{number:05d}.jpg"), f"{number:05d}.jpg", size, 7) for number in range(start, count)]


def test_more_rows_than_are_read_at_once_come_back_in_order() -> None:
    table = Table(None, "m", 1)
    count = 2 * CHUNK + 3
    assert table.set_files(reversed(files(count))) == (count, 0)
    for number, row in enumerate(table.waiting()):
        table.answer(row, [(f"label {number}", number / 1000)])
    assert [row.label for row in table.rows()] == [f"label {number}" for number in range(count)]
    assert [row.probability for row in table.page(CHUNK - 1, 3)] == [(CHUNK - 1) / 1000, CHUNK / 1000, (CHUNK + 1) / 1000]
    assert not list(table.waiting())


def test_an_opened_again_table_asks_only_for_what_is_new_or_changed(tmp_path: Path) -> None:
    table = Table(tmp_path / "t", "m", 2)
    table.set_files(files(4))
    first, second, third, _ = table.waiting()
    table.answer(first, [("a", 0.5), ("b", 0.25)])
    table.answer(second, [("b", 0.5)])
    table.refuse(third, "damaged")
    table.close()

    again = Table(tmp_path / "t", "m", 2)
    changed = [file if file.name != "00001.jpg" else files(4, size=2)[1] for file in files(5, start=0)]
    assert not again.started_anew
    assert again.set_files([*changed, *changed]) == (5, 1)  # listed twice, there once
    assert [row.name for row in again.waiting()] == ["00001.jpg", "00002.jpg", "00003.jpg", "00004.jpg"]
    assert [(row.name, row.top) for row in again.rows()] == [("00000.jpg", (("a", 0.5), ("b", 0.25)))]
    assert again.set_files(files(2)) == (2, 1)  # what is not listed any more is gone
    again.close(remove=True)
    assert not list(tmp_path.iterdir())


def test_a_listing_that_fails_changes_nothing() -> None:
    def broken() -> Iterator[Listed]:
        yield files(9)[8]
        raise ImageError("gone.")

    table = Table(None, "m", 1)
    table.set_files(files(2))
    with pytest.raises(ImageError):
        table.set_files(broken())
    assert [row.name for row in table.waiting()] == ["00000.jpg", "00001.jpg"]


def peak_of_a_batch(count: int, out: Path) -> int:
    """Most bytes of Python objects while a table of `count` files is listed, answered, turned over and written."""
    tracemalloc.start()
    try:
        table = Table(None, "m", 2)
        # One path for all: Python keeps every part of a path in a table of its own, whose growth is not ours.
        table.set_files(Listed(0, Path("/many.zip"), f"{number:06d}.jpg", 1, 7, member=number) for number in range(count))
        for row in table.waiting():
            table.answer(row, [("first label", 0.5), ("second label", 0.25)])
        assert len(table.page(count - 50, 50)) == 50
        write_csv(out / f"{count}.csv", table)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_number_of_files(tmp_path: Path) -> None:
    few, many = peak_of_a_batch(500, tmp_path), peak_of_a_batch(5_000, tmp_path)
    assert many < few + 200_000  # a list of the rows would be millions
    assert len((tmp_path / "5000.csv").read_text().splitlines()) == 5_001


@pytest.mark.parametrize(("model", "top", "other"), [("n", 1, True), ("m", 2, False)])
def test_another_model_or_more_labels_start_anew(model: str, top: int, other: bool, tmp_path: Path) -> None:
    table = Table(tmp_path / "t", "m", 1)
    table.set_files(files(1))
    table.answer(next(table.waiting()), [("a", 0.5)])
    table.close()
    again = Table(tmp_path / "t", model, top)
    assert again.started_anew and again.other_model is other
    assert again.set_files(files(1)) == (1, 0)
    again.close()


def test_two_cannot_write_one_table(tmp_path: Path) -> None:
    table = Table(tmp_path / "t", "m", 1)
    program = f"from pathlib import Path; from blocklora.services.batch_table import Table; Table(Path({str(tmp_path / 't')!r}), 'm', 1)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "being written by another command" in done.stderr
    table.close()


def test_a_file_of_somebody_elses_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("my notes, which are long enough to be taken for something else" * 20)
    with sqlite3.connect(tmp_path / "other.db") as db:
        db.execute("CREATE TABLE rows (x)")
    db.close()
    for name in ("notes", "other.db"):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(JobError, match="in the way"):
            Table(tmp_path / name, "m", 1)
        assert (tmp_path / name).read_bytes() == before
