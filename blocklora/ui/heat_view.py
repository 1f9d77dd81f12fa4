"""A heat map on the page: the picture with the map over it, which label it explains, how strong it shows, and what it means in words."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator

from blocklora.services import heat
from blocklora.services.heat import HeatMap, Reason
from blocklora.ui import html

STRENGTH = 60  # percent of the map's colours over the picture's, to begin with
PLACES = (("upper left", "top", "upper right"), ("left", "middle", "right"), ("lower left", "bottom", "lower right"))


def figure(found: HeatMap, source: str, name: str) -> str:
    """The map over the picture at `source` (an address); `name` says what the picture is. Switching and fading: js/66-heat.js."""
    layers = "".join(_layer(found, reason, place) for place, reason in enumerate(found.reasons))
    words = "".join(f'<p data-reason="{place}"{_hidden(place)}>{html.escape(heat.words(reason))}</p>' for place, reason in _each(found))
    picture = f'<div class="stack"><img src="{html.escape(source)}" alt="{html.escape(name)}">{layers}</div>'
    look = f"--ratio:{found.width / found.height:.4f};--strength:{STRENGTH / 100}"
    return (
        f'<figure class="heat" style="{look}">{picture}{_scale()}<div class="heat-tools">{_labels(found)}{_strength()}</div>'
        f'<figcaption role="status">{words}<p class="hint">{html.escape(heat.limits(found))}</p></figcaption></figure>'
    )


def busy(source: str, name: str) -> str:
    """The picture while the map is made."""
    picture = f'<img class="preview" src="{html.escape(source)}" alt="{html.escape(name)}">' if source else ""
    words = "Covering the picture bit by bit and asking again…"
    return f'<div class="heat-busy" aria-busy="true">{picture}<p role="status">{html.icon("loader-circle")}{words}</p></div>'


def where(reason: Reason) -> str:
    """In which ninth of what the file sees the warmest place lies."""
    place, side = int(reason.heat.argmax()), len(reason.heat)
    return PLACES[min(2, place // side * 3 // side)][min(2, place % side * 3 // side)]


def _each(found: HeatMap) -> Iterator[tuple[int, Reason]]:
    return enumerate(found.reasons)


def _hidden(place: int) -> str:
    return " hidden" if place else ""


def _layer(found: HeatMap, reason: Reason, place: int) -> str:
    data = base64.b64encode(heat.layer_png(found, reason)).decode()
    words = f"Heat map for {reason.label}: " + ("even, no part decides by itself" if reason.flat else f"warmest at the {where(reason)}")
    return f'<img class="layer" data-reason="{place}"{_hidden(place)} src="data:image/png;base64,{data}" alt="{html.escape(words)}">'


def _scale() -> str:
    colours = html.escape(heat.css_ramp())
    bar = f'<i style="background:{colours}"></i>'
    return f'<div class="heat-scale" aria-hidden="true"><span>matters little</span>{bar}<span>matters most</span></div>'


def _labels(found: HeatMap) -> str:
    """The labels that are explained, one at a time; nothing to choose where there is one."""
    if len(found.reasons) < 2:
        return ""
    group = f"heat-{time.monotonic_ns()}"  # two maps on a page are two choices
    options = "".join(
        f'<label><input type="radio" name="{group}" value="{place}"{" checked" if place == 0 else ""}>'
        f"<span>{html.escape(reason.label)} <small>{html.escape(heat.percent(reason.probability))}</small></span></label>"
        for place, reason in _each(found)
    )
    return f'<fieldset class="heat-labels"><legend>What speaks for</legend>{options}</fieldset>'


def _strength() -> str:
    return (
        '<label class="heat-strength"><span>Strength of the colours</span>'
        f'<input type="range" min="0" max="100" step="5" value="{STRENGTH}" data-heat-strength></label>'
    )
