"""How the sidebar looks: name and mark, the list of projects; and what stands in the page while there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blocklora.ui import html

if TYPE_CHECKING:
    from blocklora.projects.library import ProjectInfo


def brand(local: bool) -> str:
    """Name and mark at the top of the sidebar, the switch between light and dark, and (on narrow screens) the way into the drawer."""
    sun, moon = html.icon("sun"), html.icon("moon")
    return (
        f'<div class="brand"{html.attrs(data_local=local)}>{html.icon_button("Projects", "menu", do="drawer", kind="quiet menu-button")}'
        '<img src="/studio/icon.svg" width="26" height="26" alt=""><span class="product">Block-LoRA Studio</span>'
        '<span class="open-name"></span>'
        '<button type="button" class="b icon quiet theme" data-do="theme" aria-label="Light or dark" title="Light or dark">'
        f'<span class="light">{moon}</span><span class="dark-mode">{sun}</span></button></div>'
    )


def draw(projects: list[ProjectInfo], current: str) -> str:
    """The list of projects, newest work first."""
    open_name = next((info.name for info in projects if info.id == current), "")
    rows = "".join(_row(info, info.id == current) for info in projects)
    none = '<p class="none">No projects yet.</p>' if not projects else ""
    return (
        f'<div class="rail" data-current="{html.escape(current)}" data-name="{html.escape(open_name)}" data-count="{len(projects)}">'
        '<div class="rail-head"><h2>Projects</h2>'
        f"{html.icon_button('Import a project archive', 'import', do='import-project', kind='quiet')}"
        f"{html.icon_button('New project', 'plus', do='new-project', kind='quiet')}</div>"
        f'<ul class="projects">{rows}</ul>{none}</div>'
    )


def _row(info: ProjectInfo, current: bool) -> str:
    name = html.escape(info.name)
    mark = ' aria-current="page"' if current else ""
    count = f'<span class="count">{info.n_images:,}</span>'
    if info.problem:
        about = html.attrs(class_="count problem", role="img", aria_label="cannot be opened", title=info.problem)
        count = f"<span{about}>{html.icon('triangle-alert', 15)}</span>"
    menu = html.icon_button(f"More for {info.name}", "ellipsis", do="project-menu", kind="quiet", data_id=info.id, data_name=info.name)
    return (
        f'<li class="{"current" if current else ""}">'
        f'<button type="button" class="open" data-act="open" data-id="{html.escape(info.id)}"{mark}>'
        f'<span class="name">{name}</span>{count}</button>{menu}</li>'
    )


def welcome() -> str:
    """The first run: three ways to begin."""
    cards = [
        ("sparkles", "Try the sample", "A small set of pictures, ready to train. Takes a few minutes.", "data-act", "sample"),
        ("folder-plus", "New project", "Start with your own classes and pictures.", "data-do", "new-project"),
        ("folder-open", "Open a project", "Pick one from the list, or import an archive.", "data-do", "open-project"),
    ]
    body = "".join(
        f'<button type="button" class="way" {kind}="{act}" data-to="rail">{html.icon(name, 22)}<b>{title}</b><span>{text}</span></button>'
        for name, title, text, kind, act in cards
    )
    return (
        '<div class="welcome"><img src="/studio/icon.svg" width="56" height="56" alt=""><h1>Teach a model your own pictures</h1>'
        "<p>Drop a few images per class, train on this machine, and take away one ONNX file. Nothing leaves your computer.</p>"
        f'<div class="ways">{body}</div></div>'
    )
