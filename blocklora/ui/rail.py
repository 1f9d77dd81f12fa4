"""The sidebar: which projects there are, which one is open, and what can be done with a project as a whole."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from blocklora.errors import JobError, ProjectError, StudioError
from blocklora.ui import html
from blocklora.ui.forms import Act, failure, notice
from blocklora.ui.sample import make_sample
from blocklora.ui.steps import follow
from blocklora.ui.tab import NO_PROJECT, Context
from blocklora.ui.train_form import TrainForm
from blocklora.ui.uploads import forget, scratch_folder, uploaded_file

if TYPE_CHECKING:
    from blocklora.projects.plans import Progress
    from blocklora.projects.project import Project
    from blocklora.projects.sources import Skipped
    from blocklora.services.studio import Studio

# What is said while work takes longer than a moment.
WAIT = {
    "sample": "Bringing the sample in…",
    "duplicate": "Copying the project…",
    "export": "Packing the project…",
    "import": "Looking through the archive…",
}

Step = Callable[[Act, str, "Progress"], tuple[str, str]]  # the project that it opens or "", and a toast or ""


@dataclass(frozen=True)
class Rail:
    """The handlers of the sidebar."""

    ctx: Context
    under_way: set[tuple[str, str]] = field(default_factory=set)
    """Long work that is being done: which, and about what."""
    lock: threading.Lock = field(default_factory=threading.Lock)

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
        current, wish = self.ctx.now_open(values) or NO_PROJECT, self.ctx.order.wish()
        with self._once(act):
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
        # Wishes are answered side by side, and some take long: one opens nothing where a later one has. Where nothing is opened, the list
        # is drawn for whichever project the page has by now.
        if chosen and self.ctx.opens(values, chosen, wish):
            drawn = {self.ctx.rail: self.ctx.draw_rail(chosen), self.ctx.project: chosen}
        else:
            drawn = {self.ctx.rail: self.ctx.draw_rail(self.ctx.now_open(values) or NO_PROJECT)}
        yield drawn | ({self.ctx.notice: toast} if toast else {})

    @contextmanager
    def _once(self, act: Act) -> Iterator[None]:
        """Long work, once at a time for each thing that it is about, which is not thrown away meanwhile.

        Raises:
            JobError: it is under way.
        """
        about = act.text("id") or act.text("file")
        work = (act.name, about)
        with self.lock:
            if act.name == "trash" and about in [thing for _, thing in self.under_way]:
                raise JobError("this project is being copied or packed.", "Wait until that is done, then delete it.")
            if work in self.under_way:
                raise JobError("this is under way already.", "It takes a moment.")
            if act.name in WAIT:
                self.under_way.add(work)
        try:
            yield
        finally:
            with self.lock:
                self.under_way.discard(work)

    def open(self, chosen: str, values: dict[Any, Any]) -> dict[Any, Any]:
        """The list with `chosen` open, in the page that these values are of."""
        self.ctx.opens(values, chosen)
        return {self.ctx.rail: self.ctx.draw_rail(chosen), self.ctx.project: chosen}

    def first_choice(self, wanted: str) -> str:
        """The project a page opens with: the one it asks for where it is there and can be opened, else the one worked on last."""
        known = [info.id for info in self.studio.library.list() if not info.problem]
        return wanted if wanted in known else known[0] if known else NO_PROJECT

    def first_open(self, wanted: str) -> tuple[str, Project | None, str]:
        """That project's id, the project, and a toast: what it needs and has not, or why the one that was asked for is not it."""
        chosen = self.first_choice(wanted)
        try:
            project = self.ctx.maybe_project(chosen)
        except StudioError as error:  # between two looks
            return NO_PROJECT, None, failure(error)
        broken = next((info for info in self.studio.library.list() if info.id == wanted and info.problem), None)
        if broken is not None:
            return chosen, project, notice(f"{broken.name} cannot be opened.", broken.problem, "danger")
        return chosen, project, "" if project is None else self.about(project)

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
        return "", ""

    def _duplicate(self, act: Act, current: str, progress: Progress) -> tuple[str, str]:
        copy = self.studio.library.duplicate(act.text("id"))
        return copy.id, notice(f"{copy.name} is the copy.")

    def _trash(self, act: Act, current: str, progress: Progress) -> tuple[str, str]:
        project_id, name = act.text("id"), act.text("name")
        token = self.studio.trash_project(project_id)
        undo = html.button("Undo", "restore", kind="quiet", data_to="rail", data_token=str(token), data_id=project_id)
        chosen = self.first_choice("") if project_id == current else ""
        return chosen, notice(f"{name or 'The project'} is in the trash.", action=undo)

    def _restore(self, act: Act, current: str, progress: Progress) -> tuple[str, str]:
        try:
            project = self.studio.library.restore(act.text("token"))
        except ProjectError as error:  # one that cannot be opened is back all the same
            return "", failure(error)
        return project.id, notice(f"{project.name} is back.")

    def _export(self, act: Act, current: str, progress: Progress) -> tuple[str, str]:
        project = self.studio.library.open(act.text("id"))
        target = scratch_folder("packed-") / "project.zip"
        self.studio.library.export_zip(project.id, target, progress)
        url = self.ctx.downloads.offer(target, f"{project.name}.zip")
        save = f'<a class="b quiet" href="{html.escape(url)}" download data-save>Save</a>'
        return "", notice(f"{project.name} is packed.", "The download starts by itself.", action=save)

    def _import(self, act: Act, current: str, progress: Progress) -> tuple[str, str]:
        archive = uploaded_file(act.text("file"))
        skipped: list[Skipped] = []
        project = self.studio.library.import_zip(archive, progress, skipped)
        forget([archive])
        left = f"{html.plural(len(skipped), 'file')} left out, the first because: {skipped[0].reason}." if skipped else ""
        missing = self.studio.backbone_service.missing(TrainForm.kept(project).backbone)
        left = f"{left} {missing} The Train tab says how to bring it here.".strip() if missing else left
        return project.id, notice(f"{project.name} was imported.", left, "warn" if left else "accent")
