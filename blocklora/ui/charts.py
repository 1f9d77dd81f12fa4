"""Line charts as a few lines of SVG with HTML around them: crisp at any width, in the theme's colours, readable without eyes.

The curve is stretched over its box (`preserveAspectRatio="none"` with a stroke that does not scale); everything that would suffer
from stretching (labels, dots) is HTML placed by percentages. Numbers in, safe HTML out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from blocklora.ui import html

Point = tuple[float, float]
BOX = (1000.0, 400.0)  # units of the SVG; only their fineness matters


@dataclass(frozen=True)
class Axis:
    """The visible range of one direction and where its lines are drawn."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def share(self, value: float) -> float:
        """Where `value` lies between low (0) and high (1), clipped to the box."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))


@dataclass(frozen=True)
class Chart:
    """What one chart shows. `text` is the whole message in words, for screen readers; `mark` is a point set off by a dot.

    `show` writes a value of the vertical axis; `dots` draws every point (few, separate measurements) and not only the line.
    """

    title: str
    figure: str
    text: str
    points: Sequence[Point]
    x: Axis
    y: Axis
    show: Callable[[float], str]
    mark: Point | None = None
    dots: bool = False


def nice_ticks(low: float, high: float, about: int = 4) -> tuple[float, ...]:
    """Round numbers that cover `low`..`high` in about that many steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        high = low + 1.0
    rough = (high - low) / max(1, about)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    digits = max(0, -math.floor(math.log10(step)))
    return tuple(round(i * step, digits) for i in range(first, last + 1))


def axis(low: float, high: float, about: int = 4) -> Axis:
    """An axis that ends on round numbers."""
    ticks = nice_ticks(low, high, about)
    return Axis(ticks[0], ticks[-1], ticks)


def steps_axis(steps: int) -> Axis:
    """The horizontal axis of a run: from its first step to its last, which is labelled whatever number it is."""
    ticks = [tick for tick in nice_ticks(0, steps, 4) if tick < steps * 0.88]
    return Axis(0, max(1, steps), (*ticks, max(1, steps)))


def line_chart(chart: Chart) -> str:
    """The chart as HTML."""
    grid = "".join(_y_tick(chart, tick) for tick in chart.y.ticks)
    feet = "".join(f'<span style="left:{100 * chart.x.share(tick):.2f}%">{html.escape(f"{tick:,.0f}")}</span>' for tick in chart.x.ticks)
    marks = "".join(_dot(chart, point, "small") for point in chart.points) if chart.dots else ""
    marks += _dot(chart, chart.mark, "") if chart.mark is not None else ""
    return (
        f'<figure class="chart"><figcaption><span>{html.escape(chart.title)}</span><b>{html.escape(chart.figure)}</b></figcaption>'
        f'<div class="plot"><div class="area">{grid}<svg viewBox="0 0 {BOX[0]:.0f} {BOX[1]:.0f}" preserveAspectRatio="none" '
        f'role="img" aria-label="{html.escape(chart.text)}">{_path(chart)}</svg>{marks}</div>'
        f'<div class="feet" aria-hidden="true">{feet}</div></div></figure>'
    )


def _path(chart: Chart) -> str:
    """The curve and the light field under it."""
    if not chart.points:
        return '<path class="line" d=""></path>'
    places = [(BOX[0] * chart.x.share(x), BOX[1] * (1 - chart.y.share(y))) for x, y in chart.points]
    line = "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in places)
    under = f"{line}L{places[-1][0]:.1f},{BOX[1]:.0f}L{places[0][0]:.1f},{BOX[1]:.0f}Z"
    return f'<path class="under" d="{under}"></path><path class="line" d="{line}"></path>'


def _y_tick(chart: Chart, tick: float) -> str:
    place = 100 * chart.y.share(tick)
    return f'<span class="tick" style="bottom:{place:.2f}%" aria-hidden="true"><i>{html.escape(chart.show(tick))}</i></span>'


def _dot(chart: Chart, point: Point, kind: str) -> str:
    left, bottom = 100 * chart.x.share(point[0]), 100 * chart.y.share(point[1])
    return f'<span class="dot {kind}" style="left:{left:.2f}%;bottom:{bottom:.2f}%" aria-hidden="true"></span>'


def percent(value: float) -> str:
    """A share in whole percent."""
    return f"{round(value * 100)} %"


LOSS_RANGE = 0.1
"""What the loss chart shows at least. Where class weights tell all training images apart from the start, what is left is rounding and
the luck of crops: drawn as high as the chart it would look like a training that goes wrong."""


def loss_chart(points: Sequence[tuple[int, float]], steps: int) -> str:
    """The training loss over the steps of a run."""
    if points:
        figure = f"{points[-1][1]:.2f}"
        text = f"Training loss: {points[0][1]:.2f} at step {points[0][0]:,}, {points[-1][1]:.2f} at step {points[-1][0]:,}."
    else:
        figure, text = "–", "Training loss: no step has been taken yet."
    y = axis(0.0, max(LOSS_RANGE, max((value for _, value in points), default=1.0)))
    return line_chart(Chart("Training loss", figure, text, points, steps_axis(steps), y, lambda v: f"{v:g}"))


def accuracy_chart(points: Sequence[tuple[int, float]], steps: int, n: int, best_step: int) -> str:
    """The share of held-out images that is right, over the steps of a run; the best check is marked."""
    best = max((point for point in points if point[0] == best_step), default=None, key=lambda point: point[0])
    if points:
        figure = percent(points[-1][1])
        (first, share), (last, now) = points[0], points[-1]
        text = f"Right on held-out images: {percent(share)} at step {first:,}, {percent(now)} at step {last:,}"
        text += f"; best {percent(best[1])} at step {best[0]:,}." if best else "."
    else:
        figure, text = "–", "Right on held-out images: not looked at yet."
    lowest = min((value for _, value in points), default=0.0)
    y = axis(max(0.0, math.floor(lowest * 10 - 0.5) / 10), 1.0)
    title = f"Right on {n} held-out images" if n else "Right on held-out images"
    return line_chart(Chart(title, figure, text, points, steps_axis(steps), y, percent, mark=best, dots=True))
