"""The Train tab: what a press does. The form is drawn by train_setup, everything that moves by train_view."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blocklora.errors import BackboneError, ConfigError, StudioError
from blocklora.jobs.devices import devices
from blocklora.presets import PRESET_TEXTS
from blocklora.services.results import figures
from blocklora.services.showing import run_of, run_to_watch
from blocklora.services.studio import duration
from blocklora.ui import forms, html, train_backbone, train_setup, train_view
from blocklora.ui.forms import Act, notice
from blocklora.ui.tab import Context, Refresh, Tab, needs_project
from blocklora.ui.train_form import TrainForm
from blocklora.ui.train_setup import Offer
from blocklora.ui.train_view import LOG_LINES, Now, Shown

if TYPE_CHECKING:
    import gradio as gr

    from blocklora.jobs.run_folder import RunFolder
    from blocklora.projects.project import Project
    from blocklora.services.studio import Studio

Update = dict[Any, Any]


def typed_path(text: str) -> Path:
    """A path as people type and paste it: with blanks or quotes around it, or from their home.

    Raises:
        BackboneError: it does not say where it begins.
    """
    path = Path(text.strip().strip("\"'")).expanduser()
    if not path.is_absolute():
        raise BackboneError(
            f"{text.strip() or 'An empty path'} is not a whole path.", "Give it from the top, such as /home/me/model.safetensors."
        )
    return path


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
        return Shown(
            id=run.name,
            title=f"{title} run with {self._backbone_title(str(spec['backbone']))}",
            status=status,
            requested=(run.requested() or "") if status.busy else "",
            log=run.log_tail(LOG_LINES),
            verdict=figures(run).verdict if status.state == "finished" else "",
            checkpoint=run.checkpoint_path.exists(),
        )

    def _backbone_title(self, name: str) -> str:
        return next((info.title for info in self.studio.backbones() if info.name == name), name)

    def _draw_form(self, project: Project, form: TrainForm) -> str:
        own = self.studio.plan(project, form.preset, form.backbone)
        infos, service = self.studio.backbones(), self.studio.backbone_service
        speeds = {info.name: speed for info in infos if (speed := service.speed(info.name)) is not None}
        offer = Offer(infos, devices(), self._times(project, form), own.training, self._where(), speeds, own.adapter.last_layers)
        return train_setup.draw(project.id, form, offer)

    def _where(self) -> dict[str, str]:
        """Where each backbone is, or how far on its way."""
        fetch_of = self.studio.backbone_service.fetch_of
        return {info.name: train_backbone.where(info, fetch_of(info.name)) for info in self.studio.backbones()}

    def _times(self, project: Project, form: TrainForm) -> dict[str, str]:
        return {text.name: self._time(project, form, text.name) for text in PRESET_TEXTS}

    def _time(self, project: Project, form: TrainForm, preset: str) -> str:
        """How long a preset would take here, in a few words; '' while nobody knows."""
        try:
            config, adapter = TrainForm(preset, form.backbone, form.fields).settings(self.studio, project)
        except ConfigError:
            return ""
        seconds = self.studio.estimate(project, config, form.backbone, adapter).seconds
        return "" if seconds is None else f"about {duration(seconds)}"

    def _draw_go(self, project: Project, form: TrainForm) -> str:
        """Estimate and button, or the backbone that must be fetched first.

        The length of each recipe and the place of each backbone go along as data: the page writes them into the form.
        """
        ready, words, buttons = self._offer_start(project, form)
        told = html.attrs(data_ready=None if ready else "no", data_times=self._times(project, form), data_where=self._where())
        body = f'<div class="words">{words}</div>{buttons}' if words or buttons else ""
        return f'<div class="go"{told}>{body}{self._fetches(form)}</div>'

    def _fetches(self, form: TrainForm) -> str:
        """The chosen backbone where it is not here, and others that are on their way."""
        service, cards = self.studio.backbone_service, []
        if not service.is_here(form.backbone):
            info = service.find(form.backbone)
            fetch = service.fetch_of(form.backbone)
            cards.append(
                train_backbone.unknown_card(service.missing(form.backbone))
                if info is None
                else train_backbone.missing_card(info, fetch, self.ctx.local)
            )
        for fetch in service.fetching():
            info = service.find(fetch.name)
            if info is not None and fetch.name != form.backbone:
                cards.append(train_backbone.running_card(info, fetch))
        return "".join(cards)

    def _offer_start(self, project: Project, form: TrainForm) -> tuple[bool, str, str]:
        """Whether this project has what training needs, the words beside the button, and the button (with the way on where it cannot)."""
        off = html.button("Train", "start", kind="primary", icon_name="play", disabled=True)
        if reasons := self.studio.not_ready(project):
            return False, "".join(f"<p>{html.escape(reason)}</p>" for reason in reasons), off + html.tab_button("Add images", "images")
        try:
            config, adapter = form.settings(self.studio, project)
        except ConfigError as error:
            words = f'<p class="wrong" role="alert">{html.escape(error.message)}</p><p class="hint">{html.escape(error.advice)}</p>'
            return True, words, off
        watched = run_to_watch(self.studio, project)
        busy = watched is not None and self.studio.status(watched.path).state in ("running", "queued")
        if not self.studio.backbone_service.is_here(form.backbone):
            return True, "", ""  # what to do about it stands in the place of the button
        hints = ["It will wait until the run above is over."] if busy else []
        words = f"<p>{html.escape(self.studio.estimate(project, config, form.backbone, adapter).words)}</p>{self._without(project, form)}"
        words += "".join(f'<p class="hint">{html.escape(hint)}</p>' for hint in hints)
        button = html.local_button("Train another" if busy else "Train", "train", kind="" if busy else "primary", icon_name="play")
        return True, words, button

    def _without(self, project: Project, form: TrainForm) -> str:
        """What the backbone can do with these images as it is: the figure that training has to beat."""
        preview = self.studio.preview(project, form.backbone)
        if preview is None:
            return ""
        if preview.head is not None:
            head = preview.head
            return (
                f'<p class="hint">Without training: right on {head.correct:,} of {head.n:,} images, each compared with the others alone. '
                f"{html.tab_button('Try it', 'predict', kind='')}</p>"
            )
        if preview.working:
            return f'<p class="hint">{html.escape(preview.stage or "Looking at the images")}…</p>'
        return f'<p class="hint">No preview: {html.escape(preview.reason)}</p>' if preview.reason else ""

    # ---- what a press does

    def draft(self, act: Act, values: Update) -> Update:
        """Something was chosen or typed: remember it, and show what it comes to."""
        project, form = self.ctx.open_project(values), TrainForm.of(act.data)
        form.keep(project)
        return {self.form: self._draw_form(project, form), self.go: self._draw_go(project, form)}

    def go_on(self, act: Act, values: Update) -> Update:
        """A press below the form: start training, or something about a backbone that is not here."""
        if act.name == "start":
            return self.start(act, values)
        project, service, name = self.ctx.open_project(values), self.studio.backbone_service, act.text("name")
        if act.name == "fetch":
            service.fetch(name)
        elif act.name == "local-backbone":
            if not self.ctx.local:
                raise BackboneError("Paths are only taken from who sits at this machine.", "Put the file there and open the window there.")
            service.fetch(name, str(typed_path(act.text("file"))))
        elif act.name == "stop-fetch":
            service.stop(name)
        elif act.name == "discard-fetch":
            service.discard(name)
        else:
            raise ValueError(f"the Train tab knows no act {act.name!r}")
        return {self.go: self._draw_go(project, TrainForm.kept(project))}

    def start(self, act: Act, values: Update) -> Update:
        """Start training with what the form says.

        Raises:
            BackboneError: the chosen backbone is not here.
        """
        project, form = self.ctx.open_project(values), TrainForm.of(act.data)
        if missing := self.studio.backbone_service.missing(form.backbone):
            raise BackboneError(missing, "Fetch it first, or choose another.")
        config, adapter = form.settings(self.studio, project)
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
    # Every choice is sent, in order. Gradio's "always_last" would send the first waiting choice once more in place of the last one.
    ctx.on_act(form, tab.draft, outputs=[form, go], trigger_mode="multiple", concurrency_limit=1)
    ctx.on_act(go, tab.go_on, outputs=[now, go], trigger_mode="once")
    return Refresh(tab.show, [now, form, go], tab.tick, moves=(now, go))


TAB = Tab("train", "Train", build)
