"""What stands under the class cards: pictures of something else, and the person's own test pictures. Neither is trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blocklora.projects.records import OTHER_ID, TEST
from blocklora.ui import html
from blocklora.ui.routes import thumb_url

if TYPE_CHECKING:
    from blocklora.projects.project import Project
    from blocklora.projects.records import ClassInfo

SHOWN = 6  # small pictures in a line
CHIPS = 12  # classes that the test pictures' line names; the rest is counted


def draw(project: Project, classes: list[ClassInfo]) -> str:
    """Both lines."""
    return f'<div class="aparts">{_something_else(project)}{_tests(classes)}</div>'


def choice(project: Project) -> list[str]:
    """What the page needs to offer "something else" beside the classes: id, name, and a word on it."""
    return [OTHER_ID, project.something_else().name, "none of the classes"]


def _something_else(project: Project) -> str:
    info = project.something_else()
    own, what = {"data_id": info.id, "data_name": info.name}, info.name.lower()
    count = html.plural(info.count, "picture") if info.count else "optional"
    images = project.images(info.id, 0, SHOWN).items if info.count else []
    small = "".join(f'<img src="{thumb_url(project.id, image.id)}" alt="" loading="lazy" decoding="async">' for image in images)
    look = html.button("View all", "gallery", kind="quiet", data_class=info.id) if info.count else ""
    return (
        f"<section{html.attrs(class_='apart', data_drop=info.id, data_name=info.name, aria_label=info.name)}>"
        f'<div class="words"><h3>{html.escape(info.name)} <span>{count}</span></h3>'
        "<p>Pictures of none of your classes, like an empty table. They show when to answer “none of these”, and are never trained on.</p>"
        f'</div><div class="few">{small}</div><div class="tools">{look}'
        f"{html.local_button('Add', 'add-files', kind='quiet', icon_name='upload', aria_label=f'Add pictures of {what}', **own)}"
        f"{html.icon_button(f'Take pictures of {what}', 'camera', do='camera', kind='quiet', **own)}"
        f"{html.icon_button(f'Paste a picture of {what}', 'clipboard-paste', do='paste', kind='quiet', **own)}</div></section>"
    )


def _tests(classes: list[ClassInfo]) -> str:
    total = sum(info.tests for info in classes)
    count = html.plural(total, "picture") if total else "optional"
    tested = [info for info in classes if info.tests]
    chips = "".join(
        f'<button type="button" class="b chip" data-act="gallery" data-class="{html.escape(info.id)}" data-part="{TEST}" '
        f'aria-label="{html.escape(f"Test pictures of {info.name}: {info.tests:,}")}">'
        f"<span>{html.escape(info.name)}</span><b>{info.tests:,}</b></button>"
        for info in tested[:CHIPS]
    )
    more = f'<span class="hint">and {len(tested) - CHIPS} more classes</span>' if len(tested) > CHIPS else ""
    without = [info.name for info in classes if not info.tests]
    gap = ""
    if total and without:
        listed = ", ".join(without[:3]) + (f" and {len(without) - 3} more" if len(without) > 3 else "")
        gap = f" None yet of {listed}."
    none = "" if total else "None yet. "
    return (
        f'<section class="apart" data-drop="?" data-part="{TEST}" aria-label="Test pictures"><div class="words">'
        f"<h3>Test pictures <span>{count}</span></h3>"
        f"<p>{none}They are never trained on, and give the most honest figure.{html.escape(gap)}</p></div>"
        f'<div class="chips">{chips}{more}</div><div class="tools">'
        f"{html.local_button('Import', 'import-menu', kind='quiet', icon_name='import', data_part=TEST, aria_label='Import test pictures')}"
        "</div></section>"
    )
