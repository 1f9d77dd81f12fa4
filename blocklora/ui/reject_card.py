"""The card "When it should say 'none of these'": two sliders that answer while they are dragged, and whether the file does it yet.

The page is given the scores of the held-out pictures and counts itself (assets/style/js/86-reject.js), so that nothing is asked of the
server until Apply. Scores in, HTML out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from blocklora import reject
from blocklora.reject import DEFAULT, OFF, PRECISION, SEPARATED, UNKNOWN, Outcome, Scores, Wish
from blocklora.services.exported import Exported
from blocklora.services.rejecting import RULE, Rejecting
from blocklora.services.status import Making
from blocklora.ui import charts, html
from blocklora.ui.train_view import progress

WISHED = (0.9, 0.95, 0.99)
MOST_POINTS, LEVELS = 2000, 60
FEW = 30  # held-out pictures up to which the card says how little they are
TITLE = "When it should say “none of these”"
CHOSEN = {
    DEFAULT: "Suggested: it refuses what looks less like your classes than nineteen of twenty held-out pictures do.",
    SEPARATED: "Suggested: it refuses what looks more like your “something else” pictures than like your classes.",
    UNKNOWN: "There are too few held-out pictures to suggest anything, so it always answers.",
    OFF: "Switched off: it always answers.",
}


def card(found: Rejecting, run: str) -> str:
    """The card for a run's rule as it is chosen now."""
    data, off = page_data(found), found.wish.always
    familiar = _slider(
        "familiar", "How much like your pictures must it look?", ("Anything goes", "Very much"), len(data["levels"]) - 1, off
    )
    sure = _slider("sure", "How sure must the answer be?", ("However unsure", "Very sure"), 100, off)
    apply = html.local_button("Apply", "reject-apply", kind="primary", icon_name="check", disabled=True)
    checked = " checked" if off else ""
    return (
        f'<section class="card reject"{html.attrs(data_reject=data, data_key=_key(found, run))}>'
        f'<header><h3>{TITLE}</h3></header><p class="hint">{html.escape(_lead(found))}</p>'
        f'<p class="says" role="status" aria-live="polite">{words(found.outcome)}</p>'
        f'<label class="switch"><input type="checkbox" name="off"{checked}>'
        f" Always answer, whatever the picture shows</label>"
        f'<div class="scales">{familiar}{sure}</div>{_wishes(data)}{_few(found)}'
        f'<div class="buttons">{apply}<span class="hint chosen">{html.escape(_chosen(found.wish))}</span></div></section>'
    )


def _lead(found: Rejecting) -> str:
    what = "all your pictures, each judged by a model that had not seen it" if found.all_pictures else "the pictures held out in training"
    return (
        "A picture of something else still looks a little like one of your classes. Here you choose when the model says so instead of "
        f"guessing. The figures are counted on {what}."
    )


def _chosen(wish: Wish) -> str:
    if wish.how == PRECISION and wish.precision is not None:
        return f"Chosen: right at least {charts.percent(wish.precision)} of the time, refusing as few as possible."
    return CHOSEN.get(wish.how, "Chosen by hand.")


def words(done: Outcome) -> str:
    """What a rule does, in a sentence; the page writes the same one while a slider is dragged."""
    if not done.answered:
        return "It would answer <b>none</b> of these pictures."
    low, high = done.interval
    said = f"Answers <b>{done.answered} of {done.n}</b> ({charts.percent(done.answered / done.n)}), right on "
    said += f"<b>{charts.percent(done.right / done.answered)}</b> of those; "
    said += f"on new pictures expect {charts.percent(low)} to {charts.percent(high)}."
    if done.others:
        said += f" Refuses <b>{done.refused} of {done.others}</b> pictures of something else."
    return said


