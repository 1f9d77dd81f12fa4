"""The data check in the Images tab: one line, and behind it what was found, each finding with its pictures and ways out of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blocklora.errors import ProjectError, StudioError
from blocklora.projects.kept import APART, RIGHT
from blocklora.services.data_check import FEW, Found, Suspect, look
from blocklora.ui import html
from blocklora.ui.forms import Act, notice
from blocklora.ui.routes import thumb_url, view_url
from blocklora.ui.tab import Context
from blocklora.ui.train_form import TrainForm

if TYPE_CHECKING:
    import gradio as gr

    from blocklora.projects.project import Project
    from blocklora.projects.records import ClassInfo, ImageInfo

Update = dict[Any, Any]
SHOWN = 12  # findings of a kind at once, and pictures of a group; the others come up as these are dealt with
POOR = {
    "blurry": "is blurred",
    "dark": "is too dark to see much",
    "washed out": "is overexposed",
    "tiny": "is tiny",
}


@dataclass(frozen=True)
class CheckPanel:
    """The handlers. `room` is the check's own component, `stage` the tab's, drawn again by `redraw` where pictures have moved."""

    ctx: Context
    room: gr.HTML
    stage: gr.HTML
    redraw: Callable[[Project, Act], str]

    def show(self, project: Project | None) -> Update:
        """The check as the tab opens; brings it up to date in the background."""
        return {self.room: "" if project is None else self.draw(project)}

    def draw(self, project: Project) -> str:
        backbone = TrainForm.kept(project).backbone
        self.ctx.studio.preview(project, backbone)  # whose process looks at the pictures
        found = look(project, backbone, self.ctx.studio.finished_run(project))
        return draw(project, found)

    def tick(self, values: Update) -> Update:
        """The check anew where something was found or dealt with elsewhere. What is the same stays: a person may be in it."""
        try:
            project = self.ctx.maybe_project(values.get(self.ctx.project))
        except StudioError:  # the project is gone; the sidebar says so
            return {}
        if project is None:
            return {}
        drawn = self.draw(project)
        return {} if drawn == str(values.get(self.room) or "") else {self.room: drawn}

    def answer(self, act: Act, values: Update) -> Update:
        """One press: keep, move or delete; then the check and the tab anew."""
        project, ids = self.ctx.open_project(values), act.texts("ids")
        if act.name == "keep":
            token = project.keep_images(ids, RIGHT)
        elif act.name == "move":
            token = project.move_images(ids, act.text("to") or project.add_class(act.text("create")))
        elif act.name == "delete":
            token = project.delete_images(ids)
        elif act.name == "keep-group":
            token = project.keep_images(self._group_of(project, act), APART)
        elif act.name == "keep-one":
            token = project.delete_images([other for other in self._group_of(project, act) if other != act.text("id")])
        else:
            raise ValueError(f"the data check knows no act {act.name!r}")
        words = next((entry.words for entry in project.undoable() if entry.token == token), "Done.")
        undo = html.button("Undo", "undo", kind="quiet", data_to="images", data_token=token, data_project=project.id)
        drawn: Update = {self.room: self.draw(project), self.ctx.notice: notice(words, action=undo)}
        if act.name in ("keep", "keep-group"):
            return drawn
        return drawn | {self.stage: self.redraw(project, act), self.ctx.rail: self.ctx.draw_rail(project.id)}

    def _group_of(self, project: Project, act: Act) -> list[str]:
        """The pictures that look like the one that was pressed, itself too; a page does not name them, since they may be thousands.

        Raises:
            ProjectError: they are not those any more that the person saw.
        """
        seen = look(project, TrainForm.kept(project).backbone, self.ctx.studio.finished_run(project))
        for group in seen.alike if seen is not None else ():
            ids = [image.id for image in group]
            if act.text("id") in ids and len(ids) == act.number("count"):
                return ids
        raise ProjectError(
            "These pictures are not the same any more as when they were shown.", "Look at them once more; nothing was changed."
        )


def build(ctx: Context, room: gr.HTML, stage: gr.HTML, redraw: Callable[[Project, Act], str]) -> CheckPanel:
    """The check's events."""
    panel = CheckPanel(ctx, room, stage, redraw)
    ctx.on_act(room, panel.answer, outputs=[room, stage, ctx.rail], trigger_mode="multiple")
    return panel


# ---- drawing


