"""Small pieces of HTML that every tab is made of. Text goes in as plain text and is escaped here, nowhere else.

Functions return strings that are safe to join. An argument called `body` or `*parts` is HTML that one of these functions
made; every other argument is text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape as _escape
from typing import Any, Literal

Tone = Literal["", "accent", "danger", "warn"]


def escape(text: object) -> str:
    """`text` made safe inside HTML, quotes included."""
    return _escape(str(text), quote=True)


def attrs(**values: Any) -> str:
    """HTML attributes from keywords: `data_x` becomes `data-x`, True a bare name, None and False nothing, lists and dicts JSON."""
    parts = []
    for name, value in values.items():
        if value is None or value is False:
            continue
        key = name.rstrip("_").replace("_", "-")
        if value is True:
            parts.append(f" {key}")
        else:
            plain = json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict, tuple)) else value
            parts.append(f' {key}="{escape(plain)}"')
    return "".join(parts)


def icon(name: str, size: int = 16) -> str:
    """One symbol of assets/style/icons.svg, in the colour of the text around it; decoration, so hidden from screen readers."""
    return f'<svg class="i" width="{size}" height="{size}" aria-hidden="true"><use href="/studio/icons.svg#{escape(name)}"></use></svg>'


def button(label: str, act: str, *, kind: str = "", icon_name: str = "", **data: Any) -> str:
    """A button that sends `act` (with `data_*` attributes) to the tab's handler; see studio.js."""
    mark = icon(icon_name) if icon_name else ""
    return f'<button type="button"{attrs(class_=f"b {kind}", data_act=act, **data)}>{mark}<span>{escape(label)}</span></button>'


def local_button(label: str, do: str, *, kind: str = "", icon_name: str = "", **data: Any) -> str:
    """A button that the page itself answers (open a dialog, go to a tab); see studio.js."""
    mark = icon(icon_name) if icon_name else ""
    return f'<button type="button"{attrs(class_=f"b {kind}", data_do=do, **data)}>{mark}<span>{escape(label)}</span></button>'


def icon_button(label: str, icon_name: str, *, act: str = "", do: str = "", kind: str = "", **data: Any) -> str:
    """A button that shows an icon alone; `label` is its name for screen readers and its tooltip."""
    return (
        f'<button type="button" class="b icon {escape(kind)}" aria-label="{escape(label)}" title="{escape(label)}"'
        f"{attrs(data_act=act or None, data_do=do or None, **data)}>{icon(icon_name)}</button>"
    )


def badge(text: str, tone: Tone = "") -> str:
    """A word or two in a quiet pill."""
    return f'<span class="badge {tone}">{escape(text)}</span>'


def note(text: str, advice: str = "", tone: Tone = "") -> str:
    """A remark in the flow of the page: what is the matter, and under it what to do."""
    mark = icon({"danger": "circle-x", "warn": "triangle-alert", "accent": "circle-check"}.get(tone, "info"))
    more = f'<p class="advice">{escape(advice)}</p>' if advice else ""
    return f'<div class="note {tone}" role="note">{mark}<div><p>{escape(text)}</p>{more}</div></div>'


def card(*parts: str, title: str = "", aside: str = "", kind: str = "") -> str:
    """A quiet surface with an optional heading; `aside` is HTML at the heading's right."""
    head = f'<header><h3>{escape(title)}</h3><div class="aside">{aside}</div></header>' if title else ""
    return f'<section class="card {escape(kind)}">{head}{"".join(parts)}</section>'


def empty_state(title: str, text: str, action: str = "", icon_name: str = "info") -> str:
    """What a tab shows when something is missing: what it is, why, and one button (`action`, from `button` or `local_button`)."""
    return f'<div class="empty">{icon(icon_name, 28)}<h2>{escape(title)}</h2><p>{escape(text)}</p>{action}</div>'


def tab_button(label: str, tab: str, kind: str = "primary") -> str:
    """The one button of an empty state that leads to another tab."""
    return local_button(label, "tab", kind=kind, data_tab=tab)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """A table that scrolls where it is long. `head` is text, cells are HTML; `numbers` are the columns set to the right."""

    def cell(tag: str, column: int, body: str) -> str:
        kind = ' class="num"' if column in numbers else ""
        return f"<{tag}{kind}>{body}</{tag}>"

    top = "".join(cell("th", column, escape(text)) for column, text in enumerate(head))
    body = "".join("<tr>" + "".join(cell("td", column, part) for column, part in enumerate(row)) + "</tr>" for row in rows)
    return f'<div class="scroll" tabindex="0"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def plural(count: int, one: str, many: str = "") -> str:
    """ "1 picture", "12,000 pictures"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def pager(page: int, pages: int, act: str, **data: Any) -> str:
    """Previous, "2 of 5", next; nothing where one page is all there is. Pages count from 0."""
    if pages <= 1:
        return ""
    before = icon_button("Previous page", "chevron-left", act=act, data_page=page - 1, disabled=page <= 0, **data)
    after = icon_button("Next page", "chevron-right", act=act, data_page=page + 1, disabled=page >= pages - 1, **data)
    return f'<nav class="pager" aria-label="Pages">{before}<span>{page + 1} of {pages}</span>{after}</nav>'
