"""The runs of a project as a table: what each was, how good it is, which one is current."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from blocklora.presets import PRESET_TEXTS
from blocklora.services.runs import RunSummary
from blocklora.services.studio import duration
from blocklora.ui import charts, html

TITLES: dict[str, str] = {text.name: text.title for text in PRESET_TEXTS}
STATES: dict[str, tuple[str, html.Tone]] = {
    "queued": ("waiting", ""),
    "running": ("training", "accent"),
    "finished": ("finished", ""),
    "failed": ("failed", "danger"),
    "cancelled": ("cancelled", ""),
}


def draw(runs: Sequence[RunSummary], backbones: Mapping[str, str], shown: str) -> str:
    """The list, newest first. `backbones` maps names to titles; `shown` is the run whose result the tab shows."""
    if not runs:
        return ""
    head = "".join(
        f'<th scope="col"{" class=num" if number else ""}>{title}</th>'
        for title, number in (
            ("Run", False),
            ("Recipe", False),
            ("Backbone", False),
            ("Right", True),
            ("Time", True),
            ("State", False),
            ("", True),
        )
    )
    rows = "".join(_row(run, backbones, run.id == shown) for run in runs)
    table = f'<div class="scroll wide" tabindex="0"><table class="runs"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    return html.card(table, title="Runs", aside='<span class="hint">Results, Predict and Export show the current one</span>')


def when(created: object) -> str:
    """A moment (seconds since 1970) as people here write it."""
    return time.strftime("%d %b %Y, %H:%M", time.localtime(float(created))) if isinstance(created, (int, float)) else "unknown date"


def _row(run: RunSummary, backbones: Mapping[str, str], shown: bool) -> str:
    made = when(run.created)
    accuracy = f"{charts.percent(run.top1)} <small>{run.correct} of {run.n}</small>" if run.top1 is not None else "–"
    words, tone = STATES.get(run.state, (run.state, ""))
    state = html.badge("current", "accent") if shown else html.badge(words, tone) if run.state != "finished" else ""
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
        data_words=f"The run of {made} goes for good, with its adapter and its exported file. Your images stay.",
        data_ok="Delete",
        disabled=not over or run.exporting,
    )
    took = duration(run.seconds) if run.seconds else "–"
    return (
        f'<tr class="{"current" if shown else ""}"><td>{html.escape(made)}</td><td>{html.escape(TITLES.get(run.preset, run.preset))}</td>'
        f'<td>{html.escape(backbones.get(run.backbone, run.backbone))}</td><td class="num">{accuracy}</td>'
        f'<td class="num">{html.escape(took)}</td><td>{state}</td><td class="num tools">{make}{away}</td></tr>'
    )
