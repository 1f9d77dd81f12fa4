"""Peak memory of a step with very many classes, against what is told before a run: `python tests/benchmarks/memory_1000.py --help`.

A process of its own takes a step of the product (adapters on q, k and v of all layers of both towers, class weights from the names,
random images) and reads its peak; another one does the same without a backward pass and with one class, which is what model and program
take. Weights are random. The step needs a good part of the machine's memory: it is refused where less than `--free` GB are free.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import psutil
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from step_time import peak_bytes

from blocklora.clip.backbones import random_backbone
from blocklora.clip.prompts import image_features, text_class_weights, tokenise
from blocklora.config import AdapterConfig
from blocklora.lora.attach import attach
from blocklora.training.device import choose
from blocklora.training.memory import footprint

WORDS = ("red", "garden", "small", "wooden", "sea", "mountain", "steam", "paper", "night", "summer")


def names(count: int) -> list[str]:
    """Names of two words and a number, about as long as those of ImageNet's classes."""
    return [f"{WORDS[i % 10]} {WORDS[i // 10 % 10]} {i}" for i in range(count)]


def steps(model: str, classes: int, batch: int, trains: bool) -> dict[str, float]:
    """One step, or one look without gradients; the peak of this process and what the estimate says, in bytes."""
    compute = choose("cpu", "auto", lambda message: None)
    backbone = random_backbone(model)
    adapters = attach(backbone.model, AdapterConfig(), seed=0)
    size = backbone.preprocess.size
    prompts = tokenise(names(classes), ["a photo of a {}."], backbone)
    images, labels = torch.randn(batch, 3, size, size), torch.arange(batch) % classes
    optimiser = torch.optim.AdamW(adapters.parameters(), lr=1e-3)
    adapters.train(True)
    with torch.set_grad_enabled(trains), compute.autocast():
        text = text_class_weights(backbone.model, prompts)
        features = image_features(backbone.model, images)
    loss = F.cross_entropy(100 * features.float() @ text.float().T, labels)
    if trains:
        loss.backward()
        optimiser.step()
    peak = peak_bytes()
    told = footprint(backbone, adapters, compute).bytes(batch, prompts.tokens.numel())
    return {"peak": peak, "told": told, "tokens": prompts.tokens.numel(), "bf16": compute.precision == "bf16"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ViT-B-16", help="an open_clip model with its own towers (default: ViT-B-16)")
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 1000])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--free", type=float, default=12.0, help="GB that must be free (default 12)")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(steps(args.model, int(args.one[0]), args.batch, args.one[1] == "train")))
        return 0
    rows = []
    for classes, mode in ((1, "look"), *((classes, "train") for classes in args.classes)):
        free = psutil.virtual_memory().available / 2**30
        if free < args.free:
            print(f"only {free:.1f} GB are free; needed: {args.free:g}", file=sys.stderr)
            return 1
        command = [sys.executable, __file__, "--model", args.model, "--batch", str(args.batch), "--one", str(classes), mode]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
        rows.append({"classes": classes, "mode": mode, **found})
        print(f"{mode} {classes} classes ({found['tokens']:,} tokens): peak {found['peak'] / 2**30:.2f} GB", end="")
        print("" if mode == "look" else f", told {found['told'] / 2**30:.2f} GB", flush=True)
    if args.out:
        args.out.write_text(json.dumps({"model": args.model, "batch": args.batch, "rows": rows}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
