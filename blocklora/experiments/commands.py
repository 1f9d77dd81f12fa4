"""The three accuracy experiments as commands: `blocks`, `ablation`, `fewshot`, with the options that say what they may cost."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blocklora.config import CLASS_WEIGHTS, DEVICES, PRECISIONS
from blocklora.errors import TrainingError
from blocklora.presets import BUILTIN, REFERENCE_STEPS_A_SHOT, is_builtin

if TYPE_CHECKING:
    from blocklora.experiments.accuracy import Bench

HELP = {
    "blocks": "rank and number of blocks, beside plain LoRA of equal width, of equal parameters and of equal steps",
    "ablation": "shared A trained, shared A fixed at random, an A for each arm",
    "fewshot": "zero-shot, heads on frozen features, LoRA, CLIP-LoRA's protocol, Block-LoRA",
}
SHOTS = {"blocks": [1, 4, 16], "ablation": [1, 16], "fewshot": [1, 2, 4, 8, 16]}
METHODS = ("zero-shot", "nearest-mean", "discriminant", "gda", "proker", "linear-probe", "lora", "clip-lora", "block-lora")


def add_to(names: Any) -> None:
    """Add the parsers of the three commands."""
    for name, words in HELP.items():
        command: argparse.ArgumentParser = names.add_parser(name, help=words, description=words)
        command.add_argument("data", type=Path, metavar="DATA", help="folder of sets: class folders, or CoOp's benchmark sets")
        command.add_argument("--out", type=Path, required=True, metavar="FOLDER")
        command.add_argument("--sets", nargs="+", metavar="SET", help="names of folders in DATA (default: all)")
        command.add_argument("--shots", nargs="+", type=int, default=SHOTS[name], metavar="N", help=f"default: {SHOTS[name]}")
        command.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], metavar="N", help="default: 1 2 3")
        command.add_argument("--backbone", default=BUILTIN, help="default: the built-in one")
        command.add_argument("--class-weights", choices=CLASS_WEIGHTS, help="default: images with the built-in backbone, else text")
        command.add_argument("--steps-per-shot", type=int, default=REFERENCE_STEPS_A_SHOT, help=f"default: {REFERENCE_STEPS_A_SHOT}")
        command.add_argument("--most-steps", type=int, help="upper limit of steps (default: none)")
        command.add_argument("--batch", type=int, default=32, help="images a step (default: 32)")
        command.add_argument("--learning-rate", type=float, default=2e-4, help="peak for the adapters (default: 2e-4)")
        command.add_argument("--last-layers", type=int, help="adapt only so many layers, on kept views of the layers below (default: all)")
        command.add_argument("--precision", choices=PRECISIONS, default="auto")
        command.add_argument("--device", choices=DEVICES, default="auto")
        command.add_argument("--threads", type=int, help="CPU threads (default: one a core)")
        command.add_argument("--tables-only", action="store_true", help="measure nothing: tables and plots of what was measured before")
        if name == "blocks":
            command.add_argument("--rounds", type=int, default=0, help="also time the steps, in so many turns (default: 0, not)")
        if name == "fewshot":
            command.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="METHOD", help=", ".join(METHODS))


def _bench(options: argparse.Namespace) -> Bench:
    """What the options describe.

    Raises:
        TrainingError: a number is too small, or there is no set.
    """
    numbers = [
        *options.shots,
        *options.seeds,
        options.steps_per_shot,
        options.batch,
        options.most_steps or 1,
        options.threads or 1,
        options.last_layers or 1,
    ]
    if min(numbers) < 1:
        raise TrainingError(
            f"Shots, seeds, steps, batch, layers and threads are numbers from 1 on; {min(numbers)} was given.", "Give 1 or more."
        )
    import torch

    from blocklora.clip.backbones import load_backbone
    from blocklora.experiments.accuracy import Bench, Grid
    from blocklora.experiments.coop import find_sets
    from blocklora.experiments.protocol import Protocol
    from blocklora.experiments.tables import Rows
    from blocklora.projects.home import default_home
    from blocklora.training.device import choose

    sets = options.sets or find_sets(options.data)
    if not sets:
        raise TrainingError(f"There is no set in {options.data}.", "A set has train/<class> and test/<class>, or is one of CoOp's.")
    compute = choose(options.device, options.precision, print)
    if options.threads:
        torch.set_num_threads(options.threads)  # after `choose`, which takes all cores
    backbone = load_backbone(options.backbone, default_home())
    compute.take(backbone.model)
    protocol = Protocol(
        backbone=backbone.name,
        weights_hash=backbone.weights_hash,
        pixels=backbone.preprocess.size,
        precision=compute.precision,
        steps_per_shot=options.steps_per_shot,
        most_steps=options.most_steps,
        batch=options.batch,
        learning_rate=options.learning_rate,
        last_layers=options.last_layers,
        class_weights=options.class_weights or ("images" if is_builtin(options.backbone) else "text"),
    )
    protocol.training(1, 1, "{}")  # its limits are checked before anything is measured
    grid = Grid(list(dict.fromkeys(sets)), sorted(set(options.shots)), sorted(set(options.seeds)))
    return Bench(options.data, grid, backbone, compute, protocol, Rows(options.out / "trained.jsonl"))


def _with_text(bench: Bench, entries: Sequence[Any]) -> list[Any]:
    """`entries`; class weights alone can only be trained where they have a shift of their own."""
    return [entry for entry in entries if entry.variant.trains or bench.protocol.class_weights != "text"]


def blocks(options: argparse.Namespace) -> str:
    """Train, time and write down: `blocks.json`, `.csv`, `.md`, `.svg`."""
    from blocklora.experiments.accuracy import entry_rows
    from blocklora.experiments.figures import by_scale
    from blocklora.experiments.reports import by_configuration, differences
    from blocklora.experiments.tables import publish
    from blocklora.experiments.variants import blocks_entries

    bench = _bench(options)
    entries = _with_text(bench, blocks_entries())
    if not options.tables_only:
        bench.train([entry.variant for entry in entries])
    steps = _steps(bench, options)
    rows = entry_rows(bench, entries)
    by_scale(options.out / "blocks.svg", rows)
    note = "\n" + "".join(differences(bench, rows, "Block-LoRA", other) for other in ("same step", "equal width", "nearest parameters"))
    return publish(rows, options.out, "blocks", by_configuration(bench, rows, steps, note))


def _steps(bench: Bench, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Times of the steps of all configurations, measured in turns; those that are there are not measured again."""
    from blocklora.experiments.steps import measure
    from blocklora.experiments.tables import Rows
    from blocklora.experiments.variants import block, blocks_entries

    if not options.rounds:
        return []
    variants = [block(2, 1), *(entry.variant for entry in blocks_entries())]  # ratios are to (2, 1), which is LoRA of rank 2
    by_key = {tuple(variant.key().items()): variant for variant in variants if variant.trains}
    name, shots = bench.grid.sets[0], max(bench.grid.shots)
    key = {"set": name, **bench.protocol.key(shots), "rounds": options.rounds, "threads": options.threads}

    def work() -> dict[str, Any]:
        return {
            "measured": measure(bench.drawn(name, bench.grid.seeds[0]).shots(shots), list(by_key.values()), bench.protocol, options.rounds)
        }

    rows = Rows(options.out / "steps.jsonl")
    found = rows.find(key) if options.tables_only else rows.once(key, work)
    return list(found["measured"]) if found else []


