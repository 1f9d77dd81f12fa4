"""Predictions as a CSV table that is safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

RISKY = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # what spreadsheets take for the start of a formula
BOM = "\ufeff"  # Excel takes a CSV for UTF-8 only with it


def defuse(cell: object) -> object:
    """A text that a spreadsheet would run as a formula, made plain text by a leading apostrophe; numbers stay numbers.

    The rule and its list: OWASP, "CSV Injection". Leading blanks are looked through, since spreadsheets drop them.
    """
    if not isinstance(cell, str):
        return cell
    return "'" + cell if cell.startswith(RISKY) or cell.lstrip().startswith(RISKY) else cell


def to_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """A CSV file (RFC 4180, UTF-8 with a byte order mark), every text cell defused."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([defuse(cell) for cell in header])
    writer.writerows([defuse(cell) for cell in row] for row in rows)
    return (BOM + text.getvalue()).encode("utf-8")
