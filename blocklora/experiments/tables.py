"""Rows of an experiment on disk: one JSON line each as they come, so that a run that was stopped goes on; then CSV and Markdown."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from blocklora.errors import TrainingError
from blocklora.files import write_atomic

Row = dict[str, Any]


class Rows:
    """The rows of the file `path` (JSON lines). What was measured under the same key is not measured again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = []
        if path.exists():
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                try:
                    self.rows.append(json.loads(line))
                except ValueError as error:  # the last line of a run that was killed
                    raise TrainingError(f"Line {number} of {path} is damaged.", "Delete that line; the rest is used.") from error

    def find(self, key: Row) -> Row | None:
        """The row that was measured under `key`, if there is one."""
        return next((row for row in self.rows if all(name in row and row[name] == value for name, value in key.items())), None)

    def once(self, key: Row, measure: Callable[[], Row]) -> Row:
        """The row of `key`: the one that is there, else `key` with what `measure` finds, written down at once."""
        found = self.find(key)
        if found is not None:
            return found
        row = {**key, **measure()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
        self.rows.append(row)
        return row


def publish(rows: Sequence[Row], folder: Path, name: str, text: str | None = None) -> str:
    """Write `<name>.json`, `.csv` and `.md` into `folder`; returns the Markdown: a table of all rows, or `text`."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    table = markdown(rows, columns) if text is None else text
    write_atomic(folder / f"{name}.json", json.dumps(list(rows), ensure_ascii=False, indent=1).encode())
    write_atomic(folder / f"{name}.csv", stream.getvalue().encode())
    write_atomic(folder / f"{name}.md", table.encode())
    return table


def markdown(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """A Markdown table; floats with four significant digits."""

    def cell(value: Any) -> str:
        return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")

    lines = [" | ".join(columns), " | ".join("---" for _ in columns)]
    lines += [" | ".join(cell(row.get(column)) for column in columns) for row in rows]
    return "".join(f"| {line} |\n" for line in lines)
