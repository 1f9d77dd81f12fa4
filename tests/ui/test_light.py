"""The window is up before torch is: nothing heavy is imported by building and serving the page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

PROGRAM = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
home = Path(sys.argv[2])
os.environ["GRADIO_TEMP_DIR"] = str(home / "uploads")
from blocklora.ui import server
os.environ.update(server.ENVIRONMENT)
import app
studio = app.compose(home)
from blocklora.ui.web import build
from starlette.testclient import TestClient
window = build(studio, "127.0.0.1", home / "uploads")
with TestClient(window.app, base_url="http://127.0.0.1:7860") as client:
    assert client.get("/").status_code == 200
    assert client.get("/config").status_code == 200
print(sorted({"torch", "torchvision", "open_clip", "timm", "transformers", "onnx", "onnxruntime"} & set(sys.modules)))
"""


def test_page_is_served_without_anything_heavy(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(ROOT), str(tmp_path)], capture_output=True, text=True, timeout=300, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[]"
