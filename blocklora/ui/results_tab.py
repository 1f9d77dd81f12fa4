"""The Results tab: which run is shown and what a press does; results_view and run_list draw."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blocklora.errors import JobError
from blocklora.services import results
from blocklora.services.showing import run_of, run_to_watch
from blocklora.ui import (
    forms,
    html,
    leaks_view,
    mend,
    next_card,
    reject_room,
    report,
    results_headline,
    results_more,
    results_view,
    run_compare,
    run_list,
    run_notes,
    why,
)
from blocklora.ui.forms import Act, notice
from blocklora.ui.results_view import View
from blocklora.ui.tab import Context, Refresh, Tab, needs_project

if TYPE_CHECKING:
    import gradio as gr

    from blocklora.jobs.run_folder import RunFolder
    from blocklora.projects.project import Project
    from blocklora.services.studio import Studio

Update = dict[Any, Any]


@dataclass(frozen=True)
class ResultsTab:
    """The handlers. Where the person is travels with each press."""

    ctx: Context
    room: gr.HTML
    compared: run_compare.CompareRoom | None = None

    @property
    def studio(self) -> Studio:
        return self.ctx.studio

    def show(self, project: Project | None) -> Update:
        """The tab as it first opens."""
        if project is None:
            return {self.room: needs_project("Results belong to a project that was trained.", "chart-line")} | self._compared(None)
        return {self.room: self.draw(project, View())} | self._compared(project)

    def _compared(self, project: Project | None) -> Update:
        return {} if self.compared is None else self.compared.show(project)

    def draw(self, project: Project, view: View) -> str:
        """The current run's result, and all runs."""
        run = self.studio.finished_run(project)
        result = None if run is None else run.result()
        titles = {info.name: info.title for info in self.studio.backbones()}
        listed = run_list.draw(self.studio.runs(project), titles, "" if run is None else run.name, project.dataset().data_hash)
        if run is None or result is None:
            return f'<div class="results">{self._nothing(project)}{listed}</div>'
        changes, busy = self.studio.changes(project, run), self.studio.status(run.path).busy
        body = results_headline.headline(result, mend.again(changes, busy)) + _measured(project, run, result, view)
        body += next_card.draw(project, result)
        names = [(info.id, info.name, info.count) for info in project.classes()]
        state = html.attrs(data_view=json.dumps(view.to_dict()), data_run=run.name, data_classes=names)
        return f'<div class="results"{state}>{report.button()}{body}{listed}{_small_print(result)}</div>'

    def _shown(self, project: Project) -> RunFolder:
        """The run that the tab shows.

        Raises:
            JobError: there is none any more.
        """
        run = self.studio.finished_run(project)
        if run is None:
            raise JobError("There is no finished run any more.", "Train first.")
        return run

    def _nothing(self, project: Project) -> str:
        watched = run_to_watch(self.studio, project)
        if watched is not None and self.studio.status(watched.path).state in ("queued", "running"):
            text = "The result shows here as soon as the run is over. Train shows how far it is."
            return html.empty_state("Training goes on", text, html.tab_button("Watch it", "train"), "loader-circle")
        text = "Train once, and this shows how good it is, on images that training never saw."
        return html.empty_state("No result yet", text, html.tab_button("Go to Train", "train"), "chart-line")

    def answer(self, act: Act, values: Update) -> Update:
        """One press in the tab."""
        project = self.ctx.open_project(values)
        seen = act.data.get("view")
        view, toast = _view(seen if isinstance(seen, dict) else {}), ""
        if act.name == "page":
            view = View(act.number("page"), view.true, view.predicted)
        elif act.name == "cell":
            view = _view(act.data)
        elif act.name == "current":
            self.studio.make_current(project, act.text("run"))
            view, toast = View(), notice("This run is the current one now.", tone="accent")
        elif act.name == "delete":
            self.studio.delete_run(project, run_of(project, act.text("run")).path)
            view, toast = View(), notice("The run is deleted.")
        elif act.name == run_notes.ACT:
            toast = run_notes.keep(project, act)
        elif act.name == report.ACT:
            return {self.ctx.notice: report.save(self.ctx, project, self.studio.finished_run(project))}
        elif act.name in mend.ACTS:
            toast = mend.answer(self.studio, project, self._shown(project), act)
        else:
            raise ValueError(f"the Results tab knows no act {act.name!r}")
        changed = self._compared(project) if act.name in ("delete", run_notes.ACT) else {}
        return {self.room: self.draw(project, view)} | changed | ({self.ctx.notice: toast} if toast else {})


def _view(values: Mapping[str, Any]) -> View:
    """A view from what the page sent, which may be anything."""

    def number(name: str, default: int) -> int:
        try:
            return int(values.get(name, default))
        except (TypeError, ValueError):
            return default

    true, predicted = number("true", -1), number("predicted", -1)
    return View(max(0, number("page", 0)), true, predicted) if true >= 0 and predicted >= 0 else View(max(0, number("page", 0)))


def _measured(project: Project, run: RunFolder, result: Mapping[str, Any], view: View) -> str:
    """All about the images of the headline, then what else was measured."""
    found = results.headline(result)
    if not found.n:
        return results_more.more(result)
    section, classes = found.section, len(found.section.get("per_class", []))
    if view.true >= classes or view.predicted >= classes:  # the cell of another run
        view = View()
    leaks = leaks_view.draw(section, leaks_view.pictures(project))
    tables = f'{leaks}<div class="two">{results_view.per_class(section)}{results_view.confusion(section, view)}</div>'
    body = tables + results_view.gallery(section, view, mend.shots(project, result), more=why.of(run, section)) + results_more.more(result)
    held_out = result.get("held_out") or {}
    if found.kind == "test" and held_out.get("n"):
        words = f"Right on {results_headline.figure(held_out)}. {results.interval_words(held_out)}"
        lead = f'<p class="lead">{html.escape(words)}</p>'
        body += f'<h2 class="part">On the images held out in training</h2>{lead}{results_view.per_class(held_out)}'
    return body


def _small_print(result: Mapping[str, Any]) -> str:
    """How the run came about, for whoever asks."""
    facts = [
        f"{result.get('train_n', 0)} images to learn from",
        f"{result.get('steps', 0):,} steps planned, the best after {result.get('best_step', 0):,}",
        str(result.get("device", "")),
        str(result.get("precision", "")),
    ]
    if result.get("held_out", {}).get("since_trained_on"):
        facts.append("then trained anew on all of them and the held-out ones")
    if result.get("trainable_parameters"):
        size = result.get("adapter_bytes", 0) / 1000
        facts.append(f"{result['trainable_parameters']:,} trained parameters, adapter file {size:,.0f} KB")
    return f'<p class="small-print">{html.escape(" · ".join(filter(None, facts)))}</p>'


def build(ctx: Context) -> Refresh:
    """The tab's rooms and their events."""
    room = forms.stage("results")
    why.add(ctx)
    compared, refusing = run_compare.add(ctx), reject_room.build(ctx)
    tab = ResultsTab(ctx, room, compared)

    def answer(act: Act, values: Update) -> Update:
        drawn = tab.answer(act, values)
        return drawn | (refusing.show(ctx.open_project(values)) if act.name in ("current", "delete") else {})

    shown = [room, compared.room, *refusing.rooms]
    ctx.on_act(room, answer, outputs=shown, trigger_mode="multiple")
    return Refresh(lambda project: tab.show(project) | refusing.show(project), shown, refusing.tick, moves=(refusing.state,))


TAB = Tab("results", "Results", build)
