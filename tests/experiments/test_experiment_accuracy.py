"""The accuracy experiments on a tiny random backbone: what is compared, that it is trained as it says, and that a stopped run goes on."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from blocklora.cli.parser import main
from blocklora.config import AdapterConfig
from blocklora.experiments import accuracy, published, steps
from blocklora.experiments.accuracy import Bench, Grid, entry_rows, spread
from blocklora.experiments.bed import Bed, Drawn, Shots
from blocklora.experiments.protocol import Protocol
from blocklora.experiments.reports import by_method, differences
from blocklora.experiments.sets import class_folder_set
from blocklora.experiments.single import ready, trained
from blocklora.experiments.tables import Rows
from blocklora.experiments.variants import (
    PAIRS,
    Variant,
    ablation_entries,
    block,
    blocks_entries,
    equal_parameters,
    plain,
    same_step,
    separate,
)
from blocklora.training.control import Control
from blocklora.training.device import Compute
from blocklora.training.loop import train

sys.path.append(str(Path(__file__).parents[1] / "training"))
from tiny_backbone import write_tiny_backbone

PROTOCOL = Protocol("tiny", "hash", 32, "fp32", steps_per_shot=3, most_steps=6, batch=4, learning_rate=1e-2, class_weights="images")
MakePictures = Callable[..., Path]
ALONE = Variant(AdapterConfig(blocks=1), "")


@pytest.fixture
def sets(make_pictures: MakePictures, tmp_path: Path, data_home: Path) -> Path:
    """A folder with one set of three easy classes, and a tiny backbone in the data home."""
    make_pictures("sets/easy/train", classes=3, each=4)
    make_pictures("sets/easy/test", classes=3, each=2)
    write_tiny_backbone(data_home)
    return tmp_path / "sets"


@pytest.fixture
def shots(sets: Path, data_home: Path) -> Shots:
    from blocklora.clip.backbones import load_backbone

    backbone = load_backbone("tiny", data_home)
    backbone.model.eval()
    return Drawn(Bed(backbone, Compute(torch.device("cpu"), "fp32"), class_folder_set(sets / "easy")), 1, 4).shots(4)


def learned(shots: Shots, variant: Variant, protocol: Protocol = PROTOCOL) -> dict[str, torch.Tensor]:
    """The dense update of each projection after training, and all its A."""
    setup, state = ready(shots, variant, protocol)
    before = {f"{name} A before": part.A.detach().clone() for name, part in setup.adapters.blocks.items()}
    for _ in train(setup, state, setup.spec.training.steps, Control()):
        pass
    found = {name: part.dense().detach() for name, part in setup.adapters.blocks.items()}
    found |= {f"{name} A": part.A.detach().clone() for name, part in setup.adapters.blocks.items()} | before
    setup.adapters.detach()
    return found


def worst(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Largest difference of the updates, as a share of the largest update."""
    names = [name for name in one if " " not in name]
    return max(float((one[name] - other[name]).abs().max()) for name in names) / max(float(one[name].abs().max()) for name in names)


@pytest.fixture
def no_epsilon(monkeypatch: pytest.MonkeyPatch) -> None:
    """AdamW that divides by the gradients' size alone: the tiny model's gradients are hardly larger than its usual epsilon."""
    monkeypatch.setattr(torch.optim, "AdamW", partial(torch.optim.AdamW, eps=1e-13))


@pytest.mark.parametrize(("rank", "n"), [(2, 2), (8, 4), (2, 8)])
def test_same_step_is_what_the_arms_amount_to(shots: Shots, rank: int, n: int, no_epsilon: None) -> None:
    gentle = replace(PROTOCOL, learning_rate=1e-3)
    arms = learned(shots, block(rank, n), gentle)
    assert worst(arms, learned(shots, same_step(rank, n), gentle)) < 0.01
    assert worst(arms, learned(shots, plain(AdapterConfig(rank=rank, blocks=n).width), gentle)) > 0.1


def test_blocks_that_theory_calls_equal_have_one_neighbour() -> None:
    assert same_step(2, 4).key() == same_step(8, 8).key() and block(2, 4).key() != block(8, 8).key()


def test_a_fixed_a_stays_and_class_weights_alone_leave_the_adapters(shots: Shots) -> None:
    fixed, both, alone = (learned(shots, variant) for variant in (Variant(block(2, 2).adapter, "B"), block(2, 2), ALONE))
    moved = {
        name: [not torch.equal(found[f"{part} A"], found[f"{part} A before"]) for part in found if " " not in part]
        for name, found in (("fixed", fixed), ("both", both), ("alone", alone))
    }
    assert not any(moved["fixed"]) and all(moved["both"]) and not any(moved["alone"])
    assert max(float(fixed[name].abs().max()) for name in fixed if " " not in name) > 0
    assert all(not alone[name].any() for name in alone if " " not in name)


