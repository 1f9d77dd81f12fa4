"""Where everything of this product lives on disk, unless told otherwise."""

from __future__ import annotations

import os
from pathlib import Path

ENVIRONMENT = "BLOCKLORA_HOME"


def default_home() -> Path:
    """The data home: `BLOCKLORA_HOME` where it is set, else the platform's folder for user data. Not created here."""
    chosen = os.environ.get(ENVIRONMENT, "").strip()
    if chosen:
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("blocklora-studio", appauthor=False))
