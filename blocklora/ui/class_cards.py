"""The Images tab's first view: a card a class, a page of them at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from blocklora.services.runs import MIN_IMAGES
from blocklora.ui import apart, html
from blocklora.ui.routes import thumb_url

if TYPE_CHECKING:
    from blocklora.projects.project import Project
    from blocklora.projects.records import ClassInfo, ImageInfo

CARDS = 24  # cards on a page
STRIP = 8  # thumbnails on a card


@dataclass(frozen=True)
class Cards:
    """Which cards are shown: a page, of the classes whose names hold `find`."""

    page: int = 0
    find: str = ""

    def to_view(self) -> dict[str, object]:
        return {"at": "cards", "page": self.page, "find": self.find}


def draw(project: Project, cards: Cards) -> str:
    """The page of class cards, with what stands above and below them."""
    classes = project.classes()
    if not classes:
        return _no_classes()
    key = cards.find.casefold().strip()
    fitting = [info for info in classes if key in info.name.casefold()]
    pages = max(1, -(-len(fitting) // CARDS))
    page = min(cards.page, pages - 1)
    shown = fitting[page * CARDS : (page + 1) * CARDS]
    body = "".join(_card(project, info) for info in shown)
    view = Cards(page, cards.find).to_view()
    return (
        f'<div class="images" data-view="{html.escape(_json(view))}" data-classes="{html.escape(_json(names(classes)))}"'
        f"{html.attrs(data_else=apart.choice(project))}>"
        f"{_toolbar(classes, cards.find)}"
        f'<div class="cards">{body}{_new_card(project.id) if not key else ""}</div>'
        f"{'' if fitting else _nothing_fits(cards.find)}"
        f"{html.pager(page, pages, 'cards')}{'' if key else apart.draw(project, classes)}</div>"
    )


def names(classes: list[ClassInfo]) -> list[tuple[str, str, int]]:
    """What the page needs to let the person choose a class: id, name, count."""
    return [(info.id, info.name, info.count) for info in classes]


def _json(value: object) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)


def _toolbar(classes: list[ClassInfo], find: str) -> str:
    images = sum(info.count for info in classes)
    search = ""
    if len(classes) > CARDS or find:
        search = (
            f'<label class="search">{html.icon("search", 15)}<input type="search" data-change="find" value="{html.escape(find)}" '
            'placeholder="Find a class" aria-label="Find a class"></label>'
        )
    return (
        f'<div class="toolbar"><p class="sum"><b>{html.plural(len(classes), "class", "classes")}</b>'
        f"<span>{html.plural(images, 'picture')}</span></p>{search}"
        '<div class="tools">'
        f"{html.local_button('Import', 'import-menu', icon_name='import')}"
        f"{html.local_button('New class', 'new-class', icon_name='plus')}</div></div>"
    )


def _card(project: Project, info: ClassInfo) -> str:
    images = project.images(info.id, 0, STRIP).items if info.count else []
    few = info.count < MIN_IMAGES
    words = html.plural(info.count, "picture") + (f", needs {MIN_IMAGES}" if few else "")
    name, key = html.escape(info.name), html.escape(info.id)
    own = {"data_id": info.id, "data_name": info.name}
    return (
        f'<article class="class-card" data-drop="{key}" data-name="{name}" data-key="{key}">'
        f'<header><input class="name" data-change="rename" data-id="{key}" value="{name}" maxlength="200" aria-label="Class name" '
        f'spellcheck="false"><span class="count{" few" if few else ""}">{words}</span>'
        f"{html.icon_button(f'More for {info.name}', 'ellipsis', do='class-menu', kind='quiet', **own)}"
        f"</header>{_strip(project.id, info, images)}<footer>"
        f"{html.local_button('Add', 'add-files', kind='quiet', icon_name='upload', **own)}"
        f"{html.icon_button(f'Take pictures for {info.name}', 'camera', do='camera', kind='quiet', **own)}"
        f"{html.icon_button(f'Paste a picture into {info.name}', 'clipboard-paste', do='paste', kind='quiet', **own)}"
        f"{html.button('View all', 'gallery', kind='quiet end', icon_name='', data_class=info.id) if images else ''}</footer></article>"
    )


def _strip(project_id: str, info: ClassInfo, images: list[ImageInfo]) -> str:
    if not images:
        return html.local_button("Drop or choose pictures", "add-files", kind="strip none", icon_name="image", data_id=info.id)
    cells = "".join(f'<img src="{thumb_url(project_id, image.id)}" alt="" loading="lazy" decoding="async">' for image in images)
    more = info.count - len(images)
    rest = f'<span class="more">+{more:,}</span>' if more > 0 else ""
    about = html.attrs(class_="strip", data_act="gallery", data_class=info.id, aria_label=f"View all of {info.name}")
    return f'<button type="button"{about}>{cells}{rest}</button>'


def _new_card(project_id: str) -> str:
    return (
        '<article class="class-card new" data-drop="?"><form data-act="add-class">'
        f'<input name="name" data-project="{html.escape(project_id)}" placeholder="New class" aria-label="Name of a new class" '
        'maxlength="200" autocomplete="off" required>'
        f'<button class="b" type="submit">Add</button></form>'
        f"<p>{html.icon('image', 18)}<span>or drop pictures here and choose their class</span></p></article>"
    )


def _no_classes() -> str:
    view = html.escape(_json(Cards().to_view()))
    add = html.local_button("Add a class", "new-class", kind="primary", icon_name="plus")
    other = html.local_button("import a zip, a folder or a table", "import-menu", kind="link")
    return (
        f'<div class="images start" data-view="{view}" data-classes="[]" data-drop="?">'
        f"{html.icon('images', 30)}<h2>Start with a few pictures of each thing</h2>"
        "<p>A class is one thing to tell apart from the others. Drop pictures anywhere here, or a zip with a folder for each class.</p>"
        f'{add}<p class="or">or {other}</p></div>'
    )


def _nothing_fits(find: str) -> str:
    return f'<p class="nothing">No class has “{html.escape(find)}” in its name.</p>'
