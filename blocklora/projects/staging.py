"""Where imports wait for their acceptance: one folder each, outside any project, removed when done or when forgotten."""

from __future__ import annotations

import secrets
import shutil
import time
from pathlib import Path

STALE_SECONDS = 24 * 3600.0


def new_folder(staging: Path) -> Path:
    """A fresh folder below `staging`; forgotten ones are cleaned on the way."""
    clean(staging)
    folder = staging / f"import-{secrets.token_hex(8)}"
    folder.mkdir(parents=True)
    return folder


def clean(staging: Path, older_than: float = STALE_SECONDS) -> None:
    """Remove folders below `staging` that nothing has touched for `older_than` seconds."""
    if not staging.is_dir():
        return
    for folder in staging.iterdir():
        try:
            old = time.time() - folder.stat().st_mtime > older_than
        except FileNotFoundError:  # another process cleaned it first
            continue
        if old:
            shutil.rmtree(folder, ignore_errors=True)
