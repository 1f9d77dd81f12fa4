"""`backbones` and `projects`: what there is on this machine."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from blocklora.cli.compose import studio
from blocklora.clip.catalog import KNOWN, BackboneInfo, folder_of, known
from blocklora.errors import BackboneError
from blocklora.projects.home import default_home


def _print(rows: list[dict[str, object]], columns: tuple[str, ...], as_json: bool) -> int:
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, default=str))
        return 0
    table = Table(*columns)
    for row in rows:
        table.add_row(*(Text(str(row[column])) for column in columns))  # Text: brackets in a name are no markup
    Console().print(table)
    return 0


def backbones(args: argparse.Namespace) -> int:
    """List the backbones with size, licence and where each is; first fetch one where asked to.

    Raises:
        BackboneError: it is not known, or could not be fetched.
    """
    if args.download:
        info, folder = _known(args.download)
        _download(info, folder, quiet=args.json)
    if args.use_file:
        from blocklora.clip.local_file import use_local_file  # needs torch

        info, folder = _known(args.use_file[0])
        use_local_file(info, Path(args.use_file[1]).expanduser(), folder)
    rows = [dataclasses.asdict(info) for info in studio().backbones()]
    return _print(rows, ("name", "title", "size_mb", "licence", "resolution", "where"), args.json)


def _known(name: str) -> tuple[BackboneInfo, Path]:
    """A backbone that can be fetched, and where it goes."""
    info = known(name)
    if info is None:
        raise BackboneError(f"There is no backbone {name!r} to fetch.", f"Known: {', '.join(entry.name for entry in KNOWN)}.")
    return info, folder_of(name, default_home())


def _download(info: BackboneInfo, folder: Path, quiet: bool) -> None:
    from blocklora.clip.download import DownloadProgress, download  # only here: the list does not need the hub's client

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet) as bar:
        task = bar.add_task(info.title, total=None)

        def say(progress: DownloadProgress) -> None:
            bar.update(task, completed=progress.done, total=progress.total)

        download(info, folder, say)


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