def draw(project: Project, found: Found | None) -> str:
    """The line, and the fold behind it where there is something to mend; '' before anything was looked at."""
    if found is None:
        return ""
    if found.n == 0:
        return _line("looking at the pictures…", "loader-circle")
    if found.nothing:
        return _line(f"nothing to mend in {html.plural(found.n, 'picture')}.", "circle-check")
    names = {info.id: info.name for info in project.classes()}
    parts = (
        _section("May be in the wrong class", _suspects(project, found.suspects), len(found.suspects)),
        _section("Look alike", [_group(project, group, names) for group in found.alike[:SHOWN]], len(found.alike), kind="groups"),
        _section("Unlike everything else here", [_far(project, image, names) for image in found.far[:SHOWN]], len(found.far)),
        _section("Hard to see", [_poor(project, image, kind, names) for image, kind in found.poor[:SHOWN]], len(found.poor)),
        _counts(found),
    )
    return (
        f'<details class="check" data-keep="check"><summary>{html.icon("list")}<b>Data check:</b> '
        f"<span>{html.escape(summary(found))}</span>{html.icon('chevron-down', 14)}</summary>{''.join(parts)}</details>"
    )


def _line(words: str, icon: str) -> str:
    return f'<p class="check-line">{html.icon(icon)}<b>Data check:</b> <span>{html.escape(words)}</span></p>'


def summary(found: Found) -> str:
    """What was found, in one line of words."""
    alike, poor = sum(len(group) for group in found.alike), len(found.poor)
    small = len(found.few) + len(found.uneven)
    parts = [
        f"{html.plural(len(found.suspects), 'picture')} may be in the wrong class" if found.suspects else "",
        f"{alike} look alike" if alike else "",
        f"{len(found.far)} {'is' if len(found.far) == 1 else 'are'} unlike everything else" if found.far else "",
        f"{poor} {'is' if poor == 1 else 'are'} hard to see" if poor else "",
        f"{html.plural(small, 'class has', 'classes have')} few pictures" if small else "",
    ]
    return ", ".join(filter(None, parts))


def _section(title: str, findings: Sequence[str], count: int, kind: str = "") -> str:
    if not findings:
        return ""
    more = count - len(findings)
    rest = f'<p class="hint">{more:,} more after these.</p>' if more > 0 else ""
    return f'<section><h3>{html.escape(title)}</h3><ul class="findings {kind}">{"".join(findings)}</ul>{rest}</section>'


def _look(project: Project, image: ImageInfo, words: str) -> str:
    """A picture, small, that opens large."""
    return (
        f'<button type="button" class="seen"'
        f"{html.attrs(data_do='look', data_src=view_url(project.id, image.id), data_words=words, aria_label=f'Look at {words}')}>"
        f'<img src="{thumb_url(project.id, image.id)}" alt="" loading="lazy" decoding="async"></button>'
    )


def _finding(key: str, shown: str, words: str, buttons: Sequence[str]) -> str:
    """`words` is HTML."""
    ways = f'<div class="ways-out">{"".join(buttons)}</div>'
    return f'<li data-key="{html.escape(key)}">{shown}<div class="what"><p>{words}</p>{ways}</div></li>'


def _press(label: str, send: str, ids: Sequence[str], *, kind: str = "", icon: str = "", **data: Any) -> str:
    """A button that does something with pictures; see the script."""
    return html.local_button(label, "check-act", kind=kind, icon_name=icon, data_send=send, data_ids=list(ids), **data)


def _press_group(label: str, send: str, image: ImageInfo, count: int, *, icon: str = "", **data: Any) -> str:
    """A button that does something with all pictures that look like this one, of which there are `count`."""
    return html.local_button(label, "check-group", icon_name=icon, data_send=send, data_id=image.id, data_count=count, **data)


def _elsewhere(image: ImageInfo, label: str = "Another class…") -> str:
    return html.local_button(label, "check-move", icon_name="move", data_ids=[image.id])


def _delete(image: ImageInfo) -> str:
    return _press("Delete", "delete", [image.id], kind="danger", icon="trash-2")


