"""Plots of the accuracy experiments as SVG, by matplotlib, which is imported when the first is drawn."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from blocklora.experiments.tables import Row
from blocklora.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKS = "osD^vPX*"


def _save(path: Path, size: tuple[float, float], panels: Sequence[str], draw: Callable[[str, Axes], None], legend: int = 1) -> None:
    """A panel for each name, side by side, with one legend for all; text stays text, and the same rows give the same file."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings = {"svg.fonttype": "none", "svg.hashsalt": path.name, "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    with matplotlib.rc_context(settings):  # type: ignore[arg-type]
        figure = Figure(figsize=(max(6.4, size[0] * len(panels)), size[1]), layout="constrained")  # the legend needs the width
        FigureCanvasSVG(figure)
        for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            axes.set_title(panel, fontsize=9)
            axes.grid(True, axis="y", color="#ddd")
            axes.set_axisbelow(True)
            draw(panel, axes)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=legend, frameon=False)
        figure.axes[0].set_ylabel("top-1, percent")
        stream = io.StringIO()
        figure.savefig(stream, format="svg", facecolor="white", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    write_atomic(path, stream.getvalue().encode())


def by_scale(path: Path, rows: Sequence[Row]) -> None:
    """Accuracy against the scale of the summed update, a panel for each set and number of shots: LoRA as rings, Block-LoRA as filled marks,
    one mark a width. Where n buys only a larger step, marks lie in their rings.
    """
    drawn = [row for row in rows if row["arms"] and row["set"] != "mean"]
    panels = {f"{row['set']}, {row['shots']} shots": (row["set"], row["shots"]) for row in drawn}
    widths = sorted({row["width"] for row in drawn})

    def draw(panel: str, axes: Axes) -> None:
        for number, width in enumerate(widths):
            own = [row for row in drawn if (row["set"], row["shots"]) == panels[panel] and row["width"] == width]
            for arms, name in ((False, "LoRA"), (True, "Block-LoRA")):
                points = {(row["scale"] * row["arms"], row["top1"], row["spread"]) for row in own if (row["arms"] > 1) == arms}
                if points:
                    x, y, spread = zip(*sorted(points), strict=True)
                    style = {"markersize": 4} if arms else {"markersize": 8, "markerfacecolor": "none"}
                    axes.errorbar(
                        x, y, spread, label=f"{name}, width {width}", fmt=MARKS[number], color=f"C{number}", elinewidth=0.6, **style
                    )
        axes.set_xscale("log", base=2)
        axes.set_xlabel("scale of the summed update")

    if panels:
        _save(path, (2.9, 3.4), list(panels), draw, legend=3)


def by_shots(path: Path, rows: Sequence[Row], lines: str, sets: Sequence[str]) -> None:
    """Accuracy against shots, a panel for each set, a line for each value of the column `lines`."""
    names = list(dict.fromkeys(row[lines] for row in rows))
    panels = [name for name in sets if any(row["set"] == name for row in rows)]

    def draw(panel: str, axes: Axes) -> None:
        for number, name in enumerate(names):
            points = sorted((row["shots"], row["top1"], row["spread"]) for row in rows if row["set"] == panel and row[lines] == name)
            if points:
                x, y, spread = zip(*points, strict=True)
                axes.errorbar(
                    x,
                    y,
                    spread,
                    label=name,
                    marker=MARKS[number % len(MARKS)],
                    color=f"C{number}",
                    markersize=4,
                    linewidth=1.2,
                    elinewidth=0.6,
                )
        axes.set_xscale("log", base=2)
        ticks = sorted({row["shots"] for row in rows})
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.set_xlabel("shots a class")

    if panels:
        _save(path, (2.9, 3.4), panels, draw, legend=3)
