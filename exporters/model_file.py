"""Is this .onnx file one that may be opened? Asked before any inference session is made, answered by another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from blocklora.errors import ModelFileError
from exporters.metadata import ModelMetadata

PROJECT_ROOT = Path(__file__).resolve().parents[1]
MAX_BYTES = 2**31 - 1  # a single ONNX file cannot be larger
SECONDS = 120  # for a file of that size on a slow disk


@dataclass(frozen=True)
class ModelFileInfo:
    """What a sound file declares: its size in bytes, operator set, output widths and metadata strings."""

    size: int
    opset: int
    n_classes: int
    embed_dim: int
    props: dict[str, str]

    @property
    def metadata(self) -> ModelMetadata:
        return ModelMetadata.from_props(self.props)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def check_model_file(path: Path) -> ModelFileInfo:
    """Inspect `path` in a process of its own (see `exporters.inspection`); this process neither parses the file nor loads onnx.

    Raises:
        ModelFileError: why the file is not opened.
    """
    if not path.is_file():
        raise ModelFileError(f"there is no file {path.name}.", "Choose an .onnx file.")
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(part for part in (str(PROJECT_ROOT), environment.get("PYTHONPATH")) if part)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "exporters.inspection", str(path.resolve())],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=environment,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ModelFileError(f"{path.name} could not be read within {SECONDS} seconds.", "It may be damaged.") from error
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError) as error:
        detail = done.stderr.decode("utf-8", "replace").strip().rsplit("\n", 1)[-1]
        reason = detail or f"the reader ended with {done.returncode}"
        raise ModelFileError(f"{path.name} could not be read: {reason}.", "It may be damaged.") from error
    if "error" in answer:
        raise ModelFileError(answer["error"], answer["advice"])
    return ModelFileInfo(**answer["info"])
