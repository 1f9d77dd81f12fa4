"""What the Results tab shows: the headline, what stands beside it, per class, who is taken for whom, and the pictures it got wrong.

Everything comes from a run's result.json (see `blocklora.training.evaluate`). Result in, HTML out; names are escaped by `html`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blocklora.ui import charts, html

WRONG = 24  # pictures on a page
MOST_PAIRS = 8
Section = Mapping[str, Any]


@dataclass(frozen=True)
class View:
    """Where the person is: a page of the wrong pictures, and which cell of the confusion table they asked for (-1: all)."""

    page: int = 0
    true: int = -1
    predicted: int = -1

    def to_dict(self) -> dict[str, int]:
        return {"page": self.page, "true": self.true, "predicted": self.predicted}


def figure(row: Section | None) -> str:
    """ "27 of 30", or a dash."""
    return f"{row['correct']} of {row['n']}" if row and row.get("n") else "–"


# ---- the headline


def headline(result: Section, section: Section, test: bool) -> str:
    """How good it is, in words as large as they deserve, and the figures that put it into proportion beside it."""
    if not section.get("n"):
        words = "Nobody knows yet how good it is"
        return f'<section class="verdict-card"><h1>{words}</h1><p class="lead">{html.escape(str(result.get("verdict", "")))}</p></section>'
    what = "test images it never saw" if test else "images it never saw"
    return (
        f'<section class="verdict-card"><div><h1>Right on <b>{html.escape(figure(section))}</b> {what}</h1>'
        f'<p class="lead">{html.escape(interval_words(section))}{html.escape(_trend(result, section, test))}</p></div>'
        f"{_beside(result, section, test)}</section>"
    )


def interval_words(section: Section) -> str:
    """What so many images can tell, in words."""
    n, interval = int(section["n"]), section.get("interval")
    if not isinstance(interval, (list, tuple)) or len(interval) != 2:
        return ""
    low, high = charts.percent(interval[0]), charts.percent(interval[1])
    words = f"On new images like these, expect between {low} and {high} right."
    if n < 20:
        words += f" With {html.plural(n, 'image')} that is all one can say: one more or less moves the share by {charts.percent(1 / n)}."
    if section.get("since_trained_on"):
        words += " The file was then trained anew on all images, these included: the figure is from before."
    return words


def _trend(result: Section, section: Section, test: bool) -> str:
    before = result.get("frozen")
    if test or not before or not before.get("n"):
        return ""
    if section["correct"] < before["correct"]:
        return " Training did not help here; more varied images would."
    return " Training changed nothing that these images show." if section["correct"] == before["correct"] else ""


def bar(share: float) -> str:
    """A share as a small bar."""
    return f'<span class="bar"><span style="width:{100 * share:.1f}%"></span></span>'


def _beside(result: Section, section: Section, test: bool) -> str:
    """Bars to compare with: after training, before it, by names alone, by guessing."""
    rows = [("After training", section.get("top1"), figure(section), "now")]
    zero = result.get("zero_shot") or {}
    if not test:
        before = result.get("frozen") or {}
        rows.append(("Before training", before.get("top1"), figure(before), ""))
        if zero.get("offered"):
            rows.append(("From the names alone", zero.get("top1"), figure(zero), ""))
    if zero.get("chance"):
        rows.append(("By guessing", zero["chance"], charts.percent(zero["chance"]), ""))
    bars = "".join(
        f'<tr class="{kind}"><th scope="row">{html.escape(name)}</th><td>{bar(share or 0)}</td>'
        f'<td class="num">{html.escape(words)}</td></tr>'
        for name, share, words, kind in rows
    )
    known = zero.get("offered", True)
    note = (
        [] if known else ["The class names mean nothing to this model, so there is no zero-shot figure: it learned from the images alone."]
    )
    note += (
        [str(result["class_weights_note"])]
        if result.get("class_weights_note") and (known or result.get("class_weights") != "images")
        else []
    )
    words = "".join(f"<p>{html.escape(line)}</p>" for line in note)
    return f'<div class="beside"><table><caption class="sr">What to compare with</caption><tbody>{bars}</tbody></table>{words}</div>'


# ---- per class


def per_class(section: Section) -> str:
    """One line a class, weakest first."""
    rows = [row for row in section.get("per_class", []) if row["n"] or row["predicted"]]
    rows.sort(
        key=lambda row: (row["recall"] if row["recall"] is not None else 2.0, row["precision"] if row["precision"] is not None else 2.0)
    )
    body = "".join(
        f'<tr><th scope="row">{html.escape(row["name"])}</th><td>{_share(row["recall"])}</td>'
        f'<td class="num">{row["correct"]} of {row["n"]}</td><td class="num">{_percent(row["precision"])}</td></tr>'
        for row in rows
    )
    recall = '<span title="Of the pictures of this class, the share that was recognised">Recall</span>'
    precision = '<span title="Of the pictures that were given this label, the share that deserved it">Precision</span>'
    head = (
        f'<tr><th scope="col">Class</th><th scope="col">{recall}</th><th scope="col" class="num">Right</th>'
        f'<th scope="col" class="num">{precision}</th></tr>'
    )
    table = f'<div class="scroll" tabindex="0"><table class="per-class"><thead>{head}</thead><tbody>{body}</tbody></table></div>'
    return html.card(table, title="Class by class", aside='<span class="hint">weakest first</span>')


def _percent(share: float | None) -> str:
    return "–" if share is None else charts.percent(share)


def _share(share: float | None) -> str:
    if share is None:
        return '<span class="hint">no held-out images</span>'
    return f'{bar(share)}<span class="pc">{charts.percent(share)}</span>'


# ---- confusion


def confusion(section: Section, view: View) -> str:
    """Who is taken for whom: counts, shaded by their share of the row. Cells off the diagonal show their pictures."""
    table, names = section.get("confusion", []), [str(row["name"]) for row in section.get("per_class", [])]
    if not names:
        return ""
    columns = "".join(f'<th scope="col" title="{html.escape(name)}"><span>{html.escape(name)}</span></th>' for name in names)
    rows = "".join(_confusion_row(i, row, names, view) for i, row in enumerate(table))
    dense = " dense" if len(names) > 14 else ""
    words = "Rows are the true classes, columns the answers. A press on a count shows its pictures."
    grid = (
        '<div class="scroll wide" tabindex="0" role="region" aria-label="Confusion table">'
        f'<table class="confusion{dense}"><caption class="sr">{words}</caption>'
        f'<thead><tr><td class="corner"><span>true</span><span>answer</span></td>{columns}</tr></thead><tbody>{rows}</tbody></table></div>'
    )
    return html.card(grid, _pairs(section, names), title="Who is taken for whom", kind="confusions")


def _confusion_row(true: int, row: Sequence[int], names: Sequence[str], view: View) -> str:
    total = sum(row)
    cells = "".join(_cell(true, predicted, count, total, names, view) for predicted, count in enumerate(row))
    return f'<tr><th scope="row" title="{html.escape(names[true])}">{html.escape(names[true])}</th>{cells}</tr>'


def _cell(true: int, predicted: int, count: int, total: int, names: Sequence[str], view: View) -> str:
    if not count:
        return "<td></td>"
    shade = f"--share:{count / total:.2f}"
    if true == predicted:
        return f'<td class="right" style="{shade}">{count}</td>'
    words = f"{count} of {names[true]} taken for {names[predicted]}"
    pressed = view.true == true and view.predicted == predicted
    return (
        f'<td class="wrong" style="{shade}"><button type="button" data-act="cell" data-true="{true}" data-predicted="{predicted}"'
        f"{html.attrs(aria_label=words, title=words, aria_pressed='true' if pressed else 'false')}>{count}</button></td>"
    )


def _pairs(section: Section, names: Sequence[str]) -> str:
    """The commonest mix-ups in words."""
    found = [(count, i, j) for i, row in enumerate(section.get("confusion", [])) for j, count in enumerate(row) if i != j and count]
    found.sort(key=lambda entry: (-entry[0], entry[1], entry[2]))
    if not found or len(names) <= 4:
        return ""
    items = "".join(
        f'<li><button type="button" class="b link" data-act="cell" data-true="{i}" data-predicted="{j}">{html.escape(names[i])}'
        f"{html.icon('arrow-right', 12)}{html.escape(names[j])}</button><span>{count}</span></li>"
        for count, i, j in found[:MOST_PAIRS]
    )
    return f'<div class="pairs"><h4>Most often mixed up</h4><ul>{items}</ul></div>'


# ---- the pictures it got wrong


def wrong_images(section: Section, view: View) -> list[Mapping[str, Any]]:
    """The wrong ones that the view asks for, most certain first."""
    rows = [row for row in section.get("images", []) if row["label"] != row["predicted"]]
    if view.true >= 0:
        rows = [row for row in rows if row["label"] == view.true and row["predicted"] == view.predicted]
    return sorted(rows, key=lambda row: -float(row["probability"]))


def gallery(
    section: Section,
    view: View,
    picture: Callable[[Mapping[str, Any]], tuple[str, str] | None],
    more: Callable[[Mapping[str, Any], str], str] = lambda row, words: "",
) -> str:
    """The wrong pictures; `picture` gives the addresses of the small and the large copy of one, or None where it is gone; `more` gives
    buttons (HTML) for one that is there, from its row and what is said of it.
    """
    names = [str(row["name"]) for row in section.get("per_class", [])]
    rows = wrong_images(section, view)
    pages = max(1, -(-len(rows) // WRONG))
    page = min(view.page, pages - 1)
    aside = ""
    title = "What it got wrong"
    if view.true >= 0:
        title = f"{names[view.true]} taken for {names[view.predicted]}"
        aside = html.button("Show all", "cell", kind="quiet", data_true=-1, data_predicted=-1)
    elif not rows:
        return html.card('<p class="hint">Nothing. Every held-out image was recognised.</p>', title=title) if section.get("n") else ""
    shots = "".join(_shot(row, names, picture(row), more) for row in rows[page * WRONG : (page + 1) * WRONG])
    words = f'<span class="hint">{html.plural(len(rows), "picture")}, most certain first</span>'
    return html.card(f'<div class="wrongs">{shots}</div>', html.pager(page, pages, "page"), title=title, aside=words + aside)


def _shot(row: Mapping[str, Any], names: Sequence[str], urls: tuple[str, str] | None, more: Callable[[Mapping[str, Any], str], str]) -> str:
    true, said = names[row["label"]], names[row["predicted"]]
    sure = charts.percent(float(row["probability"]))
    words = f"{true}, taken for {said} ({sure})"
    if urls is None:
        image = f'<span class="gone">{html.icon("image", 20)}no longer in the project</span>'
    else:
        image = (
            f'<button type="button" data-do="look" data-src="{html.escape(urls[1])}" data-words="{html.escape(words)}" '
            f'aria-label="{html.escape(words)}"><img src="{html.escape(urls[0])}" alt="" loading="lazy"></button>'
        )
    return (
        f'<figure class="wrong-shot">{image}<figcaption><span class="true">{html.escape(true)}</span>'
        f'<span class="said">{html.icon("arrow-right", 12)}<b>{html.escape(said)}</b><em>{sure}</em></span>'
        f"{more(row, words) if urls is not None else ''}</figcaption></figure>"
    )
