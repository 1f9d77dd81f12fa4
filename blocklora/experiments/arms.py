"""What n up-projections cost when each is multiplied by itself, and when they are summed first: the time of one adapted projection."""

from __future__ import annotations

import statistics
import time

import torch
import torch.nn.functional as F

from blocklora.config import AdapterConfig
from blocklora.experiments.tables import Row
from blocklora.lora.block import BlockLoRA

WIDTH = 768  # of ViT-B
TOKENS = 32 * 50  # a batch of 32 at ViT-B/32


def looped(block: BlockLoRA, x: torch.Tensor) -> torch.Tensor:
    """The update with a product for each arm, as the formula reads: what an implementation must not do."""
    hidden = F.linear(x, block.A)
    total = F.linear(hidden, block.B[0])
    for arm in block.B[1:]:
        total = total + F.linear(hidden, arm)
    return total * block.scale


def compare(rank: int, blocks: int, rounds: int, seed: int) -> Row:
    """Median milliseconds of forward and backward for both, taken in turns, and the largest difference of their results."""
    block = BlockLoRA(WIDTH, WIDTH, AdapterConfig(rank=rank, blocks=blocks), torch.Generator().manual_seed(seed))
    with torch.no_grad():
        block.B.normal_(std=0.02, generator=torch.Generator().manual_seed(seed))
    x = torch.randn(TOKENS, WIDTH, generator=torch.Generator().manual_seed(seed)).requires_grad_()
    ways = {"looped": lambda: looped(block, x), "summed": lambda: block(x)}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 2):
        for name, way in ways.items():
            began = time.perf_counter()
            way().sum().backward()
            if number >= 2:  # the first ones warm up
                times[name].append(time.perf_counter() - began)
    medians = {name: 1000 * statistics.median(values) for name, values in times.items()}
    ratios = [slow / fast for slow, fast in zip(times["looped"], times["summed"], strict=True)]
    with torch.no_grad():
        difference = float((looped(block, x) - block(x)).abs().max())
    return {
        **{f"{name}_ms": value for name, value in medians.items()},
        "looped_over_summed": statistics.median(ratios),
        "largest_difference": difference,
    }
