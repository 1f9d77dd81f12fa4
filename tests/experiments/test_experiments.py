"""The paper's claims as commands: what they measure is what they say, and a stopped run goes on."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest
import torch

from blocklora.cli.parser import main
from blocklora.clip.backbones import from_config
from blocklora.config import AdapterConfig
from blocklora.errors import TrainingError
from blocklora.experiments import arms, equivalence
from blocklora.experiments.tables import Rows, publish

sys.path.append(str(Path(__file__).parents[1] / "clip"))
from tiny_backbones import CONFIGS


def last(rank: int, blocks: int, scaling: str = "sqrt") -> dict[str, float]:
    """The last row of ten steps side by side on a tiny backbone, which must come back as it was."""
    backbone = from_config(CONFIGS["plain"])
    before = {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}
    *_, row = equivalence.compare(backbone, AdapterConfig(rank=rank, blocks=blocks, scaling=scaling, dropout=0.0, towers=("image",)), 10, 1)
    after = backbone.model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    return row


@pytest.mark.parametrize("rank", [1, 2])
def test_one_block_is_lora(rank: int) -> None:
    row = last(rank, 1)
    assert row["step"] == 10 and row["largest_update"] > 1e-4
    assert row["worst_update"] < 0.02 * row["largest_update"]


@pytest.mark.parametrize("scaling", ["sqrt", "linear"])
def test_blocks_are_lora_of_less_width_and_a_larger_scale(scaling: str) -> None:
    row = last(4, 2, scaling)
    assert row["worst_update"] < 0.1 * row["largest_update"]  # AdamW's epsilon weighs more on the arms' smaller gradients


def test_the_comparison_would_see_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equivalence._Twin, "add_to", lambda twin, weight, scale: _subtracted(twin, weight, scale))
    row = last(2, 1)
    assert row["worst_update"] > 0.1 * row["largest_update"]


def _subtracted(twin: equivalence._Twin, weight: torch.Tensor, scale: float) -> torch.Tensor:
    stripes = list(weight.chunk(twin.stripes))
    stripes[twin.place] = stripes[twin.place] - (scale * twin.b @ twin.a).view_as(stripes[twin.place])
    return torch.cat(stripes)


def test_looped_and_summed_arms_give_the_same() -> None:
    row = arms.compare(4, 4, rounds=1, seed=1)
    assert row["largest_difference"] < 1e-5 and row["looped_ms"] > 0 and row["summed_ms"] > 0


def test_what_is_there_is_not_measured_again(tmp_path: Path) -> None:
    calls: list[int] = []

    def measure() -> dict[str, int]:
        calls.append(1)
        return {"found": len(calls)}

    path = tmp_path / "rows.jsonl"
    assert Rows(path).once({"n": 1}, measure)["found"] == 1
    assert Rows(path).once({"n": 1}, measure)["found"] == 1
    assert Rows(path).once({"n": 2}, measure)["found"] == 2
    path.write_text(path.read_text() + '{"n": 3, "fou')
    with pytest.raises(TrainingError, match="Line 3"):
        Rows(path)


def test_tables_are_json_csv_and_markdown(tmp_path: Path) -> None:
    rows = [{"name": "a|b", "value": 1.23456789}, {"name": "c", "other": 3}]
    text = publish(rows, tmp_path, "things")
    assert "| a\\|b | 1.235 |  |" in text and (tmp_path / "things.md").read_text() == text
    assert json.loads((tmp_path / "things.json").read_text()) == rows
    assert list(csv.DictReader((tmp_path / "things.csv").read_text().splitlines()))[1] == {"name": "c", "value": "", "other": "3"}


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "arms", "--out", str(tmp_path), "--rounds", "1"]) == 0
    assert capsys.readouterr().out.count("\n") == 2 + 6
    assert main(["benchmark", "arms", "--out", str(tmp_path), "--rounds", "0"]) == 1
    assert "Give 1 or more" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="0"):
        main(["benchmark", "--help"])
    assert "what the arms cost" in capsys.readouterr().out
