"""A folder for what is being made, beside where it will be published, so that publishing is a rename."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STALE_SECONDS = 24 * 3600.0
WORKPLACE = ".export-"


@contextmanager
def workplace(folder: Path) -> Iterator[Path]:
    """A new folder in `folder`, gone when the block ends.

    Raises:
        OSError: `folder` cannot be written to.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=WORKPLACE) as made:
        yield Path(made)


def sweep(folder: Path, older_than: float = STALE_SECONDS) -> None:
    """Remove what killed exports left in `folder`: workplaces that nobody has touched for `older_than` seconds.

    Only for folders of the program's own: in a person's, such a name may be theirs.
    """
    for left in folder.glob(WORKPLACE + "*"):
        if time.time() - left.stat().st_mtime > older_than:
            shutil.rmtree(left, ignore_errors=True)
