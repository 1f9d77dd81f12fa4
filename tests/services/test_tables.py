"""Tables of predictions."""

from __future__ import annotations

import csv
import io

import pytest

from blocklora.services.tables import defuse, to_csv


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


def test_table_reads_back() -> None:
    rows = [['cat, "big".jpg', "Bärin", 0.25], ["=evil.jpg", "-", -1]]
    data = to_csv(["file", "label", "=probability"], rows)
    assert data.startswith(b"\xef\xbb\xbf")
    back = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    assert back == [["file", "label", "'=probability"], ['cat, "big".jpg', "Bärin", "0.25"], ["'=evil.jpg", "'-", "-1"]]
