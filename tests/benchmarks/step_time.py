"""Time and memory of one training step, side by side: `python tests/benchmarks/step_time.py --out figures.json --help`.

Variants, all with rank 2 on q, k and v of every layer of both towers unless said otherwise, dropout 0.25 and AdamW:

  reference       CLIP-LoRA as its authors run it: the dense d x d product of the update while dropout is on, q, k and v apart, all prompts
                  tokenised to 77 tokens and encoded again in every step, PyTorch's own attention
  peft            PEFT's LoRA on the same separate projections, uncut prompts tokenised once
  ours            this product's step: factored update, q, k and v together, prompts cut to the longest, and in fp32 the frozen products
                  through the quicker of torch's two libraries (`blocklora.lora.frozen_linear`)
  ours, last K    the same with adapters in the last K layers of both towers, on kept hidden states (the time to make them beside it)

Each is run in fp32 and, where the processor computes in it, in bf16. The variants take turns, so that a busy machine slows all of them;
medians and the middle half of the rounds are written. Weights are random: time does not depend on them. `--memory` starts a process for
each variant and gives its peak above the frozen model's.
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from step_profile import profile
from step_profile import table as profile_table

from blocklora.clip.backbones import Backbone, from_config
from blocklora.clip.precision import has_bf16
from blocklora.clip.prompts import image_features, text_class_weights, tokenise, weights_of_prompts
from blocklora.clip.split import split_image_tower, split_text_tower
from blocklora.config import AdapterConfig
from blocklora.lora.attach import attach
from blocklora.lora.frozen_linear import FrozenLinear
from blocklora.training.device import Compute

NAMES = ("apple", "cardigan", "grasshopper", "oil tanker", "tea cup", "umbrella", "wheel chair", "pagoda", "garden hose", "yellow taxi")
TEMPLATE = "a photo of a {}."
Step = Callable[[], None]


class DenseLoRA(nn.Module):
    """A linear map with an update that is multiplied out to d x d while dropout is on, as CLIP-LoRA does."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, rank: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight.clone(), requires_grad=False), nn.Parameter(bias.clone(), requires_grad=False)
        self.a = nn.Parameter(torch.randn(rank, weight.shape[1]) / weight.shape[1] ** 0.5)
        self.b = nn.Parameter(torch.zeros(weight.shape[0], rank))
        self.scale = rank**-0.5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        update = F.dropout(x, 0.25) @ (self.b @ self.a).T * self.scale
        return F.linear(x, self.weight, self.bias) + update


class Apart(nn.Module):
    """nn.MultiheadAttention with q, k and v as separate maps made by `make(weight, bias)`."""

    def __init__(self, packed: nn.MultiheadAttention, make: Callable[[torch.Tensor, torch.Tensor], nn.Module]) -> None:
        super().__init__()
        self.heads = packed.num_heads
        for name, weight, bias in zip("qkv", packed.in_proj_weight.chunk(3), packed.in_proj_bias.chunk(3), strict=True):
            setattr(self, f"{name}_lin", make(weight.data, bias.data))
        self.out = copy.deepcopy(packed.out_proj)

    def forward(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, need_weights: bool = False, attn_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, None]:
        n, length, width = query.shape
        q, k, v = (
            getattr(self, f"{name}_lin")(x).view(n, length, self.heads, -1).transpose(1, 2)
            for name, x in zip("qkv", (query, key, value), strict=True)
        )
        mask = None if attn_mask is None else attn_mask.to(q.dtype)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(mixed.transpose(1, 2).reshape(n, length, width)), None


