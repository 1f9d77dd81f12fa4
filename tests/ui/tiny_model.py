"""A tiny file of the real kind, exported in a process of its own: torch stays out of the tests of the window."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TINY_LABELS = ("apple", "Birne äöü", "=cmd()")


def export_tiny_model(path: Path) -> Path:
    """Write the file to `path`; it knows apples, pears and a class that would be a formula in a table."""
    program = (
        f"import sys; sys.path[:0] = [{str(ROOT / 'tests' / 'exporters')!r}, {str(ROOT)!r}]\n"
        "from pathlib import Path\nfrom tiny_export import make_classifier, make_metadata\n"
        "from exporters.onnx_export import export_onnx\n"
        f"export_onnx(make_classifier(), make_metadata(), Path({str(path)!r}))\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=600, capture_output=True)
    return path
