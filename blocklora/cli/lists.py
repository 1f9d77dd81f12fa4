"""`backbones` and `projects`: what there is on this machine."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from blocklora.cli.compose import studio


def _print(rows: list[dict[str, object]], columns: tuple[str, ...], as_json: bool) -> int:
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, default=str))
        return 0
    table = Table(*columns)
    for row in rows:
        table.add_row(*(str(row[column]) for column in columns))
    Console().print(table)
    return 0


def backbones(args: argparse.Namespace) -> int:
    """List the backbones with size, licence and where each is."""
    rows = [dataclasses.asdict(info) for info in studio().backbones()]
    return _print(rows, ("name", "title", "size_mb", "licence", "resolution", "where"), args.json)


def projects(args: argparse.Namespace) -> int:
    """List the projects in the data home, or its trash; first add or restore one where asked to."""
    library = studio().library
    if args.trash:
        return _print([dataclasses.asdict(entry) for entry in library.trashed()], ("id", "name", "trashed"), args.json)
    if args.add:
        library.add_folder(Path(args.add).expanduser())
    if args.restore:
        library.restore(args.restore)
    rows = [dataclasses.asdict(info) for info in library.list()]
    return _print(rows, ("id", "name", "n_classes", "n_images", "path"), args.json)