def part(model: nn.Module, make: Callable[[torch.Tensor, torch.Tensor], nn.Module]) -> None:
    """Put `Apart` in place of every packed attention."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.MultiheadAttention):
                setattr(module, name, Apart(child, make))


def plain_linear(weight: torch.Tensor, bias: torch.Tensor) -> nn.Module:
    made = nn.Linear(weight.shape[1], weight.shape[0])
    made.weight.data, made.bias.data = weight.clone(), bias.clone()
    return made


class Bench:
    """One model, one batch, and the steps of every variant."""

    def __init__(self, name: str, batch: int, rank: int) -> None:
        self.cfg = open_clip.get_model_config(name)
        self.rank = rank
        size = self.cfg["vision_cfg"]["image_size"]
        self.images = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0))
        self.labels = torch.arange(batch) % len(NAMES)

    def backbone(self) -> Backbone:
        return from_config(self.cfg)

    def autocast(self, precision: str) -> Any:
        return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")

    def _finish(self, image: torch.Tensor, text: torch.Tensor, optimiser: torch.optim.Optimizer) -> None:
        loss = F.cross_entropy(100 * image.float() @ text.float().T, self.labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    def apart(self, variant: str, precision: str) -> Step:
        """The reference or PEFT."""
        backbone = self.backbone()
        model: Any = backbone.model
        part(model, (lambda w, b: DenseLoRA(w, b, self.rank)) if variant == "reference" else plain_linear)
        if variant == "peft":
            from peft import LoraConfig, get_peft_model

            settings = LoraConfig(r=self.rank, lora_alpha=1, lora_dropout=0.25, use_rslora=True, target_modules=["q_lin", "k_lin", "v_lin"])
            model = get_peft_model(model, settings).base_model.model
        model.train()
        optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-4)
        prompts = [TEMPLATE.format(name) for name in NAMES]
        tokens = backbone.tokenizer(prompts)

        def step() -> None:
            with self.autocast(precision):
                words = backbone.tokenizer(prompts) if variant == "reference" else tokens
                text = F.normalize(model.encode_text(words), dim=-1)
                image = F.normalize(model.encode_image(self.images), dim=-1)
            self._finish(image, text, optimiser)

        return step

    def ours(self, precision: str, quick: bool = True) -> Step:
        """This product's step; without `quick`, frozen products are torch's own, whose operations can be counted."""
        backbone = self.backbone()
        if quick:
            Compute(torch.device("cpu"), precision).take(backbone.model)
        adapters = attach(backbone.model, AdapterConfig(rank=self.rank), seed=0)
        adapters.train(True)
        optimiser = torch.optim.AdamW(adapters.parameters(), lr=2e-4)
        prompts = tokenise(list(NAMES), [TEMPLATE], backbone)

        def step() -> None:
            with self.autocast(precision):
                text = text_class_weights(backbone.model, prompts)
                image = image_features(backbone.model, self.images)
            self._finish(image, text, optimiser)

        return step

    def last(self, layers: int, precision: str) -> tuple[Step, float]:
        """The step on kept hidden states, and seconds to make those of one batch."""
        backbone = self.backbone()
        Compute(torch.device("cpu"), precision).take(backbone.model)
        adapters = attach(backbone.model, AdapterConfig(rank=self.rank, last_layers=layers), seed=0)
        adapters.train(True)
        optimiser = torch.optim.AdamW(adapters.parameters(), lr=2e-4)
        prompts = tokenise(list(NAMES), [TEMPLATE], backbone)
        image_split = split_image_tower(backbone.model, adapters.first_layer["image"])
        text_split = split_text_tower(backbone.model, prompts.tokens, adapters.first_layer["text"])
        assert image_split is not None and text_split is not None
        with torch.no_grad(), self.autocast(precision):
            image_split.lower(self.images)
            began = time.perf_counter()
            hidden = image_split.lower(self.images).half()
            seconds = time.perf_counter() - began
            text_hidden = text_split.lower(prompts.tokens).float()

        def step() -> None:
            with self.autocast(precision):
                text = weights_of_prompts(text_split.upper(text_hidden), 1)
                image = F.normalize(image_split.upper(hidden.float()).float(), dim=-1)
            self._finish(image, text, optimiser)

        return step, seconds


def peak(precision: str) -> float:
    """The best matrix product of this machine at a transformer's shapes, in FLOP/s: torch's own, or that of frozen weights."""
    best = 0.0
    for rows, inner, columns in ((1600, 768, 3072), (1600, 3072, 768), (3200, 1024, 1024)):
        a, b = torch.randn(rows, inner), torch.randn(inner, columns)
        if precision == "bf16":
            a, b = a.bfloat16(), b.bfloat16()
        frozen = FrozenLinear(b.t().contiguous(), None)
        for product in (lambda a=a, b=b: a @ b, lambda a=a, frozen=frozen: frozen(a)):
            for _ in range(8):
                began = time.perf_counter()
                product()
                best = max(best, 2 * rows * inner * columns / (time.perf_counter() - began))
    return best


def measure(bench: Bench, args: argparse.Namespace) -> dict[str, Any]:
    precisions = ("fp32", "bf16") if has_bf16(torch.device("cpu")) else ("fp32",)
    steps: dict[str, Step] = {}
    making: dict[str, float] = {}
    for precision in precisions:
        for variant in ("reference", "peft"):
            steps[f"{variant} {precision}"] = bench.apart(variant, precision)
        steps[f"ours {precision}"] = bench.ours(precision)
        for layers in args.last:
            name = f"ours, last {layers} {precision}"
            steps[name], making[name] = bench.last(layers, precision)
    for step in steps.values():
        step()
    times: dict[str, list[float]] = {name: [] for name in steps}
    peaks: dict[str, list[float]] = {precision: [] for precision in precisions}
    for _ in range(args.rounds):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - began)
        for precision in precisions:
            peaks[precision].append(peak(precision))
    counted = bench.ours("fp32", quick=False)
    with FlopCounterMode(display=False) as counter:
        counted()
    flops = counter.get_total_flops()
    rows = {}
    for name, values in times.items():
        low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else values * 3
        rows[name] = {"seconds": middle, "quarter": low, "three_quarters": high, **({"making": making[name]} if name in making else {})}
    best = {precision: statistics.median(values) for precision, values in peaks.items()}
    share = {precision: flops / rows[f"ours {precision}"]["seconds"] / best[precision] for precision in precisions}
    return {"rows": rows, "peak_gflops": {k: v / 1e9 for k, v in best.items()}, "step_gflop": flops / 1e9, "share_of_peak": share}


def peak_bytes() -> int:
    """Most memory this process has held, in bytes. On Linux a child begins with its parent's `ru_maxrss`, so another record is read."""
    status = Path("/proc/self/status")
    if status.is_file():
        return int(next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM"))) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def own_peak(bench: Bench, variant: str) -> int:
    """Bytes at the peak of two steps of a variant above those of the frozen model alone. Call in a process of its own."""
    if variant == "frozen":
        backbone = bench.backbone()
        with torch.no_grad():
            backbone.model.encode_image(bench.images[:1])  # type: ignore[operator]
        return peak_bytes()
    step = bench.ours("fp32") if variant == "ours" else bench.apart(variant, "fp32")
    step()
    step()
    return peak_bytes()


def table(result: dict[str, Any]) -> str:
    lines = ["| variant | seconds a step (median; middle half) | reference fp32 / this |", "| --- | --- | --- |"]
    base = result["rows"]["reference fp32"]["seconds"]
    for name, row in result["rows"].items():
        extra = f"; hidden states of a batch {row['making']:.2f}" if "making" in row else ""
        lines.append(
            f"| {name} | {row['seconds']:.3f} ({row['quarter']:.3f} to {row['three_quarters']:.3f}){extra} | {base / row['seconds']:.2f} |"
        )
    for precision, share in result["share_of_peak"].items():
        lines.append(f"\nours {precision}: {share:.0%} of the {result['peak_gflops'][precision]:.0f} GFLOP/s of the best matrix product.")
    for variant, size in result.get("memory", {}).items():
        lines.append(f"\nPeak memory above the frozen model's, {variant}: {size / 2**20:,.0f} MB.")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ViT-B-32", help="an open_clip model with its own towers (default: ViT-B-32)")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rank", type=int, default=2)
    parser.add_argument("--last", type=int, nargs="*", default=[4], help="numbers of last layers to adapt (default: 4)")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--profile", action="store_true", help="only: where our steps' time goes, by kind of operation")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    bench = Bench(args.model, args.batch, args.rank)
    if args.one:
        print(own_peak(bench, args.one))
        return 0
    if args.profile:
        precisions = ("fp32", "bf16") if has_bf16(torch.device("cpu")) else ("fp32",)
        shares = {f"all layers, {precision}": profile(bench.ours(precision)) for precision in precisions}
        shares |= {f"last {k}, {precision}": profile(bench.last(k, precision)[0]) for k in args.last for precision in precisions}
        print(profile_table(shares))
        return 0
    result = measure(bench, args)
    if args.memory:
        sizes = {}
        for variant in ("frozen", "reference", "peft", "ours"):
            command = [
                sys.executable,
                __file__,
                "--model",
                args.model,
                "--batch",
                str(args.batch),
                "--rank",
                str(args.rank),
                "--one",
                variant,
            ]
            sizes[variant] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])
        result["memory"] = {variant: size - sizes["frozen"] for variant, size in sizes.items() if variant != "frozen"}
    if args.out:
        args.out.write_text(json.dumps(result, indent=1))
    print(table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
