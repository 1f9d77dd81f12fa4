"""Plots for people who look at results, by matplotlib: one SVG that follows the page's colours, light and dark, and says itself in words.

matplotlib is imported when the first plot is drawn, never at the start. Colours are drawn as stand-ins and then named: each becomes the
theme's custom property with the light value to fall back on, so that the same SVG serves the page and a file without our styles.
"""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from blocklora.ui import html
from blocklora.ui.theme import FONT, TOKENS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (5.2, 3.0)  # inches; the page scales it to its box
STAND_INS = {name: f"#0102{number:02x}" for number, name in enumerate(TOKENS)}
_LOCK = threading.Lock()  # matplotlib's settings are the process's own


def _svg(draw: Callable[[Axes], None], text: str, name: str) -> str:
    """What `draw` draws, as SVG with `text` for who cannot see it. `name` keeps ids of different plots on one page apart."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.size": 10.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": STAND_INS["line-strong"],
        "axes.labelcolor": STAND_INS["ink-2"],
        "xtick.color": STAND_INS["line-strong"],
        "ytick.color": STAND_INS["line-strong"],
        "xtick.labelcolor": STAND_INS["ink-3"],
        "ytick.labelcolor": STAND_INS["ink-3"],
        "grid.color": STAND_INS["line"],
        "axes.axisbelow": True,
    }
    with _LOCK, matplotlib.rc_context(settings):
        figure = Figure(figsize=SIZE, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.grid(True, axis="y")
        draw(axes)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _dressed(stream.getvalue(), text)


def _dressed(svg: str, text: str) -> str:
    """matplotlib's file as part of a page: without its head and its rules for all strokes, in the theme's font and colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r"font-family: [^;]*;", f"font-family: {FONT};".replace('"', "'"), svg)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)  # the same in every plot, and an id must be one of a kind
    for token, colour in STAND_INS.items():
        svg = svg.replace(colour, f"var(--s-{token}, {TOKENS[token][0]})")
    label = html.escape(text)
    return svg.replace("<svg", f'<svg class="plot-svg" role="img" aria-label="{label}"', 1)


def _percent(axes: Axes, which: str) -> None:
    from matplotlib.ticker import PercentFormatter

    getattr(axes, f"{which}axis").set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))


def learning_curve(rows: Sequence[Mapping[str, Any]], twice: float | None) -> str:
    """Share of right answers by images a class (`training.learning_curve`), with what twice the images should bring."""
    points = tuple((int(row["shots"]), float(row["top1"]), float(row["low"]), float(row["high"])) for row in rows)
    return _learning_curve(points, twice)


@lru_cache(maxsize=64)
def _learning_curve(points: tuple[tuple[int, float, float, float], ...], twice: float | None) -> str:
    def draw(axes: Axes) -> None:
        x = [point[0] for point in points]
        axes.fill_between(x, [p[2] for p in points], [p[3] for p in points], color=STAND_INS["accent-soft"], linewidth=0)
        axes.plot(x, [p[1] for p in points], color=STAND_INS["accent"], linewidth=2, marker="o", markersize=5)
        ticks = list(x)
        if twice is not None and x:
            axes.plot([x[-1], 2 * x[-1]], [points[-1][1], twice], color=STAND_INS["ink-3"], linewidth=1.5, linestyle=(0, (4, 3)))
            grey = STAND_INS["ink-3"]
            axes.plot([2 * x[-1]], [twice], marker="o", markersize=5, color=grey, markerfacecolor="none", markeredgecolor=grey)
            ticks.append(2 * x[-1])
        axes.set_xscale("log", base=2)
        axes.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
        axes.minorticks_off()
        axes.set_xlabel("images a class")
        axes.set_ylabel("right")
        axes.set_ylim(max(0.0, min(p[2] for p in points) - 0.06), 1.02)
        _percent(axes, "y")

    words = "Share of right answers by images a class: " + ", ".join(f"{p[0]}: {p[1]:.0%}" for p in points)
    words += f"; expected with twice the images: {twice:.0%}." if twice is not None else "."
    return _svg(draw, words, f"learning-{hash(points)}")


def reliability(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> str:
    """How often answers are right by how sure they are (`training.metrics.reliability`), before and after the temperature."""
    rows = tuple(tuple((float(row["confidence"]), float(row["right"]), int(row["n"])) for row in part) for part in (before, after))
    return _reliability(*rows)


@lru_cache(maxsize=64)
def _reliability(before: tuple[tuple[float, float, int], ...], after: tuple[tuple[float, float, int], ...]) -> str:
    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=STAND_INS["line-strong"], linewidth=1.2, linestyle=(0, (3, 3)))
        axes.plot(
            [p[0] for p in before],
            [p[1] for p in before],
            color=STAND_INS["ink-3"],
            linewidth=1.3,
            marker="s",
            markersize=4,
            markerfacecolor="none",
            label="before correction",
        )
        axes.plot(
            [p[0] for p in after],
            [p[1] for p in after],
            color=STAND_INS["accent"],
            linewidth=2,
            marker="o",
            markersize=5,
            label="in the file",
        )
        axes.set_xlim(min([p[0] for p in (*before, *after)], default=0) - 0.04, 1.02)
        axes.set_ylim(-0.02, 1.04)
        axes.set_xlabel("how sure it says it is")
        axes.set_ylabel("how often it is right")
        _percent(axes, "x")
        _percent(axes, "y")
        axes.legend(loc="upper left", frameon=False, labelcolor=STAND_INS["ink-2"])

    words = (
        "How often answers are right by how sure the file says it is: "
        + ", ".join(f"{p[0]:.0%} sure: {p[1]:.0%} right" for p in after)
        + "."
    )
    return _svg(draw, words, f"reliability-{hash((before, after))}")
