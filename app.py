"""Block-LoRA Studio. `python app.py` opens the window; `python app.py --help` lists the options.

This file only puts the pieces together: the services, the exporter that workers run, and the predictor that reads its files.
"""

from __future__ import annotations

import sys
from pathlib import Path

import exporters
from blocklora.services.studio import Studio
from blocklora.ui import server


def compose(home: Path) -> Studio:
    """The services over a data home."""
    return Studio(home, exporters.WORKER, exporters.open_model, previewer=exporters.PREVIEWER, preview_model=exporters.open_preview)


def main() -> int:
    return server.main(sys.argv[1:], compose)


if __name__ == "__main__":
    raise SystemExit(main())
