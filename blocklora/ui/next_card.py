"""The card of what to add next, in Results: the weakest classes with the pictures that were hard, since more like these help most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from blocklora.services.what_next import Weak, weakest
from blocklora.ui import html
from blocklora.ui.routes import thumb_url, view_url

if TYPE_CHECKING:
    from blocklora.projects.project import Project

SHOWN = 6  # pictures a class


def draw(project: Project, result: Mapping[str, Any]) -> str:
    """The card; '' where the model was sure of everything, or nothing was judged."""
    found = weakest(result)
    if not found:
        return ""
    lead = "More pictures like these would help most: the same kind of thing, taken in other ways."
    rows = "".join(_row(project, weak) for weak in found)
    return html.card(f'<p class="hint">{lead}</p><ul class="next">{rows}</ul>', title="What to add next")


def _row(project: Project, weak: Weak) -> str:
    here = project.living(weak.images[:SHOWN])
    shots = "".join(_shot(project, key, f"{here[key].original_name}, {weak.name}") for key in weak.images[:SHOWN] if key in here)
    words = f"{weak.hard} of its {weak.n} pictures were answered wrongly, or with little certainty."
    return f'<li><p><b>{html.escape(weak.name)}:</b> {words}</p><div class="row">{shots}</div></li>'


def _shot(project: Project, image: str, words: str) -> str:
    attributes = html.attrs(data_do="look", data_src=view_url(project.id, image), data_words=words, aria_label=f"Look at {words}")
    picture = f'<img src="{thumb_url(project.id, image)}" alt="" loading="lazy" decoding="async">'
    return f'<button type="button" class="seen"{attributes}>{picture}</button>'
