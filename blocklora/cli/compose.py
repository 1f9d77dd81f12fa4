"""Builds the `Studio` that commands work with, with the real exporter and predictor."""

from __future__ import annotations

from pathlib import Path

import exporters
from blocklora.projects.home import default_home
from blocklora.services.studio import Studio


def studio(home: Path | None = None) -> Studio:
    """The studio over a data home; by default the one in BLOCKLORA_HOME or the platform's user-data folder."""
    return Studio(home or default_home(), exporters.WORKER, exporters.open_model)