def test_a_training_leaves_the_model_as_it_was(shots: Shots) -> None:
    model = shots.drawn.bed.backbone.model
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first, again = (trained(shots, block(2, 2), PROTOCOL) for _ in range(2))
    assert worst(learned(shots, block(2, 2)), learned(shots, block(2, 2))) == 0.0
    after = model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert first["top1"] == again["top1"]
    assert first["parameters"] > 0 and first["bytes"] > 4 * first["parameters"]
    assert trained(shots, ALONE, PROTOCOL)["parameters"] == 0


def test_last_layers_are_trained_on_kept_views(shots: Shots) -> None:
    last = Protocol("tiny", "hash", 32, "fp32", 3, 6, 4, 1e-2, "images", last_layers=1)
    setup, _ = ready(shots, block(2, 2), last)
    other, _ = (setup.adapters.detach(), ready(shots, block(2, 4), last))[1]
    assert setup.views is not None and other.views is setup.views and len(other.adapters.blocks) == 3
    kept = shots.drawn.bed.adapted(other)
    assert torch.allclose(kept, shots.drawn.bed.tested, atol=1e-5)  # B is zero: the model has not changed yet
    other.adapters.detach()
    assert trained(shots, block(2, 2), last)["parameters"] < trained(shots, block(2, 2), PROTOCOL)["parameters"]


def test_steps_are_measured_of_every_adapter(shots: Shots) -> None:
    found = steps.measure(shots, [block(2, 1), block(8, 8)], PROTOCOL, rounds=2)
    assert [row["arms"] for row in found] == [1, 8] and found[0]["step_ratio"] == 1.0
    assert all(row["step_ms"] > 0 and row["step_mb"] > 0 for row in found)


def test_neighbours_are_those_of_the_arithmetic() -> None:
    assert [equal_parameters(*pair) for pair in PAIRS] == [2, 2, 3, 5, 8, 6, 5, 5]
    assert separate(8, 4).key() == plain(8).key() and separate(2, 2).key() == plain(2).key() == block(2, 1).key()
    assert same_step(8, 4).key()["scale"] == pytest.approx(4 / 8**0.5, abs=1e-5) and same_step(8, 4).key()["width"] == 2
    assert len({tuple(entry.variant.key().items()) for entry in blocks_entries()}) == 19
    assert len({tuple(entry.variant.key().items()) for entry in ablation_entries()}) == 7


def test_protocol_counts_steps_and_says_so() -> None:
    reference = Protocol()
    assert reference.steps(16) == 8000 and PROTOCOL.steps(1) == 3 and PROTOCOL.steps(16) == 6
    training = PROTOCOL.training(4, 2, "a {}.")
    assert (training.steps, training.held_out, training.patience, training.retrain) == (6, 0.0, None, "no")
    assert "3 at 1, 6 at 4" in PROTOCOL.words([1, 4], [1]) and "500 a shot" in PROTOCOL.words([1], [1])
    assert Protocol(learning_rate=1e-3).key(1) != reference.key(1) and Protocol(pixels=96).key(1) != reference.key(1)


def test_spread_is_the_largest_distance() -> None:
    assert spread([1.0, 2.0, 6.0]) == {"top1": 3.0, "spread": 3.0, "seeds": 3}


def made_bench(tmp_path: Path, backbone: str = "tiny", sets: tuple[str, ...] = ("a", "b")) -> Bench:
    """A bench that measures nothing: its rows are written by the test."""
    protocol = Protocol(backbone, "hash", 32, "fp32", class_weights="text")
    return Bench(tmp_path, Grid(list(sets), [16], [1, 2]), None, None, protocol, Rows(tmp_path / "rows.jsonl"))  # type: ignore[arg-type]


def test_means_over_sets_are_spread_over_seeds(tmp_path: Path) -> None:
    bench = made_bench(tmp_path)
    for name, seed, top1 in (("a", 1, 10.0), ("a", 2, 20.0), ("b", 1, 40.0), ("b", 2, 30.0)):
        bench.rows.once(bench.key(block(2, 1), name, 16, seed), lambda top1=top1: {"top1": top1, "parameters": 5, "bytes": 9})  # type: ignore[misc]
    rows = entry_rows(bench, [blocks_entries()[1]])
    assert [(row["set"], row["top1"], row["spread"]) for row in rows] == [("a", 15.0, 5.0), ("b", 35.0, 5.0), ("mean", 25.0, 0.0)]
    assert rows[0]["parameters"] == 5 and rows[0]["learning_rate"] == 2e-4
    bench.rows.rows.pop()  # a seed is missing: no figure is made of the other alone
    assert [row["set"] for row in entry_rows(bench, [blocks_entries()[1]])] == ["a"]


