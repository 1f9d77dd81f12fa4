"""The Train tab: what a press does. The form is drawn by train_setup, everything that moves by train_view."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blocklora.errors import ConfigError, StudioError
from blocklora.jobs.devices import devices
from blocklora.presets import PRESET_TEXTS
from blocklora.services.showing import run_of, run_to_watch
from blocklora.services.studio import duration
from blocklora.ui import forms, html, train_setup, train_view
from blocklora.ui.forms import Act, notice
from blocklora.ui.tab import Context, Refresh, Tab, needs_project
from blocklora.ui.train_form import TrainForm
from blocklora.ui.train_setup import Offer, download_note
from blocklora.ui.train_view import LOG_LINES, Now, Shown

if TYPE_CHECKING:
    from pathlib import Path

    import gradio as gr

    from blocklora.jobs.run_folder import RunFolder
    from blocklora.projects.project import Project
    from blocklora.services.studio import Studio

Update = dict[Any, Any]


@dataclass(frozen=True)
class TrainTab:
    """The handlers. `now` and `go` (estimate and button) move with the timer, `form` is drawn only when something was chosen.

    A tick must not draw the form: its answer may come after that of a later choice, and would take the choice back.
    """

    ctx: Context
    now: gr.HTML
    form: gr.HTML
    go: gr.HTML

    @property
    def studio(self) -> Studio:
        return self.ctx.studio

    # ---- showing

    def show(self, project: Project | None) -> Update:
        """The whole tab."""
        if project is None:
            return {
                self.now: needs_project("Training needs pictures, and pictures live in a project.", "gauge"),
                self.form: "",
                self.go: "",
            }
        form = TrainForm.kept(project)
        return {self.now: self._draw_now(project), self.form: self._draw_form(project, form), self.go: self._draw_go(project, form)}

    def tick(self, values: Update) -> Update:
        """What moves by itself: runs, the queue, and whether training can start."""
        try:
            project = self.ctx.maybe_project(values.get(self.ctx.project))
            if project is None:
                return {}
            form = TrainForm.kept(project)
            return {self.now: self._draw_now(project), self.go: self._draw_go(project, form)}
        except StudioError:  # the project is gone; the sidebar says so
            return {}

    def _draw_now(self, project: Project) -> str:
        run = run_to_watch(self.studio, project)
        return train_view.draw(Now(None if run is None else self._shown(run), self.studio.queue(), project.id))

    def _shown(self, run: RunFolder) -> Shown:
        spec, status = run.spec(), self.studio.status(run.path)
        preset = str(spec["training"]["preset"])
        title = next((text.title for text in PRESET_TEXTS if text.name == preset), preset)
        result = (run.result() or {}) if status.state == "finished" else {}
        return Shown(
            id=run.name,
            title=f"{title} run with {self._backbone_title(str(spec['backbone']))}",
            status=status,
            requested=(run.requested() or "") if status.busy else "",
            log=run.log_tail(LOG_LINES),
            verdict=str(result.get("verdict", "")),
            checkpoint=run.checkpoint_path.exists(),
        )

    def _backbone_title(self, name: str) -> str:
        return next((info.title for info in self.studio.backbones() if info.name == name), name)

    def _draw_form(self, project: Project, form: TrainForm) -> str:
        own = self.studio.preset(project, form.preset, form.backbone)
        return train_setup.draw(project.id, form, Offer(self.studio.backbones(), devices(), self._times(project, form), own))

    def _times(self, project: Project, form: TrainForm) -> dict[str, str]:
        return {text.name: self._time(project, form, text.name) for text in PRESET_TEXTS}

    def _time(self, project: Project, form: TrainForm, preset: str) -> str:
        """How long a preset would take here, in a few words; '' while nobody knows."""
        try:
            config = TrainForm(preset, form.backbone, form.fields).training(self.studio, project)
        except ConfigError:
            return ""
        seconds = self.studio.estimate(project, config, form.backbone).seconds
        return "" if seconds is None else f"about {duration(seconds)}"

    def _draw_go(self, project: Project, form: TrainForm) -> str:
        """Estimate and button, with the length of each recipe in `data-times`: the page writes them into the form."""
        ready, words, buttons = self._offer_start(project, form)
        times = html.escape(json.dumps(self._times(project, form)))
        mark = "" if ready else ' data-ready="no"'
        return f'<div class="go"{mark} data-times="{times}"><div class="words">{words}</div>{buttons}</div>'

    def _offer_start(self, project: Project, form: TrainForm) -> tuple[bool, str, str]:
        """Whether this project has what training needs, the words beside the button, and the button (with the way on where it cannot)."""
        off = html.button("Train", "start", kind="primary", icon_name="play", disabled=True)
        if reasons := self.studio.not_ready(project):
            return False, "".join(f"<p>{html.escape(reason)}</p>" for reason in reasons), off + html.tab_button("Add images", "images")
        try:
            config = form.training(self.studio, project)
            form.adapter()
        except ConfigError as error:
            words = f'<p class="wrong" role="alert">{html.escape(error.message)}</p><p class="hint">{html.escape(error.advice)}</p>'
            return True, words, off
        watched = run_to_watch(self.studio, project)
        busy = watched is not None and self.studio.status(watched.path).state in ("running", "queued")
        info = next((info for info in self.studio.backbones() if info.name == form.backbone), None)
        hints = ["It will wait until the run above is over."] if busy else []
        hints += [note] if (note := download_note(info)) else []
        words = f"<p>{html.escape(self.studio.estimate(project, config, form.backbone).words)}</p>"
        words += "".join(f'<p class="hint">{html.escape(hint)}</p>' for hint in hints)
        button = html.local_button("Train another" if busy else "Train", "train", kind="" if busy else "primary", icon_name="play")
        return True, words, button

    # ---- what a press does

    def draft(self, act: Act, values: Update) -> Update:
        """Something was chosen or typed: remember it, and show what it comes to."""
        project, form = self.ctx.open_project(values), TrainForm.of(act.data)
        form.keep(project)
        return {self.form: self._draw_form(project, form), self.go: self._draw_go(project, form)}

    def start(self, act: Act, values: Update) -> Update:
        """Start training with what the form says."""
        project, form = self.ctx.open_project(values), TrainForm.of(act.data)
        config, adapter = form.training(self.studio, project), form.adapter()
        form.keep(project)
        self.studio.start_training(project, config, form.backbone, adapter)
        return {self.now: self._draw_now(project), self.go: self._draw_go(project, form)}

    def answer(self, act: Act, values: Update) -> Update:
        """A press on the run that is shown, or in the queue."""
        project = self.ctx.open_project(values)
        path = self._path(project, act)
        toast = ""
        if act.name == "stop":
            self.studio.stop(path)
        elif act.name == "cancel":
            self.studio.cancel(path)
        elif act.name == "resume":
            self.studio.resume(path)
            toast = notice("Going on.", tone="accent")
        elif act.name == "move":
            self.studio.move_in_queue(path, act.number("place"))
        else:
            raise ValueError(f"the Train tab knows no act {act.name!r}")
        drawn = {self.now: self._draw_now(project), self.go: self._draw_go(project, TrainForm.kept(project))}
        return drawn | ({self.ctx.notice: toast} if toast else {})

    def _path(self, project: Project, act: Act) -> Path:
        """The run that a press means: one of this project, or one in the queue, wherever that came from."""
        for entry in self.studio.queue():
            if entry.run_id == act.text("run") and entry.project_id == act.text("project", project.id):
                return entry.path
        return run_of(project, act.text("run")).path


def build(ctx: Context) -> Refresh:
    """The tab's three rooms and their events."""
    now, form, go = forms.stage("train-now"), forms.stage("train-form"), forms.stage("train-go")
    tab = TrainTab(ctx, now, form, go)
    ctx.on_act(now, tab.answer, outputs=[now, go], trigger_mode="multiple")
    ctx.on_act(form, tab.draft, outputs=[form, go], trigger_mode="always_last")
    ctx.on_act(go, tab.start, outputs=[now, go], trigger_mode="once")
    return Refresh(tab.show, [now, form, go], tab.tick, moves=(now, go))


TAB = Tab("train", "Train", build)
