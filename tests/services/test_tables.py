"""Tables of predictions."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import pytest

from blocklora.errors import ExportError
from blocklora.services.batch_rows import Listed
from blocklora.services.batch_table import Table
from blocklora.services.tables import defuse, write_csv, write_parquet


@pytest.mark.parametrize(
    "cell",
    ["=1+1", "+1", "-2", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =HYPERLINK(1)", "＝1+1", "=cmd|' /C calc'!A0", "\u00a0=1"],
)
def test_formulas_are_defused(cell: str) -> None:
    assert defuse(cell) == "'" + cell


@pytest.mark.parametrize("cell", ["cat", "a=b", "photo-1.jpg", "1+1", "", "(=1)"])
def test_plain_texts_stay(cell: str) -> None:
    assert defuse(cell) == cell


def test_numbers_stay_numbers() -> None:
    assert defuse(-0.5) == -0.5 and defuse(None) is None


def test_table_reads_back(tmp_path: Path) -> None:
    table = Table(None, "model", 2)
    table.set_files(Listed(part, tmp_path / name, name) for part, name in enumerate(('cat, "big".jpg', "=evil.jpg")))
    first, second = table.waiting()
    table.answer(first, [("Bärin", 0.25), ("-", 0.125)], known=False)
    table.refuse(second, "@damaged")
    write_csv(tmp_path / "t.csv", table)
    data = (tmp_path / "t.csv").read_bytes()
    assert data.startswith(b"\xef\xbb\xbf")
    back = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    assert back == [
        ["file", "label", "probability", "label_2", "probability_2", "known", "error"],
        ['cat, "big".jpg', "Bärin", "0.25", "'-", "0.125", "false", ""],
        ["'=evil.jpg", "", "", "", "", "", "'@damaged"],
    ]


def test_names_that_are_no_unicode_are_written(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    table = Table(None, "model", 1)
    name = os.fsdecode(b"caf\xe9.jpg")
    table.set_files([Listed(0, tmp_path / name, name)])
    table.answer(next(table.waiting()), [("cat", 0.5)])
    assert next(table.rows()).name == name
    write_csv(tmp_path / "t.csv", table)
    write_parquet(tmp_path / "t.parquet", table)
    assert "caf\\udce9.jpg" in (tmp_path / "t.csv").read_text("utf-8")
    assert pq.read_table(tmp_path / "t.parquet")["file"].to_pylist() == ["caf\\udce9.jpg"]


def test_without_pyarrow_parquet_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blocklora.services.tables.find_spec", lambda name: None)
    with pytest.raises(ExportError, match="pyarrow"):
        write_parquet(tmp_path / "t.parquet", Table(None, "model", 1))
    assert not list(tmp_path.iterdir())
