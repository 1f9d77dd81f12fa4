"""Which adapters the experiments compare, and what plain LoRA is fair to hold beside Block-LoRA.

Block(r, n) has width w = max(1, r // n) and scale s = alpha / sqrt(r). Its arms get equal gradients, so that with AdamW it is LoRA of rank
w at scale n * s, step for step (`blocklora.lora.block`); `same_step` is that LoRA. Separate down-projections, sum B_i A_i, are LoRA of rank
n * w at scale s: `separate`.
"""

from __future__ import annotations

from dataclasses import dataclass

from blocklora.config import AdapterConfig
from blocklora.experiments.tables import Row

PAIRS = ((2, 1), (2, 2), (2, 4), (2, 8), (8, 1), (8, 2), (8, 4), (8, 8))  # rank and blocks, the paper's
ABLATED = ((2, 2), (8, 4))


@dataclass(frozen=True)
class Variant:
    """An adapter, and which of its parts are trained: "AB", "B" (A stays as it was drawn), or "" (class weights alone)."""

    adapter: AdapterConfig
    trains: str = "AB"

    def key(self) -> Row:
        """What the trained function depends on: two variants with the same key are trained once."""
        a = self.adapter
        if not self.trains:
            return {"width": 0, "arms": 0, "scale": 0.0, "dropout": 0.0, "targets": "", "towers": "", "trains": ""}
        return {
            "width": a.width,
            "arms": a.blocks,
            "scale": round(a.scale, 6),
            "dropout": a.dropout,
            "targets": " ".join(a.targets),
            "towers": " ".join(a.towers),
            "trains": self.trains,
        }

    def words(self) -> str:
        """What it is, for a line of progress."""
        key = self.key()
        return f"width {key['width']}, {key['arms']} arms, scale {key['scale']:g}, trains {key['trains'] or 'class weights alone'}"


@dataclass(frozen=True)
class Entry:
    """A line of a table: its group, what it is called, and what is trained for it."""

    group: str
    label: str
    variant: Variant


def block(rank: int, blocks: int) -> Variant:
    """Block-LoRA as the paper counts it."""
    return Variant(AdapterConfig(rank=rank, blocks=blocks))


def plain(rank: int, scale: float | None = None) -> Variant:
    """LoRA of a rank, at alpha / sqrt(rank) with alpha = 1 as in the reference protocol, or at another scale."""
    return Variant(AdapterConfig(rank=rank, blocks=1, alpha=1.0 if scale is None else scale * rank**0.5))


def equal_parameters(rank: int, blocks: int) -> int:
    """The rank of plain LoRA with the nearest number of parameters on a square weight, the larger one where two are as near.

    Block-LoRA has w (1 + n) d of them, LoRA of rank k has 2 k d.
    """
    width = AdapterConfig(rank=rank, blocks=blocks).width
    return max(1, (width * (1 + blocks) + 1) // 2)


def same_step(rank: int, blocks: int) -> Variant:
    """Plain LoRA of Block's width that takes the steps which theory says that the n arms take together."""
    config = AdapterConfig(rank=rank, blocks=blocks)
    return plain(config.width, blocks * config.scale)


def separate(rank: int, blocks: int) -> Variant:
    """An A of its own for each arm."""
    config = AdapterConfig(rank=rank, blocks=blocks)
    return plain(config.width * blocks, config.scale)


def blocks_entries() -> list[Entry]:
    """Each (r, n) with its plain neighbours; what is the same stands once in a group."""
    entries = [Entry("no adapter", "class weights alone", Variant(AdapterConfig(blocks=1), ""))]
    for rank, n in PAIRS:
        config, group = AdapterConfig(rank=rank, blocks=n), f"({rank}, {n})"
        entries.append(Entry(group, f"Block-LoRA ({rank}, {n})" + (" = LoRA" if n == 1 else ""), block(rank, n)))
        if n > 1:
            equal = equal_parameters(rank, n)
            entries.append(Entry(group, f"LoRA {config.width}, same step", same_step(rank, n)))
            entries.append(Entry(group, f"LoRA {config.width}, equal width", plain(config.width)))
            if equal != config.width:
                entries.append(Entry(group, f"LoRA {equal}, nearest parameters", plain(equal)))
    return entries


def ablation_entries() -> list[Entry]:
    """Shared A trained, shared A fixed, an A for each arm."""
    entries = [Entry("no adapter", "class weights alone", Variant(AdapterConfig(blocks=1), ""))]
    for rank, n in ABLATED:
        group, adapter = f"({rank}, {n})", AdapterConfig(rank=rank, blocks=n)
        entries.append(Entry(group, f"({rank}, {n}), shared A trained", block(rank, n)))
        entries.append(Entry(group, f"({rank}, {n}), shared A fixed at random", Variant(adapter, "B")))
        entries.append(Entry(group, f"({rank}, {n}), an A for each arm = LoRA {adapter.width * n}", separate(rank, n)))
    return entries


TUNED = {
    # Hu et al. 2021 (arXiv 2106.09685): q and v, alpha over r, no dropout.
    "lora": Variant(AdapterConfig(rank=2, blocks=1, scaling="linear", dropout=0.0, targets=("q", "v"))),
    "clip-lora": Variant(AdapterConfig(rank=2, blocks=1)),
    "block-lora": Variant(AdapterConfig(rank=2, blocks=2)),
}
