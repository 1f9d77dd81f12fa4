"""Results: the test pictures that look like pictures the model learned from, beside those."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from blocklora.errors import StudioError
from blocklora.ui import html
from blocklora.ui.routes import thumb_url, view_url

if TYPE_CHECKING:
    from blocklora.projects.project import Project

Picture = Callable[[Mapping[str, Any]], "tuple[str, str] | None"]
SHOWN = 60  # pairs that are drawn; the rest is counted


def pictures(project: Project) -> Picture:
    """Where the two copies of a project's pictures are."""

    def picture(row: Mapping[str, Any]) -> tuple[str, str] | None:
        image_id = str(row.get("image_id") or "")
        try:
            project.image(image_id)
        except StudioError:
            return None
        return thumb_url(project.id, image_id), view_url(project.id, image_id)

    return picture


def draw(section: Mapping[str, Any], picture: Picture) -> str:
    """A line and, opened, the pairs; nothing for a section without any. `picture` gives the addresses of a picture's two copies."""
    leaks = section.get("leaks") or []
    if not leaks:
        return ""
    names = [str(row["name"]) for row in section.get("per_class", [])]
    pairs = "".join(_pair(leak, names, picture) for leak in leaks[:SHOWN])
    more = f'<p class="hint">and {len(leaks) - SHOWN:,} more</p>' if len(leaks) > SHOWN else ""
    summary = f"{html.icon('triangle-alert')}<span>{_words(section, leaks)}</span>{html.icon('chevron-down')}"
    return f'<details class="card leaks"><summary>{summary}</summary><div class="pairs-of">{pairs}</div>{more}</details>'


def _words(section: Mapping[str, Any], leaks: list[Any]) -> str:
    one = len(leaks) == 1
    words = f"{html.plural(len(leaks), 'test picture')} {'looks' if one else 'look'} like pictures it learned from"
    if {str(leak["test"]["image_id"]) for leak in leaks} & {str(row.get("image_id")) for row in section.get("images", [])}:
        return f"{words}: all there are, so the figure flatters. Add test pictures of other scenes."
    return f"{words}. The figure is told without {'it' if one else 'them'}."


def _pair(leak: Mapping[str, Any], names: list[str], picture: Picture) -> str:
    like = _shot(leak["like"], "Learned from", names, picture) if leak.get("like") else '<span class="gone">learned from before</span>'
    return (
        f'<figure class="leak">{_shot(leak["test"], "Test picture", names, picture)}{like}'
        f"<figcaption>{html.escape(_name(leak['test'], names))}</figcaption></figure>"
    )


def _name(row: Mapping[str, Any], names: list[str]) -> str:
    label = row.get("label", -1)
    return names[label] if isinstance(label, int) and 0 <= label < len(names) else ""


def _shot(row: Mapping[str, Any], what: str, names: list[str], picture: Picture) -> str:
    urls = picture(row)
    words = f"{what}: {_name(row, names)}"
    if urls is None:
        return f'<span class="gone">{html.icon("image", 20)}no longer in the project</span>'
    return (
        f'<button type="button" data-do="look" data-src="{html.escape(urls[1])}" data-words="{html.escape(words)}" '
        f'aria-label="{html.escape(words)}"><img src="{html.escape(urls[0])}" alt="" loading="lazy"></button>'
    )
