"""Predictions as files: a CSV table that is safe to open in a spreadsheet, or Parquet. Both are written row by row."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from blocklora.errors import ExportError
from blocklora.files import published
from blocklora.services.batch_rows import Row
from blocklora.services.batch_table import Table

RISKY = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # what spreadsheets take for the start of a formula
GROUP = 5_000  # rows of a Parquet file that are in memory at once
BOM = "\ufeff"  # Excel takes a CSV for UTF-8 only with it


def defuse(cell: object) -> object:
    """A text that a spreadsheet would run as a formula, made plain text by a leading apostrophe; numbers stay numbers.

    The rule and its list: OWASP, "CSV Injection". Leading blanks are looked through, since spreadsheets drop them.
    """
    if not isinstance(cell, str):
        return cell
    return "'" + cell if cell.startswith(RISKY) or cell.lstrip().startswith(RISKY) else cell


def to_csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """A small table as a CSV file's bytes, as `write_csv` writes large ones."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(head)
    writer.writerows([defuse(cell) for cell in row] for row in rows)
    return (BOM + out.getvalue()).encode("utf-8", "backslashreplace")


def header(top: int) -> tuple[str, ...]:
    """The columns of a table of predictions with `top` labels a picture."""
    others = [f"{name}_{place}" for place in range(2, top + 1) for name in ("label", "probability")]
    return ("file", "label", "probability", *others, "known", "error")


def cells(row: Row, top: int) -> Iterator[Any]:
    """A row's values for `header(top)`, None where there is none. Probabilities are the file's own (32-bit) numbers."""
    yield row.name
    for place in range(top):
        yield from row.top[place] if place < len(row.top) else (None, None)
    yield row.known
    yield row.error or None


def write_csv(path: Path, table: Table) -> None:
    """A table as a CSV file (RFC 4180, UTF-8 with a byte order mark), every text cell defused; empty where there is no value."""
    with published(path) as made, made.open("x", encoding="utf-8", errors="backslashreplace", newline="") as stream:
        stream.write(BOM)
        writer = csv.writer(stream)
        writer.writerow(header(table.top))
        words = {True: "true", False: "false", None: ""}
        for row in table.rows():
            *values, known, error = cells(row, table.top)
            writer.writerow([defuse(value) for value in (*values, words[known], error)])


def need_pyarrow() -> None:
    """Raises ExportError where pyarrow, which writes Parquet files, is not installed; it is not imported for that."""
    if find_spec("pyarrow") is None:
        raise ExportError("Parquet files are written by pyarrow, which is not installed.", "Run: pip install -r requirements.txt")


def write_parquet(path: Path, table: Table) -> None:
    """A table as a Parquet file: texts as they are, probabilities as 32-bit numbers, nulls where there is no value.

    Raises:
        ExportError: pyarrow, which writes it, is not installed.
    """
    need_pyarrow()
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"known": pa.bool_(), "probability": pa.float32()}
    schema = pa.schema([(name, kinds.get(name.rstrip("_0123456789"), pa.string())) for name in header(table.top)])
    rows = table.rows()
    with published(path) as made, pq.ParquetWriter(made, schema) as writer:
        while group := [list(cells(row, table.top)) for row in islice(rows, GROUP)]:
            columns = [[_text(value) for value in column] for column in zip(*group, strict=True)]
            writer.write_table(pa.table(columns, schema=schema))


def _text(value: Any) -> Any:
    """Names of files need not be Unicode; what is none is written as its bytes' numbers."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
