"""`reproduce`: a finished run done again from its folder, and held against what came out the first time."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
from pathlib import Path

from blocklora.cli.compose import studio
from blocklora.cli.follow import follow
from blocklora.errors import JobError
from blocklora.jobs.run_folder import RunFolder
from blocklora.services.reproduce import held_against, prepare, words


def reproduce(args: argparse.Namespace) -> int:
    """Train RUN again in a new folder and print whether the same came out."""
    old = RunFolder(Path(args.run).expanduser().resolve())
    old.spec()
    out = Path(args.out).expanduser().resolve() if args.out else _beside(old.path)
    pictures = Path(args.pictures).expanduser() if args.pictures else None
    if pictures is not None and not pictures.is_dir():
        raise JobError(f"{pictures} is not a folder.", "Name a folder that has the pictures.")
    service, there = studio(), out.exists()
    try:
        new = prepare(old, out, service.home, pictures)
    except BaseException:
        if not there and out.exists():
            shutil.rmtree(out, ignore_errors=True)
        raise
    service.run_service.launch(new)
    follow(service.run_service, out, quiet=args.json or not sys.stderr.isatty())
    found = held_against(old, new)
    if args.json:
        print(json.dumps(dataclasses.asdict(found), ensure_ascii=False))
    else:
        print("\n".join([*words(found), f"run: {out}"]))
    return 0


def _beside(run: Path) -> Path:
    """A folder beside the run that is not there yet."""
    names = (f"{run.name}-again{number if number > 1 else ''}" for number in range(1, 1000))
    return next(path for name in names if not (path := run.parent / name).exists())
