"""A folder of tiny data, and one thread."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_data import NAMES, write_shard


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with `train.tar` (48 pictures), `val.tar` (12) and `classes.json`."""
    folder = tmp_path / "source"
    folder.mkdir()
    write_shard(folder / "train.tar", range(16))
    write_shard(folder / "val.tar", range(100, 104))
    (folder / "classes.json").write_text(json.dumps(NAMES))
    return folder


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Runs on one thread repeat exactly; more would add gradients in any order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
