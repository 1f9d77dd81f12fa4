"""The sidebar: which projects there are, which one is open, and what can be done with a project as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blocklora.ui import html
from blocklora.ui.forms import Act, notice
from blocklora.ui.sample import make_sample
from blocklora.ui.steps import follow
from blocklora.ui.tab import NO_PROJECT, Context
from blocklora.ui.train_form import TrainForm
from blocklora.ui.uploads import forget, scratch_folder, uploaded_file

if TYPE_CHECKING:
    from blocklora.projects.library import ProjectInfo
    from blocklora.projects.plans import Progress
    from blocklora.projects.project import Project
    from blocklora.projects.sources import Skipped
    from blocklora.services.studio import Studio


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
    menu = html.icon_button(f"More for {info.name}", "ellipsis", do="project-menu", kind="quiet", data_id=info.id, data_name=info.name)
    return (
        f'<li class="{"current" if current else ""}">'
        f'<button type="button" class="open" data-act="open" data-id="{html.escape(info.id)}"{mark}>'
        f'<span class="name">{name}</span><span class="count">{info.n_images:,}</span></button>{menu}</li>'
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


# What is said while work takes longer than a moment.
WAIT = {
    "sample": "Bringing the sample in…",
    "duplicate": "Copying the project…",
    "export": "Packing the project…",
    "import": "Looking through the archive…",
}

Step = Callable[[Act, str, "Progress"], tuple[str, str]]  # what it opens, and a toast or ""


@dataclass(frozen=True)
class Rail:
    """The handlers of the sidebar."""

    ctx: Context

    @property
    def studio(self) -> Studio:
        return self.ctx.studio

    def answer(self, act: Act, values: dict[Any, Any]) -> Iterator[dict[Any, Any]]:
        """One press in the sidebar: what it does, then the new list (and the newly open project). Long work says so meanwhile."""
        steps: dict[str, Step] = {
            "open": self._open,
            "new": self._new,
            "sample": self._sample,
            "rename": self._rename,
            "duplicate": self._duplicate,
            "trash": self._trash,
            "restore": self._restore,
            "export": self._export,
            "import": self._import,
        }
        if act.name not in steps:
            raise ValueError(f"the sidebar knows no act {act.name!r}")
        current = str(values.get(self.ctx.project) or NO_PROJECT)
        work = follow(lambda progress: steps[act.name](act, current, progress))
        told = False
        while True:
            try:
                next(work)
            except StopIteration as stop:
                chosen, toast = stop.value
                break
            if not told and act.name in WAIT:
                told = True
                yield {self.ctx.notice: notice(WAIT[act.name])}
        yield self.show(chosen) | ({self.ctx.notice: toast} if toast else {}) | ({self.ctx.project: chosen} if chosen != current else {})

    def show(self, current: str) -> dict[Any, Any]:
        """The list with `current` open."""
        return {self.ctx.rail: draw(self.studio.library.list(), current)}

    def first_choice(self, wanted: str) -> str:
        """The project a page opens with: the one it asks for where it is there, else the one worked on last."""
        projects = self.studio.library.list()
        known = [info.id for info in projects]
        return wanted if wanted in known else known[0] if known else NO_PROJECT

    def _open(self, act: Act, current: str, progress: Progress) -> tuple[str, str]:
        project = self.studio.library.open(act.text("id"))
        return project.id, self.about(project)

    def about(self, project: Project) -> str:
        """A toast on what a project needs and this machine has not: its backbone; '' where all is there."""
        missing = self.studio.backbone_service.missing(TrainForm.kept(project).backbone)
        if not missing:
            return ""
        return notice(f"{missing} {project.name} needs it for training.", "The Train tab says how to bring it here.", "warn")

    def _new(self, act: Act, current: str, progress: Progress) -> tuple[str, str]:
        return self.studio.library.create(act.text("name")).id, ""

    def _sample(self, act: Act, current: str, progress: Progress) -> tuple[str, str]:
        project = make_sample(self.studio)
        return project.id, notice("The sample is ready.", "Look through the pictures, then open Train.", "accent")

    def _rename(self, act: Act, current: str, progress: Progress) -> tuple[str, str]:
        self.studio.library.rename(act.text("id"), act.text("name"))
        return current, ""

    def _duplicate(self, act: Act, current: str, progress: Progress) -> tuple[str, str]:
        copy = self.studio.library.duplicate(act.text("id"))
        return copy.id, notice(f"This is the copy: {copy.name}.")

    def _trash(self, act: Act, current: str, progress: Progress) -> tuple[str, str]:
        project_id, name = act.text("id"), act.text("name")
        token = self.studio.trash_project(project_id)
        undo = html.button("Undo", "restore", kind="quiet", data_to="rail", data_token=str(token), data_id=project_id)
        chosen = self.first_choice("" if project_id == current else current)
        return chosen, notice(f"{name or 'The project'} is in the trash.", action=undo)

    def _restore(self, act: Act, current: str, progress: Progress) -> tuple[str, str]:
        project = self.studio.library.restore(act.text("token"))
        return project.id, notice(f"{project.name} is back.")

    def _export(self, act: Act, current: str, progress: Progress) -> tuple[str, str]:
        project = self.studio.library.open(act.text("id"))
        target = scratch_folder("packed-") / "project.zip"
        self.studio.library.export_zip(project.id, target, progress)
        url = self.ctx.downloads.offer(target, f"{project.name}.zip")
        save = f'<a class="b quiet" href="{html.escape(url)}" download data-save>Save</a>'
        return current, notice(f"{project.name} is packed.", "The download starts by itself.", action=save)

    def _import(self, act: Act, current: str, progress: Progress) -> tuple[str, str]:
        archive = uploaded_file(act.text("file"))
        skipped: list[Skipped] = []
        project = self.studio.library.import_zip(archive, progress, skipped)
        forget([archive])
        left = f"{html.plural(len(skipped), 'file')} left out, the first because: {skipped[0].reason}." if skipped else ""
        missing = self.studio.backbone_service.missing(TrainForm.kept(project).backbone)
        left = f"{left} {missing} The Train tab says how to bring it here.".strip() if missing else left
        return project.id, notice(f"{project.name} was imported.", left, "warn" if left else "accent")