def _suspects(project: Project, suspects: Sequence[Suspect]) -> list[str]:
    rows = []
    for suspect in suspects[:SHOWN]:
        image, here, there = suspect.image, suspect.labelled.name, suspect.likelier.name
        words = f"In <b>{html.escape(here)}</b>, but looks more like <b>{html.escape(there)}</b>."
        words += " The trained model says so too." if suspect.confirmed else ""
        buttons = [
            _press(f"Move to {there}", "move", [image.id], kind="primary", icon="move", data_to_class=suspect.likelier.id),
            _elsewhere(image),
            _press("Keep, it’s right", "keep", [image.id], icon="check"),
            _delete(image),
        ]
        rows.append(_finding(image.id, _look(project, image, f"{image.original_name}, in {here}"), words, buttons))
    return rows


def _group(project: Project, group: Sequence[ImageInfo], names: dict[str, str]) -> str:
    """Pictures that look alike, the largest first, each with the way to keep it alone."""
    count = len(group)
    cells = []
    for image in group[:SHOWN]:
        name = names.get(image.class_id, "")
        words = f"Keep only {image.original_name} of {name}, delete {html.plural(count - 1, 'other')}"
        button = _press_group("Keep only this", "keep-one", image, count, data_key=image.id, aria_label=words, title=words)
        caption = f"<figcaption>{html.escape(name)}<small>{image.width} × {image.height}</small></figcaption>"
        cells.append(f"<figure>{_look(project, image, f'{image.original_name}, in {name}')}{caption}{button}</figure>")
    apart = len({image.class_id for image in group}) > 1
    if count > SHOWN:  # nobody has so many copies; frames of a film, a burst, a scene from a tripod
        where = " They lie <b>in different classes</b>." if apart else ""
        words = f"{html.plural(count, 'picture')} that look nearly the same, as frames of a film do.{where} The {SHOWN} largest are shown."
    else:
        words = "The same picture, it seems, <b>in different classes</b>: one of them is wrong." if apart else "The same picture, it seems."
    keep = _press_group("Keep all", "keep-group", group[0], count, icon="check")
    return (
        f'<li data-key="{html.escape(group[0].id)}"><div class="row">{"".join(cells)}</div>'
        f'<div class="what"><p>{words}</p><div class="ways-out">{keep}</div></div></li>'
    )


def _far(project: Project, image: ImageInfo, names: dict[str, str]) -> str:
    name = names.get(image.class_id, "")
    words = f"In <b>{html.escape(name)}</b>, but like nothing else in this project."
    buttons = [_press("Keep, it’s right", "keep", [image.id], icon="check"), _elsewhere(image), _delete(image)]
    return _finding(image.id, _look(project, image, f"{image.original_name}, in {name}"), words, buttons)


def _poor(project: Project, image: ImageInfo, kind: str, names: dict[str, str]) -> str:
    name = names.get(image.class_id, "")
    words = f"A picture of <b>{html.escape(name)}</b> that {POOR.get(kind, 'is poor')}."
    words += f" It has {image.width} × {image.height} pixels." if kind == "tiny" else ""
    buttons = [_press("Keep, it’s right", "keep", [image.id], icon="check"), _delete(image)]
    return _finding(image.id, _look(project, image, f"{image.original_name}, in {name}"), words, buttons)


def _counts(found: Found) -> str:
    """Classes with too few pictures, and what more would bring."""

    def row(info: ClassInfo, words: str) -> str:
        add = html.local_button("Add", "add-files", kind="quiet", icon_name="upload", data_id=info.id, data_name=info.name)
        return f'<li data-key="{html.escape(info.id)}"><p><b>{html.escape(info.name)}</b> {html.escape(words)}</p>{add}</li>'

    few = [row(info, f"has {html.plural(info.count, 'picture')}.") for info in found.few[:SHOWN]]
    uneven = [
        row(info, f"has {html.plural(info.count, 'picture')}, the others have about {found.usual}: it will be overlooked more often.")
        for info in found.uneven[:SHOWN]
    ]
    advice = (
        f"With fewer than {FEW} pictures a class is learned from little, and nobody can tell well how good it is. "
        "Pictures from other sides, in other light and before other things help most."
    )
    hint = f'<p class="hint">{advice}</p>' if few else ""
    more = max(0, len(found.few) - SHOWN) + max(0, len(found.uneven) - SHOWN)
    rest = f'<p class="hint">{html.plural(more, "more class", "more classes")}.</p>' if more else ""
    if not few and not uneven:
        return ""
    return f'<section><h3>Few pictures</h3><ul class="counts">{"".join(few + uneven)}</ul>{rest}{hint}</section>'
