"""`report`: one HTML page about a finished run, to send or to print."""

from __future__ import annotations

import argparse
from pathlib import Path

from blocklora.jobs.run_folder import RunFolder
from blocklora.services.report import write_report


def report(args: argparse.Namespace) -> int:
    """Write the report on RUN."""
    run = RunFolder(Path(args.run).expanduser().resolve())
    run.spec()
    from blocklora.ui.report import figures  # draws with matplotlib, and the window's rooms come with it

    out = write_report(run, Path(args.out).expanduser().resolve(), figures(run.result() or {}))
    print(f"{out} ({out.stat().st_size / 1e3:.0f} kB)")
    return 0
