"""Accuracy on few shots: which trainings a table asks for, each done once and kept, and the table made of them.

`trained.jsonl` belongs to all three experiments: a training that two of them ask for is done once.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

from blocklora.clip.backbones import Backbone
from blocklora.experiments.bed import Bed, Drawn
from blocklora.experiments.coop import read_set
from blocklora.experiments.heads import HEADS
from blocklora.experiments.protocol import Protocol
from blocklora.experiments.single import trained
from blocklora.experiments.tables import Row, Rows
from blocklora.experiments.variants import Entry, Variant
from blocklora.training.device import Compute

KEPT_PICTURES = 5_000  # decoded ones of all seeds together: about a gigabyte


@dataclass(frozen=True)
class Grid:
    """What is crossed: sets, shots a class, seeds."""

    sets: list[str]
    shots: list[int]
    seeds: list[int]


@dataclass
class Bench:
    """Sets of a folder on one backbone, with the rows that were measured before."""

    root: Path
    grid: Grid
    backbone: Backbone
    compute: Compute
    protocol: Protocol
    rows: Rows
    say: Callable[[str], None] = field(default=lambda line: print(line, file=sys.stderr, flush=True))

    @cached_property
    def _drawn(self) -> dict[tuple[str, int], Drawn]:
        return {}

    def drawn(self, name: str, seed: int) -> Drawn:
        """The pictures of a set that a seed draws. Those of other sets are let go, and of other seeds where they are many."""
        if (name, seed) not in self._drawn:
            bed = next((drawn.bed for (other, _), drawn in self._drawn.items() if other == name), None)
            bed = bed or Bed(self.backbone, self.compute, read_set(self.root, name))
            if self._many(bed) or all(other != name for other, _ in self._drawn):
                self._drawn.clear()
            self._drawn[name, seed] = Drawn(bed, seed, max(self.grid.shots))
        return self._drawn[name, seed]

    def _many(self, bed: Bed) -> bool:
        return len(bed.data.class_names) * max(self.grid.shots) * len(self.grid.seeds) > KEPT_PICTURES

    def train(self, variants: Sequence[Variant]) -> None:
        """All trainings of `variants` that are not there yet."""
        every = list({tuple(variant.key().items()): variant for variant in variants}.values())  # the same is trained once
        for name in self.grid.sets:
            for count in self.grid.shots:
                wanted = [
                    (variant, seed)
                    for variant in every  # variant by variant, so that a run that is stopped has all seeds of what it has
                    for seed in self.grid.seeds
                    if self.rows.find(self.key(variant, name, count, seed)) is None
                ]
                if wanted and self._many(self.drawn(name, self.grid.seeds[0]).bed):
                    wanted.sort(key=lambda pair: pair[1])  # seed by seed, since only one seed's pictures are kept
                for variant, seed in wanted:
                    shots = self.drawn(name, seed).shots(count)
                    row = self.rows.once(self.key(variant, name, count, seed), partial(trained, shots, variant, self.protocol))
                    self.say(f"{name}, {count} shots, seed {seed}, {variant.words()}: {row['top1']:.1f} in {row['seconds']:.0f} s")

    def try_heads(self, heads: Sequence[str]) -> None:
        """All figures of classifiers on frozen features that are not there yet."""
        for name in self.grid.sets:
            for seed in self.grid.seeds:
                for count in self.grid.shots:
                    for head in heads:
                        self.rows.once(self.head_key(head, name, count, seed), partial(self._head, head, name, count, seed))

    def _head(self, head: str, name: str, count: int, seed: int) -> Row:
        drawn = self.drawn(name, seed)
        bed = drawn.bed
        logits = HEADS[head](drawn.shots(count).frozen, bed.text, self.backbone.logit_scale, bed.tested)
        return {"top1": None if logits is None else bed.accuracy(logits)}

    def key(self, variant: Variant, name: str, shots: int, seed: int) -> Row:
        """Of a training."""
        return {"set": name, "shots": shots, "seed": seed, **self.protocol.key(shots), **variant.key()}

    def head_key(self, head: str, name: str, shots: int, seed: int) -> Row:
        """Of a classifier on frozen features."""
        return {"set": name, "shots": shots, "seed": seed, **self.protocol.model_key(), "method": head}

    def figures(self, keys: Callable[[str, int, int], Row]) -> list[Row]:
        """A row for each set and number of shots, and for the mean over the sets where there are several: mean over seeds, largest
        distance from it. `keys` gives the key of (set, shots, seed).
        """
        found = []
        for count in self.grid.shots:
            by_seed: dict[int, list[float]] = {seed: [] for seed in self.grid.seeds}
            for name in self.grid.sets:
                rows = [self.rows.find(keys(name, count, seed)) for seed in self.grid.seeds]
                values = [row["top1"] for row in rows if row is not None and row["top1"] is not None]
                if len(values) < len(rows):
                    continue
                found.append({"set": name, "shots": count, **spread(values)})
                for seed, value in zip(self.grid.seeds, values, strict=True):
                    by_seed[seed].append(value)
            means = [statistics.mean(values) for values in by_seed.values() if len(values) == len(self.grid.sets)]
            if len(self.grid.sets) > 1 and len(means) == len(self.grid.seeds):
                found.append({"set": "mean", "shots": count, **spread(means)})
        return found


def spread(values: Sequence[float]) -> Row:
    """Mean, largest distance from it, and how many."""
    mean = statistics.mean(values)
    return {"top1": round(mean, 3), "spread": round(max(abs(value - mean) for value in values), 3), "seeds": len(values)}


def entry_rows(bench: Bench, entries: Sequence[Entry]) -> list[Row]:
    """Figures of trained entries, in long form, with what their adapters weigh."""
    rows = []
    for entry in entries:

        def key(name: str, shots: int, seed: int, variant: Variant = entry.variant) -> Row:
            return bench.key(variant, name, shots, seed)

        grid = bench.grid
        sample = bench.rows.find(key(grid.sets[0], grid.shots[0], grid.seeds[0])) or {}
        about = {name: entry.variant.key()[name] for name in ("width", "arms", "scale", "trains")}
        weighs = {name: sample.get(name) for name in ("parameters", "bytes")}
        for figure in bench.figures(key):
            rows.append(
                {
                    "group": entry.group,
                    "configuration": entry.label,
                    **about,
                    **weighs,
                    **figure,
                    **bench.protocol.key(figure["shots"]),
                }
            )
    return rows


def head_rows(bench: Bench, methods: Sequence[str], tuned: dict[str, Variant]) -> list[Row]:
    """Figures of methods, in long form."""
    rows = []
    for method in methods:

        def key(name: str, shots: int, seed: int, method: str = method) -> Row:
            return bench.key(tuned[method], name, shots, seed) if method in tuned else bench.head_key(method, name, shots, seed)

        protocol = bench.protocol.key if method in tuned else lambda shots: bench.protocol.model_key()
        rows += [{"method": method, **figure, **protocol(figure["shots"])} for figure in bench.figures(key)]
    return rows
