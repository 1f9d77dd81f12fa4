"""The commands `merged` and `towers`: what they take, and what they run. Nothing heavy is imported before one of them runs."""

from __future__ import annotations

import argparse
from typing import Any

from blocklora.presets import BUILTIN

NAMES = ("ViT", "SigLIP2", "CoCa", "MobileCLIP2", "EVA-02", "BLIP")


def add_merged(names: Any) -> argparse.ArgumentParser:
    """The command `merged`."""
    command: argparse.ArgumentParser = names.add_parser("merged", help="latency and size of base, adapted and merged models")
    command.add_argument("--backbone", default=BUILTIN, help="default: the built-in one")
    command.add_argument("--random", metavar="MODEL", help="instead: a model of open_clip with random weights, such as ViT-B-32")
    command.add_argument("--rounds", type=int, default=100, help="rounds at batch 1 (default 100; a quarter of them at larger batches)")
    command.add_argument("--batches", type=int, nargs="+", default=[1, 32])
    command.set_defaults(run=run_merged)
    return command


def run_merged(options: argparse.Namespace) -> str:
    """Measure, or give what was measured before; the table as Markdown."""
    from blocklora.clip.backbones import Backbone, load_backbone, random_backbone
    from blocklora.errors import TrainingError
    from blocklora.experiments import merged
    from blocklora.experiments.tables import Rows, publish
    from blocklora.projects.home import default_home

    if min(options.batches) < 1:
        raise TrainingError("A batch of less than one picture was asked for.", "Give 1 or more.")

    def backbone() -> Backbone:
        if options.random:
            return random_backbone(options.random, options.seed)
        return load_backbone(options.backbone, default_home())

    name = f"{options.random} (random)" if options.random else options.backbone
    key = {"backbone": name, "rounds": options.rounds, "batches": options.batches, "seed": options.seed}
    rows = Rows(options.out / "merged.jsonl")
    found = rows.once(key, lambda: {"rows": merged.compare(backbone(), options.rounds, tuple(options.batches), options.seed)})
    return publish([{"backbone": name, **row} for row in found["rows"]], options.out, "merged")


def add_towers(names: Any) -> argparse.ArgumentParser:
    """The command `towers`."""
    command: argparse.ArgumentParser = names.add_parser("towers", help="the same on SigLIP2, CoCa, MobileCLIP2, EVA-02 and BLIP models")
    command.add_argument("--families", nargs="+", default=list(NAMES), choices=NAMES)
    command.add_argument("--steps", type=int, default=30)
    command.set_defaults(run=run_towers)
    return command


def run_towers(options: argparse.Namespace) -> str:
    """Every family that is asked for; the table as Markdown."""
    from blocklora.experiments import towers
    from blocklora.experiments.tables import Row, Rows, publish

    rows, found = Rows(options.out / "towers.jsonl"), []
    for name in options.families:

        def measure(name: str = name) -> Row:
            return towers.try_family(name, options.steps, options.seed)

        found.append(rows.once({"family": name, "steps": options.steps, "seed": options.seed}, measure))
    return publish(found, options.out, "towers")
