"""The Images tab's second view: all pictures of one class, a page at a time, with many chosen at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from blocklora.projects.records import TEST, TRAINING
from blocklora.ui import apart, html
from blocklora.ui.class_cards import _json, names
from blocklora.ui.routes import thumb_url, view_url

if TYPE_CHECKING:
    from blocklora.projects.project import Project
    from blocklora.projects.records import ImageInfo

SHOTS = 60  # pictures on a page


@dataclass(frozen=True)
class Gallery:
    """Which pictures are shown."""

    class_id: str
    page: int = 0
    part: str = TRAINING

    def to_view(self) -> dict[str, object]:
        return {"at": "gallery", "class": self.class_id, "page": self.page, "part": self.part}


def draw(project: Project, gallery: Gallery) -> str:
    """A page of a class's pictures, newest first; empty when the class is no longer there."""
    classes = project.classes()
    other = project.something_else()
    info = next((c for c in (*classes, other) if c.id == gallery.class_id), None)
    if info is None:
        return ""
    part = TEST if gallery.part == TEST and info.id != other.id else TRAINING
    page = project.images(info.id, gallery.page, SHOTS, part=part)
    shots = "".join(_shot(project.id, image) for image in page.items)
    own = {"data_id": info.id, "data_name": info.name, "data_part": part}
    what = "test picture" if part == TEST else "picture"
    select = html.local_button("Select page", "select-page", kind="quiet", icon_name="square-check") if page.items else ""
    empty = (
        ""
        if page.items
        else f'<p class="nothing">{html.icon("image", 18)} No {what}s {"in this class" if info is not other else "here"} yet.</p>'
    )
    return (
        f'<div class="images gallery" data-view="{html.escape(_json(Gallery(info.id, page.page, part).to_view()))}" '
        f'data-classes="{html.escape(_json(names(classes)))}" data-drop="{html.escape(info.id)}" data-name="{html.escape(info.name)}"'
        f"{html.attrs(data_part=part or None, data_else=apart.choice(project) if info is not other else None)}>"
        f'<div class="toolbar">{html.button("Classes", "cards", kind="quiet", icon_name="arrow-left")}'
        f'<h2>{html.escape(info.name)}</h2><span class="count">{html.plural(page.total, what)}</span>'
        f"<div class='tools'>{select}{html.local_button('Add', 'add-files', icon_name='upload', **own)}</div></div>{empty}"
        f'<div class="shots" role="group" aria-label="{what.capitalize()}s of {html.escape(info.name)}">{shots}</div>'
        f'<div class="choice" role="toolbar" aria-label="Chosen pictures" hidden><span class="n"></span>'
        f"{html.local_button('Move to…', 'move-chosen', icon_name='move')}"
        f"{'' if info is other else _other_part(part)}"
        f"{html.local_button('Delete', 'delete-chosen', kind='danger', icon_name='trash-2')}"
        f"{html.icon_button('Clear the choice', 'x', do='clear-chosen', kind='quiet')}</div>"
        f"{html.pager(page.page, page.pages, 'gallery', data_class=info.id, data_part=part or None)}</div>"
    )


def _other_part(part: str) -> str:
    """The button that takes the chosen pictures to the other part of their class."""
    if part == TEST:
        return html.local_button("Learn from these", "part-chosen", icon_name="images", data_part=TRAINING)
    return html.local_button("Test with these", "part-chosen", icon_name="target", data_part=TEST)


def _shot(project_id: str, image: ImageInfo) -> str:
    key, name, facts = html.escape(image.id), html.escape(image.original_name), f"{image.original_name} · {image.width} × {image.height}"
    look = html.icon_button(
        f"Look at {image.original_name}", "maximize-2", do="look", kind="over", data_src=view_url(project_id, image.id), data_words=facts
    )
    return (
        f'<div class="shot" data-key="{key}">'
        f'<button type="button" role="checkbox" aria-checked="false" aria-label="{name}" data-do="choose" data-id="{key}">'
        f'<img src="{thumb_url(project_id, image.id)}" alt="" loading="lazy" decoding="async" title="{html.escape(facts)}">'
        f'<span class="tick">{html.icon("check", 13)}</span></button>{look}</div>'
    )
