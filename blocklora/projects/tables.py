"""A CSV table of (path, label) as a source of pictures."""

from __future__ import annotations

import csv
import io
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

from blocklora.errors import ImportRefused, ProjectError
from blocklora.projects.limits import DEFAULT_LIMITS, IntakeLimits, words
from blocklora.projects.names import clean_name, shown
from blocklora.projects.sources import Candidate, Skipped, Source, on_disk

PATH_HEADERS = ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img", "name")
LABEL_HEADERS = ("label", "class", "class_name", "classname", "category", "target", "tag", "y")


def from_csv(table: Path, base: Path, limits: IntakeLimits = DEFAULT_LIMITS) -> Source:
    """The pictures that a table names, below the folder `base`.

    The columns are found by their headers (path, file, image ... and label, class, category ...); without a header the first two
    columns count. Comma, semicolon and tab are understood, UTF-8 with or without a mark, else Windows-1252.

    Raises:
        ImportRefused: no table that can be read, fewer than two columns, or more rows than one import may have.
    """
    rows = [row for row in _rows(table, limits) if any(cell.strip() for cell in row)]
    if not rows or max(map(len, rows)) < 2:
        raise ImportRefused(f"{table.name} has no two columns.", "Give a CSV with the columns path and label.")
    where, what, header = _columns(rows[0], base)
    body = rows[1:] if header else rows
    if len(body) > limits.files:
        raise ImportRefused(f"{table.name} has {len(body):,} rows; one import may have {limits.files:,}.", "Split the table.")
    return Source(len(body), _entries(body, base.resolve(), where, what))


def _rows(table: Path, limits: IntakeLimits) -> list[list[str]]:
    try:
        with table.open("rb") as stream:
            data = stream.read(limits.table_bytes + 1)
    except OSError as error:
        raise ImportRefused(f"{table.name} cannot be read.", "Choose another file.") from error
    if len(data) > limits.table_bytes:
        raise ImportRefused(f"{table.name} is larger than {words(limits.table_bytes)}.", "Split the table.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    try:
        return list(csv.reader(io.StringIO(text.replace("\0", ""), newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise ImportRefused(f"{table.name} is not a CSV table ({error}).", "Save it as CSV and try again.") from error


def _columns(first: list[str], base: Path) -> tuple[int, int, bool]:
    """Index of the path column, of the label column, and whether the first row is a header."""
    names = [cell.strip().lower().replace(" ", "_") for cell in first]
    where = next((names.index(h) for h in PATH_HEADERS if h in names), None)
    what = next((names.index(h) for h in LABEL_HEADERS if h in names), None)
    if where is not None and what is not None and where != what:
        return where, what, True
    # Unknown words in the first row are a header too, unless the first cell looks like a file name.
    looks_like_file = "." in first[0] or "/" in first[0] or "\\" in first[0] or (base / first[0].strip()).is_file()
    return 0, 1, not looks_like_file


def _entries(rows: list[list[str]], base: Path, where: int, what: int) -> Iterator[Candidate | Skipped]:
    for number, row in enumerate(rows, 1):
        given = row[where].strip() if where < len(row) else ""
        label = row[what] if what < len(row) else ""
        if not given:
            yield Skipped(f"row {number}", "names no file", "missing")
            continue
        name = shown(given)
        path = _inside(base, given)
        if path is None:
            yield Skipped(name, f"lies outside the folder {base}", "unsafe")
            continue
        try:
            class_name = clean_name(label)
        except ProjectError as error:
            yield Skipped(name, f"its label cannot be a class name: {error.message}", "unlabelled")
            continue
        yield on_disk(name, class_name, path)


def _inside(base: Path, given: str) -> Path | None:
    """The real file that a cell names, where it lies inside `base`."""
    if "\\" in given and not os.path.lexists(base / given):
        given = PureWindowsPath(given).as_posix()  # tables written on Windows, read elsewhere
    # An accented letter can be written in two ways, and macOS writes names of files in the other one than keyboards write cells.
    forms = [given, *(unicodedata.normalize(form, given) for form in ("NFC", "NFD"))]
    given = next((form for form in forms if os.path.lexists(base / form)), given)
    try:
        path = (base / given).resolve()
    except (OSError, RuntimeError, ValueError):
        return None
    return path if path.is_relative_to(base) else None
