"""The Results tab's first card: how good it is, in words as large as they deserve, and what puts the figure into proportion beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from blocklora.services import results
from blocklora.services.results import Headline, interval_words
from blocklora.ui import charts, html

Section = Mapping[str, Any]


def headline(result: Section, aside: str = "") -> str:
    """The card; `aside` is HTML that goes under its words."""
    found = results.headline(result)
    if not found.n:
        words = "Nobody knows yet how good it is"
        return f'<section class="verdict-card"><h1>{words}</h1><p class="lead">{html.escape(str(result.get("verdict", "")))}</p></section>'
    what = {"test": "test images it never saw", "cross_validated": "images", "held_out": "images it never saw"}[found.kind]
    words = " ".join(filter(None, (_how(found), interval_words(found.section), _trend(result, found), _since(result))))
    return (
        f'<section class="verdict-card"><div><h1>Right on <b>{html.escape(figure(found.section))}</b> {what}</h1>'
        f'<p class="lead">{html.escape(words)}</p>{aside}</div>{_beside(result, found)}</section>'
    )


def figure(row: Section | None) -> str:
    """ "27 of 30", or a dash."""
    return f"{row['correct']} of {row['n']}" if row and row.get("n") else "–"


def bar(share: float) -> str:
    """A share as a small bar."""
    return f'<span class="bar"><span style="width:{100 * share:.1f}%"></span></span>'


def _how(found: Headline) -> str:
    if found.kind != "cross_validated":
        return ""
    folds = int(found.section.get("folds") or 0)
    how = f"{folds} trainings, each without a part of the images"
    return f"Each was judged by a model that had not seen it: {how}. The file learned from all."


def _without(result: Section, found: Headline) -> Section | None:
    """The same images without training: by the closed-form head, or by the class weights that training began with."""
    row = {"test": None, "cross_validated": result.get("preview"), "held_out": result.get("frozen")}[found.kind]
    return row if isinstance(row, Mapping) and row.get("n") else None


def _trend(result: Section, found: Headline) -> str:
    before = _without(result, found)
    if before is None:
        return ""
    if found.correct < before["correct"]:
        return "Training did not help here; more varied images would."
    return "Training changed nothing that these images show." if found.correct == before["correct"] else ""


def _since(result: Section) -> str:
    """How it compares with the run that it went on from, on the same images."""
    since = result.get("since")
    if not isinstance(since, Mapping) or not since.get("n"):
        return ""
    return f"On the {since['n']} held-out images that the run before had too: {since['before']} right before, {since['now']} now."


def _beside(result: Section, found: Headline) -> str:
    """Bars to compare with: after training, without it, by names alone, by guessing."""
    rows = [("After training", found.section.get("top1"), figure(found.section), "now")]
    zero, before, preview = result.get("zero_shot") or {}, _without(result, found), result.get("preview") or {}
    if before is not None:
        label = "Before training" if found.kind == "held_out" else "Without training"
        rows.append((label, before.get("top1"), figure(before), ""))
    if found.kind == "held_out" and preview.get("n"):
        rows.append(("Without training, all images", preview.get("top1"), figure(preview), ""))
    if zero.get("offered") and found.kind != "test":
        rows.append(("From the names alone", zero.get("top1"), figure(zero), ""))
    if zero.get("chance"):
        rows.append(("By guessing", zero["chance"], charts.percent(zero["chance"]), ""))
    bars = "".join(
        f'<tr class="{kind}"><th scope="row">{html.escape(name)}</th><td>{bar(share or 0)}</td>'
        f'<td class="num">{html.escape(words)}</td></tr>'
        for name, share, words, kind in rows
    )
    words = "".join(f"<p>{html.escape(line)}</p>" for line in _remarks(result, bool(zero.get("offered", True))))
    return f'<div class="beside"><table><caption class="sr">What to compare with</caption><tbody>{bars}</tbody></table>{words}</div>'


def _remarks(result: Section, known: bool) -> list[str]:
    note = "The class names mean nothing to this model, so there is no zero-shot figure: it learned from the images alone."
    weights = str(result.get("class_weights_note") or "")
    turns = str(result.get("rotations_note") or "")
    said = weights if known or result.get("class_weights") != "images" else ""
    return [line for line in ("" if known else note, said, turns) if line]
