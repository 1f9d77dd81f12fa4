"""Markdown of the accuracy experiments: a line of protocol, then tables that a person can read across."""

from __future__ import annotations

from collections.abc import Sequence

from blocklora.experiments import published
from blocklora.experiments.accuracy import Bench
from blocklora.experiments.tables import Row, markdown


def cell(row: Row | None) -> str:
    """Mean and spread of a figure."""
    return "" if row is None else f"{row['top1']:.1f} ± {row['spread']:.1f}"


def _head(bench: Bench) -> str:
    return bench.protocol.words(bench.grid.shots, bench.grid.seeds) + "\n\n"


def by_configuration(bench: Bench, rows: Sequence[Row], steps: Sequence[Row] = (), note: str = "") -> str:
    """One line a configuration; accuracy of each set and number of shots in columns, cost from `steps` where it was measured."""
    places = list(dict.fromkeys((row["set"], row["shots"]) for row in rows))
    lines = []
    for group, label in dict.fromkeys((row["group"], row["configuration"]) for row in rows):
        own = [row for row in rows if (row["group"], row["configuration"]) == (group, label)]
        first = own[0]
        cost = next((step for step in steps if all(step[name] == first[name] for name in ("width", "arms", "scale", "trains"))), {})
        line: Row = {
            "rank, blocks": group,
            "configuration": label,
            "scale of the sum": f"{first['scale'] * first['arms']:.2f}" if first["arms"] else "",
            "parameters": f"{first['parameters']:,}" if first["parameters"] is not None else "",
            "file, KB": f"{first['bytes'] / 1024:.0f}" if first["bytes"] else "",
        }
        if steps:
            line["step, ms"] = f"{cost['step_ms']:.0f} ({cost['step_ms_low']:.0f} to {cost['step_ms_high']:.0f})" if cost else ""
            line["of the first"] = f"{cost['step_ratio']:.2f}" if cost else ""
            line["kept in a step, MB"] = f"{cost['step_mb']:.0f}" if cost else ""
        for name, shots in places:
            line[f"{name}, {shots}"] = cell(next((row for row in own if (row["set"], row["shots"]) == (name, shots)), None))
        lines.append(line)
    return _head(bench) + markdown(lines, list(lines[0]) if lines else ["configuration"]) + note


def by_method(bench: Bench, rows: Sequence[Row], methods: Sequence[str]) -> str:
    """One line a set and number of shots, methods in columns; published averages below where backbone and sets are theirs."""
    lines: list[Row] = []
    for name, shots in dict.fromkeys((row["set"], row["shots"]) for row in rows):
        found = {row["method"]: row for row in rows if (row["set"], row["shots"]) == (name, shots)}
        lines.append({"set": name, "shots": shots, **{method: cell(found.get(method)) for method in methods}})
    order = [*bench.grid.sets, "mean"]
    lines.sort(key=lambda line: (order.index(line["set"]), line["shots"]))
    words = f"\nPublished averages are of {published.BACKBONE} over the eleven sets of CoOp: they do not belong beside this run.\n"
    if published.comparable(bench.protocol.backbone, bench.grid.sets):
        for shots in bench.grid.shots:
            known = {method: published.figure(method, shots) for method in methods}
            lines.append({"set": "published mean", "shots": shots, **{m: "" if v is None else f"{v:.1f}" for m, v in known.items()}})
        words = f"\n{published.others(methods)}\n"
    return _head(bench) + markdown(lines, ["set", "shots", *methods]) + words


def differences(bench: Bench, rows: Sequence[Row], one: str, other: str) -> str:
    """How far two kinds of lines of a group are apart, in points: mean and largest over groups, sets and shots. `one` and `other` are how
    their names begin or what they contain.
    """
    apart = []
    for row in rows:
        if one in row["configuration"]:
            for against in rows:
                same = all(row[name] == against[name] for name in ("group", "set", "shots"))
                if same and other in against["configuration"] and row["set"] != "mean":
                    apart.append(row["top1"] - against["top1"])
    if not apart:
        return ""
    mean, largest = sum(apart) / len(apart), max(apart, key=abs)
    return f"{one} less {other}: {mean:+.2f} points in the mean of {len(apart)} cells, {largest:+.2f} where it is largest.\n"
