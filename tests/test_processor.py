"""What a process asks of its machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

ASK = """
import os
from pathlib import Path
from blocklora.processor import give_way
group = Path("/proc/self/autogroup")  # empty for a process outside autogroups, and where the kernel was told to do without
grouped = group.exists() and bool(group.read_text())
before = os.nice(0)
give_way()
print(os.nice(0) - before, group.read_text().split()[-1] if grouped else "none")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such order")
def test_a_process_that_gives_way_does_so_beyond_its_own_session() -> None:
    """On Linux the order within a session says nothing to other sessions, and each worker has one of its own."""
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True, start_new_session=True)
    steps, group = done.stdout.split()
    assert steps == "10"
    assert group in ("10", "none")  # only the process itself can say: its session is another than the test's