def ablation(options: argparse.Namespace) -> str:
    """Train and write down: `ablation.json`, `.csv`, `.md`, `.svg`."""
    from blocklora.experiments.accuracy import entry_rows
    from blocklora.experiments.figures import by_shots
    from blocklora.experiments.reports import by_configuration, differences
    from blocklora.experiments.tables import publish
    from blocklora.experiments.variants import ablation_entries

    bench = _bench(options)
    entries = _with_text(bench, ablation_entries())
    if not options.tables_only:
        bench.train([entry.variant for entry in entries])
    rows = entry_rows(bench, entries)
    by_shots(options.out / "ablation.svg", rows, "configuration", bench.grid.sets)
    note = "\n" + "".join(
        differences(bench, rows, "shared A trained", other) for other in ("shared A fixed at random", "an A for each arm")
    )
    return publish(rows, options.out, "ablation", by_configuration(bench, rows, note=note))


def fewshot(options: argparse.Namespace) -> str:
    """Fit, train and write down: `fewshot.json`, `.csv`, `.md`, `.svg`."""
    from blocklora.experiments.accuracy import head_rows
    from blocklora.experiments.figures import by_shots
    from blocklora.experiments.reports import by_method
    from blocklora.experiments.tables import publish
    from blocklora.experiments.variants import TUNED

    bench = _bench(options)
    methods = list(dict.fromkeys(options.methods))
    if not options.tables_only:
        bench.try_heads([method for method in methods if method not in TUNED])
        bench.train([TUNED[method] for method in methods if method in TUNED])
    rows = head_rows(bench, methods, TUNED)
    by_shots(options.out / "fewshot.svg", rows, "method", ["mean"] if len(bench.grid.sets) > 1 else bench.grid.sets)
    return publish(rows, options.out, "fewshot", by_method(bench, rows, methods))


COMMANDS = {"blocks": blocks, "ablation": ablation, "fewshot": fewshot}