def test_published_figures_stand_beside_their_own_backbone_and_sets_alone(tmp_path: Path) -> None:
    rows = [{"method": "clip-lora", "set": "mean", "shots": 16, "top1": 1.0, "spread": 0.0}]
    mine = by_method(made_bench(tmp_path, published.BACKBONE, published.ELEVEN), rows, ["clip-lora", "gda"])
    assert "| published mean | 16 | 83.0 | 81.7 |" in mine and "MaPLe 81.79" in mine
    for other in (made_bench(tmp_path), made_bench(tmp_path, published.BACKBONE)):
        assert "published mean" not in by_method(other, rows, ["clip-lora"])


def test_differences_are_taken_within_groups(tmp_path: Path) -> None:
    def row(group: str, label: str, top1: float) -> dict[str, object]:
        return {"group": group, "configuration": label, "set": "a", "shots": 1, "top1": top1}

    rows = [row("1", "Block", 5.0), row("1", "plain", 3.0), row("2", "Block", 4.0), row("2", "plain", 5.0)]
    assert "+0.50 points in the mean of 2 cells, +2.00" in differences(made_bench(tmp_path), rows, "Block", "plain")
    assert differences(made_bench(tmp_path), rows, "Block", "none") == ""


COST = ["--backbone", "tiny", "--device", "cpu", "--seeds", "1", "2", "--steps-per-shot", "2", "--batch", "4", "--class-weights", "images"]


def test_commands_write_tables_and_go_on(
    sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "figures"

    def run(name: str, *more: str) -> str:
        assert main(["benchmark", name, str(sets), "--out", str(out), "--shots", "1", *COST, *more]) == 0
        return capsys.readouterr().out

    assert "shared A" not in run("ablation", "--tables-only") and not (out / "trained.jsonl").exists()
    text = run("ablation")
    assert "| (2, 2) | (2, 2), shared A fixed at random | 1.41 |" in text and "steps by shots: 2 at 1" in text
    assert {path.name for path in out.iterdir()} == {"trained.jsonl", *(f"ablation.{kind}" for kind in ("json", "csv", "md", "svg"))}
    assert "<svg" in (out / "ablation.svg").read_text() and (out / "ablation.md").read_text() == text
    lines = len((out / "trained.jsonl").read_text().splitlines())
    assert lines == 2 * 7
    text = run("fewshot")
    assert "| easy | 1 | " in text and "gda" in text
    rows = json.loads((out / "fewshot.json").read_text())
    assert {row["method"] for row in rows} == {
        "zero-shot",
        "nearest-mean",
        "discriminant",
        "proker",
        "linear-probe",
        *("lora", "clip-lora", "block-lora"),
    }
    # clip-lora is LoRA of rank 2, block-lora (2, 2): both are there already
    assert len((out / "trained.jsonl").read_text().splitlines()) == lines + 2 * 6 + 2 * 1

    def fail(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(accuracy, "trained", fail)
    assert run("fewshot") == text == run("fewshot", "--tables-only")


def test_blocks_command_times_steps(
    sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blocklora.experiments.variants.PAIRS", ((2, 1), (2, 2)))
    out = tmp_path / "figures"
    assert main(["benchmark", "blocks", str(sets), "--out", str(out), "--shots", "1", *COST, "--rounds", "1"]) == 0
    text = capsys.readouterr().out
    assert main(["benchmark", "blocks", str(sets), "--out", str(out), "--shots", "1", *COST, "--rounds", "1", "--tables-only"]) == 0
    assert capsys.readouterr().out == text
    assert "step, ms" in text and "Block-LoRA less same step" in text and "LoRA 2, nearest parameters" in text
    assert len((out / "steps.jsonl").read_text().splitlines()) == 1 and "<svg" in (out / "blocks.svg").read_text()


@pytest.mark.parametrize(
    ("more", "says"),
    [(["--shots", "0"], "numbers from 1 on"), (["--sets", "gone"], "there are: easy"), (["--learning-rate", "7"], "learning rate is 7")],
)
def test_commands_say_what_is_wrong(sets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], says: str) -> None:
    assert main(["benchmark", "fewshot", str(sets), "--out", str(tmp_path / "f"), *COST, *more]) == 1
    assert says in capsys.readouterr().err


def test_an_empty_folder_has_no_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "blocks", str(tmp_path), "--out", str(tmp_path / "f")]) == 1
    assert "There is no set" in capsys.readouterr().err
