"""The Export tab: the current run's ONNX file, made, checked and handed over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blocklora.errors import JobError, StudioError
from blocklora.projects.names import slug
from blocklora.services.exported import BUNDLE, VARIANTS, exported, made, precisions
from blocklora.ui import export_forms, export_view, forms, html
from blocklora.ui.forms import Act
from blocklora.ui.predict_tab import model_words
from blocklora.ui.tab import Context, Refresh, Tab, needs_project
from blocklora.ui.train_view import LOG_LINES

if TYPE_CHECKING:
    import gradio as gr

    from blocklora.jobs.run_folder import RunFolder
    from blocklora.projects.project import Project
    from blocklora.services.studio import Studio

Update = dict[Any, Any]


@dataclass(frozen=True)
class ExportTab:
    """The handlers of the tab's one room."""

    ctx: Context
    room: gr.HTML

    @property
    def studio(self) -> Studio:
        return self.ctx.studio

    def show(self, project: Project | None) -> Update:
        """The tab as it is now."""
        return {
            self.room: needs_project("An export is made of a project's trained model.", "package")
            if project is None
            else self.draw(project)
        }

    def tick(self, values: Update) -> Update:
        """An export that goes on, here or in another page."""
        try:
            project = self.ctx.maybe_project(values.get(self.ctx.project))
            return {} if project is None else {self.room: self.draw(project)}
        except StudioError:  # the project is gone; the sidebar says so
            return {}

    def draw(self, project: Project) -> str:
        """What there is: nothing to export, nothing exported, work under way, a failure, a file."""
        run = self.studio.finished_run(project)
        if run is None:
            text = "An export is made of a trained model. Train once; the file is then made by itself."
            return html.empty_state("Nothing to export yet", text, html.tab_button("Go to Train", "train"), "package")
        status, found = self.studio.status(run.path), exported(run)
        busy = status.exporting
        parts = [export_view.working(status)] if status.export == "running" else []
        parts += [export_forms.making(status.making)] if status.making is not None else []
        if status.export == "failed":
            parts.append(export_view.failure(status, run.log_tail(LOG_LINES)))
        if found is not None:
            parts += [self._ready(project, run, busy), self._forms(project, run, busy), export_view.snippets(project.name)]
        elif not parts:
            return export_view.nothing_yet()
        return f'<div class="export">{"".join(parts)}<p class="small-print">{html.escape(model_words(run))}</p></div>'

    def _ready(self, project: Project, run: RunFolder, busy: bool) -> str:
        found = exported(run)
        assert found is not None
        filename = f"{slug(project.name)}.onnx"
        return export_view.ready(found, self.ctx.downloads.offer(found.path, filename), busy, self.ctx.local)

    def _forms(self, project: Project, run: RunFolder, busy: bool) -> str:
        """What is made of the file: the zip, smaller files, other forms; and names that were changed since."""
        name, offer = slug(project.name), self.ctx.downloads.offer
        names = export_forms.renamed(self.studio.renamed(project, run), busy)
        bundle = export_forms.bundle(made(run, BUNDLE), name, offer, busy)
        smaller = export_forms.smaller(precisions(run), made(run, VARIANTS), name, offer, busy)
        others = export_forms.others({form: made(run, form) for form in export_forms.HINTS}, name, offer, busy)
        return f'{names}<div class="two forms">{bundle}{smaller}</div>{others}'

    def answer(self, act: Act, values: Update) -> Update:
        """A press in the tab."""
        project = self.ctx.open_project(values)
        run = self.studio.finished_run(project)
        if run is None:
            raise JobError("there is nothing to export yet.", "Train first.")
        if act.name == "export":
            self.studio.start_export(run)
        elif act.name == "make":
            self.studio.start_form(run, act.text("form"))
        elif act.name == "cancel":
            self.studio.cancel(run.path)
        else:
            raise ValueError(f"the Export tab knows no act {act.name!r}")
        return {self.room: self.draw(project)}


def build(ctx: Context) -> Refresh:
    """The tab's one room and its events."""
    room = forms.stage("export")
    tab = ExportTab(ctx, room)
    ctx.on_act(room, tab.answer, outputs=[room], trigger_mode="once")
    return Refresh(tab.show, [room], tab.tick, moves=(room,))


TAB = Tab("export", "Export", build)
