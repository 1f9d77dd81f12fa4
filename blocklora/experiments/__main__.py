"""`python -m blocklora benchmark`: the paper's claims, put to the test by anyone."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from blocklora.errors import StudioError, TrainingError
from blocklora.experiments import commands
from blocklora.experiments.on_models import add_merged, add_towers
from blocklora.presets import BUILTIN

EXAMPLES = """\
examples:
  # one block is LoRA; n blocks are LoRA of less width and a larger scale
  python -m blocklora benchmark equivalence --out figures

  # what the arms cost when each is multiplied by itself
  python -m blocklora benchmark arms --out figures

  # a merged model costs what the base model costs
  python -m blocklora benchmark merged --random ViT-B-32 --out figures

  # other families of tower, with small random weights
  python -m blocklora benchmark towers --out figures

  # methods, shots and seeds on a folder of sets; the reference takes 500 steps a shot, this at most 100
  python -m blocklora benchmark fewshot sets --out figures --most-steps 100
"""
PAIRS = ((1, 1), (2, 1), (4, 1), (2, 2), (4, 2), (2, 4), (8, 8))  # rank and blocks


def parser() -> argparse.ArgumentParser:
    """All experiments and their options."""
    top = argparse.ArgumentParser(
        prog="python -m blocklora benchmark",
        description="Experiments on Block-LoRA. Rows go to FOLDER as JSON, CSV and Markdown; what is there is not measured again.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = top.add_subparsers(dest="name", required=True, metavar="EXPERIMENT")
    equivalence = names.add_parser("equivalence", help="Block-LoRA beside LoRA as it is defined, step by step")
    equivalence.add_argument("--backbone", default=BUILTIN, help="default: the built-in one")
    equivalence.add_argument("--steps", type=int, default=50)
    equivalence.add_argument("--scaling", choices=("sqrt", "linear"), default="sqrt")
    arms = names.add_parser("arms", help="arms looped against arms summed: time of a projection")
    arms.add_argument("--rounds", type=int, default=50)
    for command in (equivalence, arms, add_merged(names), add_towers(names)):
        command.add_argument("--out", type=Path, required=True, metavar="FOLDER")
        command.add_argument("--seed", type=int, default=1)
        command.add_argument("--threads", type=int, help="CPU threads (default: torch's own choice)")
    commands.add_to(names)
    return top


def _equivalence(options: argparse.Namespace) -> str:
    from blocklora.clip.backbones import load_backbone
    from blocklora.config import AdapterConfig
    from blocklora.experiments import equivalence
    from blocklora.experiments.tables import Row, Rows, publish
    from blocklora.projects.home import default_home

    backbone = load_backbone(options.backbone, default_home())
    rows = Rows(options.out / "equivalence.jsonl")
    found = []
    for rank, blocks in PAIRS:
        config = AdapterConfig(rank=rank, blocks=blocks, scaling=options.scaling, dropout=0.0, towers=("image",))

        def measure(config: AdapterConfig = config) -> Row:
            *_, last = equivalence.compare(backbone, config, options.steps, options.seed)
            return {name: value for name, value in last.items() if name != "step"}

        key = {"backbone": backbone.name, "rank": rank, "blocks": blocks, "scaling": options.scaling, "seed": options.seed}
        found.append(rows.once({**key, "steps": options.steps}, measure))
    return publish(found, options.out, "equivalence")


def _arms(options: argparse.Namespace) -> str:
    from blocklora.experiments import arms
    from blocklora.experiments.tables import Rows, publish

    rows = Rows(options.out / "arms.jsonl")
    found = []
    for rank, blocks in ((2, 1), (2, 2), (2, 4), (2, 8), (8, 8), (16, 16)):

        def measure(rank: int = rank, blocks: int = blocks) -> dict[str, float]:
            return arms.compare(rank, blocks, options.rounds, options.seed)

        found.append(rows.once({"rank": rank, "blocks": blocks, "rounds": options.rounds, "seed": options.seed}, measure))
    return publish(found, options.out, "arms")


def main(argv: Sequence[str] | None = None) -> int:
    """Run an experiment; 0 when it is done, 1 with a message when something must be changed."""
    options = parser().parse_args(argv)
    try:
        if options.name not in commands.COMMANDS and min(getattr(options, "steps", 1), getattr(options, "rounds", 1)) < 1:
            raise TrainingError("Less than one step or round was asked for.", "Give 1 or more.")
        if options.threads:
            import torch

            torch.set_num_threads(options.threads)
        known = {"equivalence": _equivalence, "arms": _arms, **commands.COMMANDS}
        run = getattr(options, "run", None) or known[options.name]
        print(run(options), end="")
    except StudioError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
