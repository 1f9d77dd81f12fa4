"""Is this .onnx file one that may be opened? Asked before any inference session is made, answered by other processes.

Two questions, each in a process of its own with limits on memory and time: is the file built as this product builds its files
(`exporters.inspection` reads it and runs nothing), and does it answer a few pictures as it should (`exporters.first_run`). Reading a
hostile file may take memory or fail in native code; running one may as well.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from blocklora.errors import ModelFileError
from blocklora.projects.names import plain
from exporters.apart import Ended, megabytes, run_apart
from exporters.metadata import ModelMetadata

INSPECTION, FIRST_RUN = "exporters.inspection", "exporters.first_run"
MAX_BYTES = 2**31 - 1  # a single ONNX file cannot be larger
SECONDS = 120  # to read a file of that size on a slow disk
RUN_SECONDS = 180  # to load it and answer for the first time
READ_MEMORY, RUN_MEMORY = 2**30, 2**31  # beside a few times the file's own size
MAX_WORDS = 600  # characters of a reason
ADVICE = "Use a file as this studio exported it."


@dataclass(frozen=True)
class ModelFileInfo:
    """What a sound file declares: its size in bytes, operator set, output widths and metadata strings, and whether it has the output
    `known`.
    """

    size: int
    opset: int
    n_classes: int
    embed_dim: int
    props: dict[str, str]
    has_rule: bool = False

    @property
    def metadata(self) -> ModelMetadata:
        return ModelMetadata.from_props(self.props)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def check_model_file(path: Path) -> ModelFileInfo:
    """Inspect `path` (see `exporters.inspection`); this process neither parses the file nor loads onnx.

    Raises:
        ModelFileError: why the file is not opened.
    """
    size, name = size_of(path), plain(path.name)
    ended = run_apart(INSPECTION, [str(path.resolve())], READ_MEMORY + 3 * size, SECONDS)
    answer = ([{}, *_said(ended)])[-1]
    if "error" in answer:
        raise ModelFileError(answer["error"], answer["advice"])
    if "info" not in answer:
        reason = ended.trouble or "its reader said nothing"
        raise ModelFileError(plain(f"{name} could not be read: {reason}.", MAX_WORDS), "It may be damaged. Export or copy it again.")
    return ModelFileInfo(**answer["info"])


def try_model_file(path: Path, info: ModelFileInfo, batches: Sequence[int]) -> tuple[int, ...]:
    """Let an inspected file answer batches of pictures, the smallest first; returns the numbers that it answered well.

    A file that answers a single picture is good; how many at once it may be given is what this finds out. The sizes of everything
    inside an inspected file follow from that number alone, so a number that was answered once takes no more memory the next time.

    Raises:
        ModelFileError: it does not answer one picture within the limits, or not as it should.
    """
    memory = RUN_MEMORY + 4 * info.size
    sizes = [str(info.n_classes), str(info.embed_dim), *map(str, sorted(batches))]
    ended = run_apart(FIRST_RUN, [str(path.resolve()), *sizes], memory, RUN_SECONDS)
    said = _said(ended)
    answered = [int(answer["answered"]) for answer in said if "answered" in answer]
    if answered:
        return tuple(answered)
    reason = next((str(answer["error"]) for answer in said if "error" in answer), "") or ended.trouble or "it said nothing"
    limits = f"Allowed for a first picture: {megabytes(memory)} of memory and {RUN_SECONDS} seconds."
    raise ModelFileError(plain(f"{path.name} failed its first run: {reason}.", MAX_WORDS), f"{limits} {ADVICE}")


def size_of(path: Path) -> int:
    """The size in bytes of a regular file that can be an ONNX file by its size.

    Raises:
        ModelFileError: it cannot.
    """
    name = plain(path.name)
    if not path.is_file():  # folders, devices and pipes are none
        raise ModelFileError(f"there is no file {name}.", "Choose an .onnx file.")
    size = path.stat().st_size
    if size == 0 or size > MAX_BYTES:
        raise ModelFileError(f"{name} has {size:,} bytes; allowed: 1 to {MAX_BYTES:,}.", ADVICE)
    return size


def _said(ended: Ended) -> list[dict[str, Any]]:
    """What a process printed as lines of JSON; other lines are left out."""
    found = []
    for line in ended.lines:
        try:
            value = json.loads(line)
        except ValueError:
            continue
        found += [value] if isinstance(value, dict) else []
    return found
