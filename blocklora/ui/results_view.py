"""What the Results tab shows below its headline: per class, who is taken for whom, and the pictures of an answer, wrong or right.

Everything comes from a run's result.json (see `blocklora.training.evaluate`). Result in, HTML out; names are escaped by `html`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from blocklora.ui import charts, html
from blocklora.ui.results_headline import bar

WRONG = 24  # pictures on a page
MOST_PAIRS = 8
MOST_CLASSES, MANY_CLASSES = 120, 40  # as many classes have a table of all; of more, so many are shown
Section = Mapping[str, Any]


@dataclass(frozen=True)
class View:
    """Where the person is: a page of the wrong pictures, and which cell of the confusion table they asked for (-1: all)."""

    page: int = 0
    true: int = -1
    predicted: int = -1

    def to_dict(self) -> dict[str, int]:
        return {"page": self.page, "true": self.true, "predicted": self.predicted}


# ---- per class


def per_class(section: Section) -> str:
    """One line a class, weakest first."""
    rows = [row for row in section.get("per_class", []) if row["n"] or row["predicted"]]
    rows.sort(
        key=lambda row: (row["recall"] if row["recall"] is not None else 2.0, row["precision"] if row["precision"] is not None else 2.0)
    )
    body = "".join(
        f'<tr><th scope="row">{html.escape(row["name"])}</th><td{_value(row["recall"])}>{_share(row["recall"])}</td>'
        f'<td class="num"{_value(row["correct"])}>{html.escape(row["correct"])} of {html.escape(row["n"])}</td>'
        f'<td class="num"{_value(row["precision"])}>{_percent(row["precision"])}</td></tr>'
        for row in rows
    )
    head = "".join(_heading(place, *column) for place, column in enumerate(PER_CLASS))
    table = f'<table class="per-class" data-sortable><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return html.card(f'<div class="scroll" tabindex="0">{table}</div>', title="Class by class")


# Heading, what it means, whether it is a number, and the order of the first press (js/67-tables.js).
PER_CLASS = (
    ("Class", "", False, "ascending"),
    ("Recall", "Of the pictures of this class, the share that was recognised", False, "descending"),
    ("Right", "", True, "descending"),
    ("Precision", "Of the pictures that were given this label, the share that deserved it", True, "descending"),
)


def _heading(place: int, title: str, words: str, number: bool, first: str) -> str:
    sort = html.attrs(title=words or None, data_do="sort", data_column=place, data_first=first)
    kind = html.attrs(class_="num" if number else None, aria_sort="ascending" if title == "Recall" else None)  # weakest first, as it comes
    return f'<th scope="col"{kind}><button type="button" class="sort"{sort}>{title}</button></th>'


def _value(number: float | None) -> str:
    """What a cell is sorted by; a dash comes after all numbers."""
    return html.attrs(data_value=2.0 if number is None else number)


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
    if not names or any(len(row) != len(names) for row in (table, *table)):  # of a stranger, or damaged
        return ""
    shown = _mixed_up(table, view)
    columns = "".join(f'<th scope="col" title="{html.escape(names[i])}"><span>{html.escape(names[i])}</span></th>' for i in shown)
    rows = "".join(_confusion_row(i, table[i], shown, names, view) for i in shown)
    dense = " dense" if len(shown) > 14 else ""
    words = "Rows are the true classes, columns the answers. A press on a count shows its pictures."
    left = f'<p class="hint">The {len(shown)} classes that are mixed up most, of {len(names):,}.</p>' if len(shown) < len(names) else ""
    grid = (
        '<div class="scroll wide" tabindex="0" role="region" aria-label="Confusion table">'
        f'<table class="confusion{dense}"><caption class="sr">{words}</caption>'
        f'<thead><tr><td class="corner"><span>true</span><span>answer</span></td>{columns}</tr></thead><tbody>{rows}</tbody></table></div>'
    )
    return html.card(grid, left, _pairs(section, names), title="Who is taken for whom", kind="confusions")


def _mixed_up(table: Sequence[Sequence[int]], view: View) -> list[int]:
    """The classes that a table shows, in their order: all, or of very many those that are taken for others, or others for them, most often,
    and those that something else on the page is about. A page with a million cells is none.
    """
    if len(table) <= MOST_CLASSES:
        return list(range(len(table)))
    counts = np.array(table)
    np.fill_diagonal(counts, 0)
    mixed = counts.sum(axis=0) + counts.sum(axis=1)
    named = {i for _, *pair in _commonest(table) for i in pair} | {i for i in (view.true, view.predicted) if 0 <= i < len(table)}
    others = [i for i in np.argsort(-mixed, kind="stable").tolist() if i not in named]
    return sorted([*named, *others[: max(0, MANY_CLASSES - len(named))]])


def _commonest(table: Sequence[Sequence[int]]) -> list[tuple[int, int, int]]:
    """The mix-ups that are told in words: how often, the class, and what it was taken for."""
    found = [(count, i, j) for i, row in enumerate(table) for j, count in enumerate(row) if i != j and count]
    return sorted(found, key=lambda entry: (-entry[0], entry[1], entry[2]))[:MOST_PAIRS]


def _confusion_row(true: int, row: Sequence[int], shown: Sequence[int], names: Sequence[str], view: View) -> str:
    total = sum(row)
    cells = "".join(_cell(true, predicted, row[predicted], total, names, view) for predicted in shown)
    return f'<tr><th scope="row" title="{html.escape(names[true])}">{html.escape(names[true])}</th>{cells}</tr>'


def _cell(true: int, predicted: int, count: int, total: int, names: Sequence[str], view: View) -> str:
    if not count:
        return "<td></td>"
    shade = f"--share:{count / total:.2f}"
    right = true == predicted
    words = f"{count} of {names[true]} recognised" if right else f"{count} of {names[true]} taken for {names[predicted]}"
    pressed = view.true == true and view.predicted == predicted
    said = html.attrs(data_true=true, data_predicted=predicted, aria_label=words, title=words, aria_pressed="true" if pressed else "false")
    kind = "right" if right else "wrong"
    return f'<td class="{kind}" style="{shade}"><button type="button" data-act="cell"{said}>{count}</button></td>'


def _pairs(section: Section, names: Sequence[str]) -> str:
    """The commonest mix-ups in words."""
    found = _commonest(section.get("confusion", []))
    if not found or len(names) <= 4:
        return ""
    items = "".join(
        f'<li><button type="button" class="b link" data-act="cell" data-true="{i}" data-predicted="{j}">{html.escape(names[i])}'
        f"{html.icon('arrow-right', 12)}{html.escape(names[j])}</button><span>{count}</span></li>"
        for count, i, j in found
    )
    return f'<div class="pairs"><h4>Most often mixed up</h4><ul>{items}</ul></div>'


# ---- the pictures


@dataclass(frozen=True)
class Shot:
    """A picture as it is in the project now: addresses of its small and its large copy, and a word on what has become of it since.

    `mend` is HTML: what can be done about it.
    """

    small: str
    large: str
    now: str = ""
    mend: str = ""
    kept: bool = False


def images_of(section: Section, view: View) -> list[Mapping[str, Any]]:
    """The pictures that the view asks for: of one cell of the table, else all wrong ones; most certain first."""
    rows = list(section.get("images", []))
    if view.true >= 0:
        rows = [row for row in rows if row["label"] == view.true and row["predicted"] == view.predicted]
    else:
        rows = [row for row in rows if row["label"] != row["predicted"]]
    return sorted(rows, key=lambda row: -float(row["probability"]))


def gallery(
    section: Section,
    view: View,
    picture: Callable[[Mapping[str, Any]], Shot | None],
    note: str = "",
    more: Callable[[Mapping[str, Any], str], str] = lambda row, words: "",
) -> str:
    """Those pictures; `picture` tells how one is now, or None where it is gone. `note` is HTML above them; `more` gives buttons (HTML) for
    one that is there, from its row and what is said of it.

    Wrong ones whose class a person has called right are left out, and counted.
    """
    names = [str(row["name"]) for row in section.get("per_class", [])]
    found = [(row, picture(row)) for row in images_of(section, view)]
    shown = [(row, shot) for row, shot in found if view.true >= 0 or shot is None or not shot.kept]
    pages = max(1, -(-len(shown) // WRONG))
    page = min(view.page, pages - 1)
    aside, title = "", "What it got wrong"
    if view.true >= 0:
        right = view.true == view.predicted
        title = f"{names[view.true]}, recognised" if right else f"{names[view.true]} taken for {names[view.predicted]}"
        aside = html.button("Show the wrong ones", "cell", kind="quiet", data_true=-1, data_predicted=-1)
    elif not found:
        return html.card('<p class="hint">Nothing. Every image was recognised.</p>', title=title) if section.get("n") else ""
    shots = "".join(_shot(row, names, shot, more) for row, shot in shown[page * WRONG : (page + 1) * WRONG])
    less = f", {len(found) - len(shown)} left out as right" if len(found) > len(shown) else ""
    words = f'<span class="hint">{html.plural(len(shown), "picture")}{less}, most certain first</span>'
    return html.card(note, f'<div class="wrongs">{shots}</div>', html.pager(page, pages, "page"), title=title, aside=words + aside)


def _shot(row: Mapping[str, Any], names: Sequence[str], shot: Shot | None, more: Callable[[Mapping[str, Any], str], str]) -> str:
    true, said = names[row["label"]], names[row["predicted"]]
    sure, right = charts.percent(float(row["probability"])), row["label"] == row["predicted"]
    words = f"{true}, recognised ({sure})" if right else f"{true}, taken for {said} ({sure})"
    if shot is None:
        image = f'<span class="gone">{html.icon("image", 20)}no longer in the project</span>'
    else:
        image = (
            f'<button type="button" data-do="look" data-src="{html.escape(shot.large)}" data-words="{html.escape(words)}" '
            f'aria-label="{html.escape(words)}"><img src="{html.escape(shot.small)}" alt="" loading="lazy"></button>'
        )
    mark = html.icon("check" if right else "arrow-right", 12)
    answer = f'<span class="said{" right" if right else ""}">{mark}<b>{html.escape(said)}</b><em>{sure}</em></span>'
    now = f'<span class="now-in">{html.escape(shot.now)}</span>' if shot is not None and shot.now else ""
    buttons = shot.mend + more(row, words) if shot is not None else ""
    mend = f'<div class="mend">{buttons}</div>' if buttons else ""
    words = f'<span class="true">{html.escape(true)}</span>{answer}{now}'
    return f'<figure class="wrong-shot">{image}<figcaption>{words}</figcaption>{mend}</figure>'
