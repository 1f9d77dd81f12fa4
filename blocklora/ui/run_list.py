"""The runs of a project as a table: what each was, how good it is, on which images, which one is current."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from blocklora.presets import PRESET_TEXTS
from blocklora.services.runs import RunSummary
from blocklora.services.studio import duration
from blocklora.ui import charts, html, run_notes

TITLES: dict[str, str] = {text.name: text.title for text in PRESET_TEXTS}
STATES: dict[str, tuple[str, html.Tone]] = {
    "queued": ("waiting", ""),
    "running": ("training", "accent"),
    "finished": ("finished", ""),
    "failed": ("failed", "danger"),
    "cancelled": ("cancelled", ""),
}
COLUMNS = (  # title, whether it holds numbers, what it is sorted by at first
    ("Run", False, "descending"),
    ("Recipe", False, "ascending"),
    ("Backbone", False, "ascending"),
    ("Images", False, "ascending"),
    ("Right", True, "descending"),
    ("File", True, "ascending"),
    ("Time", True, "ascending"),
)
HASH = 7  # letters of a data hash that are shown


def draw(runs: Sequence[RunSummary], backbones: Mapping[str, str], shown: str, data_now: str = "") -> str:
    """The list, newest first. `backbones` maps names to titles; `shown` is the run whose result the tab shows; `data_now` the hash of the
    project's images and labels as they are.
    """
    if not runs:
        return ""
    words = data_words(runs, data_now)
    rows = "".join(_row(run, backbones, run.id == shown, words.get(run.id, "")) for run in runs)
    table = f'<table class="runs" data-sortable><thead><tr>{_head()}</tr></thead><tbody>{rows}</tbody></table>'
    hint = '<span class="hint">Results, Predict and Export show the current one</span>'
    return html.card(f'{_sorter()}<div class="scroll wide" tabindex="0">{table}</div>', title="Runs", aside=hint, kind="run-list")


def when(created: object) -> str:
    """A moment (seconds since 1970) as people here write it."""
    return time.strftime("%d %b %Y, %H:%M", time.localtime(float(created))) if isinstance(created, (int, float)) else "unknown date"


def data_words(runs: Sequence[RunSummary], data_now: str = "") -> dict[str, str]:
    """For each run, which other runs saw the same images with the same labels: "as they are now", or "same as 12 Nov 2026, 14:02"."""
    found: dict[str, str] = {}
    for run in runs:
        others = [other for other in runs if other.data and other.data == run.data and other.id != run.id]
        if run.data and run.data == data_now:
            found[run.id] = "as they are now"
        elif others:
            first = min(others, key=lambda other: other.created)
            found[run.id] = f"same images as {when(first.created)}"
        elif run.data:
            found[run.id] = "images of this run alone"
    return found


def _head() -> str:
    """Headings that sort (js/67-tables.js); newest first is how the list comes."""
    cells = []
    for place, (title, number, first) in enumerate(COLUMNS):
        kind, sorted_by = ' class="num"' if number else "", ' aria-sort="descending"' if place == 0 else ""
        cells.append(
            f'<th scope="col"{kind}{sorted_by}><button type="button" class="sort" data-do="sort" data-column="{place}" '
            f'data-first="{first}">{title}</button></th>'
        )
    return "".join(cells) + '<th scope="col"><span class="sr">State and actions</span></th>'


def _sorter() -> str:
    """The same on a narrow screen, where there are no headings."""
    options = "".join(f'<option value="{place}" data-first="{first}">{title}</option>' for place, (title, _, first) in enumerate(COLUMNS))
    return f'<label class="narrow-sort">Sort by <select data-sort-by>{options}</select></label>'


def _row(run: RunSummary, backbones: Mapping[str, str], shown: bool, data: str) -> str:
    words, tone = STATES.get(run.state, (run.state, ""))
    state = html.badge("current", "accent") if shown else html.badge(words, tone) if run.state != "finished" else ""
    took = duration(run.seconds) if run.seconds else "–"
    size = f"{run.size / 1e6:.1f} MB" if run.size else "–"
    backbone = backbones.get(run.backbone, run.backbone)
    images = f"<code>{html.escape(run.data[:HASH])}</code> <small>{html.escape(data)}</small>" if run.data else "–"
    cells = (
        (f"{html.escape(when(run.created))}{run_notes.shown(run.note)}", run.created, "run-when"),
        (html.escape(TITLES.get(run.preset, run.preset)), run.preset, "run-recipe"),
        (html.escape(backbone), backbone, "run-backbone"),
        (images, run.data, "run-images"),
        (_accuracy(run), run.top1 if run.top1 is not None else -1, "run-right num"),
        (html.escape(size), run.size, "run-size num"),
        (html.escape(took), run.seconds, "run-time num"),
        (f"{state}{_tools(run, shown)}", "", "num tools"),
    )
    row = "".join(f'<td class="{kind}" data-value="{html.escape(value)}">{body}</td>' for body, value, kind in cells)
    return f'<tr class="{"current" if shown else ""}">{row}</tr>'


def _accuracy(run: RunSummary) -> str:
    if run.top1 is None:
        return "–"
    between = ""
    if run.interval is not None:
        low, high = (charts.percent(share) for share in run.interval)
        between = f'<br><small title="95 % interval: what so many images can tell">{low} to {high}</small>'
    return f"{charts.percent(run.top1)} <small>{html.escape(run.correct)} of {html.escape(run.n)}</small>{between}"


def _tools(run: RunSummary, shown: bool) -> str:
    over = run.state not in ("queued", "running")
    make = html.button("Make current", "current", kind="quiet", data_run=run.id) if run.state == "finished" and not shown else ""
    away = html.icon_button(
        "Delete this run",
        "trash-2",
        do="confirm",
        kind="quiet",
        data_send="delete",
        data_run=run.id,
        data_title="Delete this run?",
        data_words=f"The run of {when(run.created)} goes for good, with its adapter and its exported file. Your images stay.",
        data_ok="Delete",
        disabled=not over or run.exporting,
    )
    return f"{make}{run_notes.button(run.id, run.note)}{away}"
