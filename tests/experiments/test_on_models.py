"""Merged beside unmerged, and other families of tower: the commands measure what they say."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from blocklora.cli.parser import main
from blocklora.clip.backbones import from_config
from blocklora.config import AdapterConfig
from blocklora.errors import TrainingError
from blocklora.experiments import merged, towers

sys.path.append(str(Path(__file__).parents[1] / "clip"))
from tiny_backbones import CONFIGS


def test_merged_is_the_adapted_model_in_the_base_models_form() -> None:
    found = merged.models(from_config(CONFIGS["plain"]), AdapterConfig(), 1)
    assert tuple(found) == merged.VARIANTS
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        base, control, unmerged, one = (tower(images) for tower in found.values())
    assert torch.equal(base, control)
    torch.testing.assert_close(one, unmerged, atol=1e-5, rtol=1e-4)
    assert (one - base).abs().max() > 1e-3
    kinds = [[type(module) for module in found[name].modules()] for name in ("base", "merged", "unmerged")]
    assert kinds[0] == kinds[1] != kinds[2]


def test_calls_take_turns_and_every_round_counts() -> None:
    order: list[str] = []
    times = merged.interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert [len(values) for values in times.values()] == [3, 3]
    assert order == ["a", "b", "b", "a"] * 3


def test_the_peak_is_what_a_call_holds_at_once() -> None:
    assert merged.peak_mb(lambda: torch.zeros(2**20) + 1) == pytest.approx(8, abs=0.5)  # two of 4 MB
    assert merged.peak_mb(lambda: [torch.zeros(2**20) for _ in range(3)] and None) == pytest.approx(12, abs=0.5)


def test_rows_for_both_runtimes() -> None:
    rows = merged.compare(from_config(CONFIGS["plain"]), 2, (1, 3), 1)
    assert [(row["runtime"], row["batch"]) for row in rows[::4]] == [("torch", 1), ("torch", 3), ("onnxruntime", 1), ("onnxruntime", 3)]
    assert all(row["ms"] > 0 and row["weights_mb"] > 0 for row in rows) and len(rows) == 16
    assert all(row["ratio_to_base"] == 1 for row in rows if row["variant"] == "base")
    sizes = {row["variant"]: row["weights_mb"] for row in rows if row["runtime"] == "torch"}
    assert sizes["merged"] == sizes["base"] < sizes["unmerged"]
    assert all(row["merged_differs_by"] < 1e-5 for row in rows if row["variant"] == "merged" and row["runtime"] == "torch")


@pytest.mark.parametrize("family", ["ViT", "SigLIP2", "CoCa", "MobileCLIP2", "EVA-02", "BLIP"])
def test_adapters_attach_learn_and_merge_exactly(family: str) -> None:
    row = towers.try_family(family, 12, 1)
    assert row["frozen_weights"] and row["untrained"] < 1e-6
    assert row["last_loss"] < row["first_loss"] and row["learned"] > 1e-3
    assert row["merged"] < 1e-5


def test_blip_without_transformers_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(TrainingError, match="package transformers"):
        towers.try_family("BLIP", 1, 1)


def test_the_towers_command_writes_its_table_and_does_nothing_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["benchmark", "towers", "--families", "ViT", "EVA-02", "--steps", "2", "--out", str(tmp_path)]
    assert main(command) == 0
    first = (tmp_path / "towers.jsonl").read_text()
    assert [json.loads(line)["family"] for line in first.splitlines()] == ["ViT", "EVA-02"]
    assert main(command) == 0 and (tmp_path / "towers.jsonl").read_text() == first
    assert capsys.readouterr().out.count("EVA-02") == 2
    assert main(["benchmark", "merged", "--batches", "0", "--out", str(tmp_path)]) == 1
    assert main(["benchmark", "merged", "--random", "no such model", "--out", str(tmp_path)]) == 1
    assert "open_clip knows no model" in capsys.readouterr().err
