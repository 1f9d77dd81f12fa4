"""docs/experiments.md: every command in it is one that the program understands, and every table in it is as the command printed it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from blocklora.experiments.__main__ import parser

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "experiments.md").read_text(encoding="utf-8")
COMMANDS = [
    line.strip()
    for block in re.findall(r"^```bash\n(.*?)^```", TEXT.replace("\\\n", " "), flags=re.M | re.S)
    for line in block.splitlines()
    if line.strip() and not line.startswith("#")
]


def test_there_is_a_command_for_every_experiment() -> None:
    named = {shlex.split(line)[4] for line in COMMANDS}
    assert named == {"equivalence", "arms", "merged", "blocks", "ablation", "fewshot"}


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_are_understood(line: str) -> None:
    words = shlex.split(line)
    assert words[:4] == ["python", "-m", "blocklora", "benchmark"]
    assert parser().parse_args(words[4:]).name == words[4]


def test_plots_are_there_and_small() -> None:
    plots = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", TEXT)
    assert plots
    for plot in plots:
        path = ROOT / "docs" / plot
        assert path.read_text(encoding="utf-8").count("<svg") == 1 and path.stat().st_size < 60_000