def page_data(found: Rejecting) -> dict[str, Any]:
    """What the page counts with: scores [familiar, sure, right], the slider's levels of familiarity (null: anything), ready choices."""
    own, others, wish = found.scores, found.others, found.wish
    suggested = reject.default(own, others)
    ready = {f"{wished:g}": reject.for_precision(own, wished, others) for wished in WISHED}
    choices = [wish, suggested, *(choice for choice in ready.values() if choice is not None)]
    return {
        "points": _points(own),
        "others": [] if others is None else [row[:2] for row in _points(others)],
        "levels": levels(own, others, [choice.familiar for choice in choices if choice.familiar is not None]),
        "now": wish.to_dict(),
        "suggested": suggested.to_dict(),
        "ready": {key: None if choice is None else choice.to_dict() for key, choice in ready.items()},
    }


def _points(scores: Scores) -> list[list[float]]:
    """At most `MOST_POINTS` of the scores, evenly taken."""
    chosen = np.unique(np.linspace(0, max(0, len(scores) - 1), min(len(scores), MOST_POINTS)).round().astype(int))
    return [[round(float(scores.familiar[i]), 5), round(float(scores.sure[i]), 6), int(scores.right[i])] for i in chosen]


def levels(own: Scores, others: Scores | None, needed: list[float]) -> list[float | None]:
    """Where the slider may stand, from anything to what only half of the own pictures reach; `needed` are among them."""
    seen = own.familiar if others is None else np.concatenate([own.familiar, others.familiar])
    low, high = float(seen.min()) - 0.1, float(np.quantile(own.familiar, 0.5))
    return [None, *sorted({*(round(float(level), 4) for level in np.linspace(low, max(high, low + 1), LEVELS)), *needed})]


def _slider(name: str, label: str, ends: tuple[str, str], most: int, off: bool) -> str:
    disabled = " disabled" if off else ""
    return (
        f'<div class="scale"><label for="reject-{name}">{html.escape(label)}</label>'
        f'<input type="range" id="reject-{name}" name="{name}" min="0" max="{most}" step="1" value="0"{disabled}>'
        f'<p class="ends"><span>{html.escape(ends[0])}</span><output for="reject-{name}"></output>'
        f"<span>{html.escape(ends[1])}</span></p></div>"
    )


def _wishes(data: dict[str, Any]) -> str:
    buttons = [html.local_button("Suggested", "reject-ready", kind="quiet", data_ready="suggested")]
    for key, choice in data["ready"].items():
        label, lacks = f"Right at least {charts.percent(float(key))}", choice is None
        title = "No choice reaches that on these pictures" if lacks else None
        buttons.append(html.local_button(label, "reject-ready", kind="quiet", data_ready=key, disabled=lacks, title=title))
    return f'<div class="ready" role="group" aria-label="Choose for me">{"".join(buttons)}</div>'


def _few(found: Rejecting) -> str:
    n = len(found.scores)
    if n >= FEW:
        return ""
    advice = "More pictures, or pictures of something else, make it more than a guess."
    return html.note(f"Only {html.plural(n, 'picture')} to go by: take the figures as a hint.", advice)


def _key(found: Rejecting, run: str) -> str:
    """Another one where the sliders must begin anew: another run, or another choice that holds."""
    return f"{run}/{found.wish.to_dict()}"


def state(found: Rejecting, exported: Exported | None, making: Making | None, busy: bool) -> str:
    """Whether the published file does what was chosen, and how far the writing is."""
    if making is not None and making.form == RULE and not making.failed:
        bar = progress(making.fraction, "Writing it into the file")
        return f'<div class="reject-state" role="status">{bar}<p class="hint">{html.escape(making.stage)}</p></div>'
    again = html.button("Write it into the file", "write", icon_name="refresh-cw", disabled=busy)
    if making is not None and making.form == RULE:
        return f'<div class="reject-state">{html.note(making.reason, making.advice, "danger")}{again}</div>'
    if exported is None:
        return _line("info", "It goes into the file when the run is exported.")
    if found.in_file == found.wish:
        return _line("circle-check", "The exported file does this, wherever it is used.")
    return f'<div class="reject-state">{html.note("The exported file does not do this yet.", tone="warn")}{again}</div>'


def _line(mark: str, text: str) -> str:
    return f'<p class="reject-state hint" role="status">{html.icon(mark)}<span>{html.escape(text)}</span></p>'
