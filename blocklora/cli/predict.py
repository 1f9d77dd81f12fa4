"""`predict`: what an ONNX file says of pictures, as lines, tables and folders; a command that was killed goes on when it is given again."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import track

from blocklora.errors import ImageError, ModelFileError
from blocklora.files import sha256_file
from blocklora.projects.formats import PICTURE_EXTENSIONS
from blocklora.services.batch import answer_waiting
from blocklora.services.batch_files import list_paths, need_paths
from blocklora.services.batch_rows import Row
from blocklora.services.batch_table import Table
from blocklora.services.sorting import sort_into
from blocklora.services.tables import need_pyarrow, write_csv, write_parquet
from exporters import open_model

UNFINISHED = ".unfinished"  # behind the name of a table, while it is being made


def predict(args: argparse.Namespace) -> int:
    """Print the best labels of each picture, write what was asked for; exit 1 when some could not be read."""
    outputs = _outputs(args)
    paths = [Path(argument).expanduser() for argument in args.images]
    need_paths(paths)
    folder = _sort_folder(args, paths)
    model = Path(args.model).expanduser()
    if not model.is_file():
        raise ModelFileError(f"{args.model} is not a file.", "Name an .onnx file that `export` wrote.")
    predictor = open_model(model, many=True)
    unfinished = Path(f"{next(iter(outputs.values()))}{UNFINISHED}") if outputs else None
    with _table(unfinished, sha256_file(model), min(args.top, len(predictor.labels))) as table:
        total, done = table.set_files(list_paths(paths, folder))
        if not total:
            raise ImageError("there are no pictures in " + ", ".join(args.images) + ".", f"Read: {', '.join(sorted(PICTURE_EXTENSIONS))}.")
        if done:
            print(f"Going on: {done:,} of {total:,} pictures were answered before.", file=sys.stderr)
        answers = answer_waiting(table, predictor)
        quiet, console = not sys.stderr.isatty(), Console(stderr=True)
        for row in track(answers, total=total - done, description="Predicting", transient=True, disable=quiet, console=console):
            _say(row, args.json)
        if args.json:
            _print_json(table)
        for kind, path in outputs.items():
            (write_csv if kind == "csv" else write_parquet)(path, table)
        if folder is not None:
            _sort(table, folder, args.link)
        return 1 if table.failed() else 0


@contextmanager
def _table(unfinished: Path | None, model: str, top: int) -> Iterator[Table]:
    """The table, which stays where it is unless the block is left in peace: then whatever was asked for is made of it."""
    table = Table(unfinished, model, top)
    finished = False
    try:
        if table.started_anew:
            other = "by another model" if table.other_model else "with another number of labels"
            print(f"An unfinished table was made {other}: starting anew.", file=sys.stderr)
        yield table
        finished = True
    finally:
        table.close(remove=finished or not table.count())


def _say(row: Row, quiet: bool) -> None:
    if row.error:
        print(f"{row.name}: {row.error}", file=sys.stderr)
    elif not quiet:
        answer = ", ".join(f"{label} {probability:.1%}" for label, probability in row.top)
        print(f"{row.name}: none of these (nearest: {answer})" if row.known is False else f"{row.name}: {answer}")


def _print_json(table: Table) -> None:
    """One list, printed row by row."""
    before = "["
    for row in table.rows():
        top = [[label, round(probability, 6)] for label, probability in row.top]
        print(before + json.dumps({"file": row.name, "error": row.error, "top": top, "known": row.known}, ensure_ascii=False), end="")
        before = ",\n"
    print("]")


def _sort(table: Table, folder: Path, link: bool) -> None:
    found = sort_into(table, folder, link)
    links = f", {found.links:,} of them links" if link else ""
    left = f"; {found.failed:,} are no longer there" if found.failed else ""
    print(f"{found.placed:,} pictures lie sorted in {folder}{links}{left}.", file=sys.stderr)


# ---- what was asked for, looked at before the work and not after it


def _outputs(args: argparse.Namespace) -> dict[str, Path]:
    """The tables to write, by kind.

    Raises:
        ImageError: one cannot be written there.
        ExportError: pyarrow is not installed.
    """
    asked = {kind: Path(value).expanduser() for kind, value in (("csv", args.csv), ("parquet", args.parquet)) if value}
    for kind, path in asked.items():
        _writable(path, f"--{kind}")
    if "parquet" in asked:
        need_pyarrow()
    return asked


def _writable(target: Path, option: str) -> None:
    if target.is_dir():
        raise ImageError(f"{target} is a folder.", f"Name a file with {option}.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        raise ImageError(f"{target} cannot be written: {error.strerror or error}.", f"Name another place with {option}.") from error


def _sort_folder(args: argparse.Namespace, paths: list[Path]) -> Path | None:
    """The folder that pictures are sorted into, from the top, if they are.

    Raises:
        ImageError: it holds pictures that are to be sorted: what is sorted would be sorted again.
    """
    if not args.sort_into:
        if args.link:
            raise ImageError("--link says how pictures are sorted, but not where.", "Name a folder with --sort-into.")
        return None
    folder = Path(args.sort_into).expanduser().resolve()
    for path in paths:
        if path.resolve().is_relative_to(folder):
            raise ImageError(f"{path} lies in {folder}, where its pictures are to be sorted into.", "Name another folder with --sort-into.")
    return folder
