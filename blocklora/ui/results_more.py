"""Two questions under the figure: would more images help, and can the percentages be believed? Result in, HTML out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from blocklora.services import results
from blocklora.ui import charts, html, plots

Result = Mapping[str, Any]
SMALL = 0.01  # a gain below this is none
BELIEVED = 0.05  # a calibration error below this is hardly noticed


def more(result: Result) -> str:
    """Both cards, as far as they were measured."""
    cards = more_images(result) + percentages(result)
    return f'<div class="two plots">{cards}</div>' if cards else ""


def more_images(result: Result) -> str:
    """The learning curve, and what twice the images would bring to this model."""
    curve = result.get("learning_curve")
    rows = curve.get("points") if isinstance(curve, Mapping) else None
    if not isinstance(curve, Mapping) or not rows or len(rows) < 2:
        return ""
    plot = plots.learning_curve(rows, curve.get("twice"))
    how = "Measured on parts of your images, with the head that needs no training; each judged by images it was not made of."
    return html.card(
        f"<p>{html.escape(expected(result))}</p>", plot, f'<p class="hint">{how}</p>', title="Would more images help?", kind="plot-card"
    )


def expected(result: Result) -> str:
    """What twice the images would bring, in words."""
    curve, found = result.get("learning_curve") or {}, results.headline(result)
    preview, twice = result.get("preview") or {}, curve.get("twice")
    if twice is None or not found.n or not preview.get("n"):
        return "There are too few images to tell yet; more of them always help to know how good it is."
    now, error = found.correct / found.n, 1 - preview["top1"]
    gone = 1 - (1 - twice) / error if error > 0 else 0.0  # the share of the errors that should go away
    gain = (1 - now) * gone
    if gain < SMALL:
        return "Hardly: with twice the images expect about as many right. Images of other kinds, or a larger backbone, may."
    return f"Yes: with twice the images expect about {charts.percent(now + gain)} right in place of {charts.percent(now)}."


def percentages(result: Result) -> str:
    """The reliability plot, and what it comes to."""
    found = result.get("calibration")
    if not isinstance(found, Mapping) or found.get("ece_after") is None:
        return ""
    before, after = float(found["ece_before"]), float(found["ece_after"])
    if after < BELIEVED:
        words = f"Yes: where it says it is 80 % sure, it is right on about 80 %. On average it is off by {points(after)}."
    else:
        words = f"Roughly: on average it is off by {points(after)} from how often it is right. More images make that better."
    words += f" Uncorrected it would be {points(before)}." if before > after else ""
    plot = plots.reliability(found["before"], found["after"])
    how = f"From {html.plural(int(found['n']), 'image')} that the judging model had not seen; the nearer to the dotted line, the better."
    title = "Can its percentages be believed?"
    return html.card(f"<p>{html.escape(words)}</p>", plot, f'<p class="hint">{how}</p>', title=title, kind="plot-card")


def points(share: float) -> str:
    """A difference of shares in percentage points."""
    value = round(100 * share)
    return f"{value} point{'' if value == 1 else 's'}"
