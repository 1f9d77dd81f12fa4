"""The rooms of the Results tab that are about "none of these": the card, and under it how far the file is with what was chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blocklora.errors import JobError, StudioError
from blocklora.reject import OFF, PERSON, PRECISION, Wish
from blocklora.services.exported import exported
from blocklora.services.rejecting import RULE, choose, rejecting
from blocklora.ui import forms, html, reject_card
from blocklora.ui.forms import Act
from blocklora.ui.tab import Context

if TYPE_CHECKING:
    import gradio as gr

    from blocklora.jobs.run_folder import RunFolder
    from blocklora.projects.project import Project

Update = dict[Any, Any]
HOWS = (PERSON, PRECISION, OFF)


@dataclass(frozen=True)
class RejectRoom:
    """The handlers of both rooms."""

    ctx: Context
    room: gr.HTML
    state: gr.HTML

    @property
    def rooms(self) -> list[gr.HTML]:
        return [self.room, self.state]

    def show(self, project: Project | None) -> Update:
        """Both rooms for the current run; empty where there is none, and a word where it is too old to have scores."""
        run = None if project is None else self.ctx.studio.finished_run(project)
        if run is None:
            return {self.room: "", self.state: ""}
        found = rejecting(run)
        if found is None:
            return {self.room: _without(run), self.state: ""}
        return {self.room: reject_card.card(found, run.name), self.state: self._state(run)}

    def tick(self, values: Update) -> Update:
        """How far the file is; the card itself stays as a person has it under the hand."""
        try:
            project = self.ctx.maybe_project(values.get(self.ctx.project))
            run = None if project is None else self.ctx.studio.finished_run(project)
            return {} if run is None else {self.state: self._state(run)}
        except StudioError:  # the project is gone; the sidebar says so
            return {}

    def _state(self, run: RunFolder) -> str:
        found = rejecting(run)
        if found is None:
            return ""
        status = self.ctx.studio.status(run.path)
        return reject_card.state(found, exported(run), status.making, status.exporting)

    def answer(self, act: Act, values: Update) -> Update:
        """A press in one of the rooms."""
        project = self.ctx.open_project(values)
        run = self.ctx.studio.finished_run(project)
        if run is None or rejecting(run) is None:
            raise JobError("there is no result that a rule could be chosen for.", "Train first.")
        if act.name == "apply":
            choose(run, wish_of(act))
        elif act.name != "write":
            raise ValueError(f"the card knows no act {act.name!r}")
        if run.onnx_path.exists() and not self.ctx.studio.status(run.path).exporting:
            self.ctx.studio.start_form(run, RULE)
        return self.show(project)


def wish_of(act: Act) -> Wish | None:
    """What was chosen in the page; None for what is suggested.

    Raises:
        JobError: the page sent no such choice.
    """
    if act.text("how") == "suggested":
        return None
    wish = Wish.from_dict({key: act.data.get(key) for key in ("familiar", "sure", "how", "precision")})
    if wish is None or wish.how not in HOWS:
        raise JobError("this is no choice for when to say “none of these”.", "Move the sliders and press Apply.")
    return Wish(how=OFF) if wish.how == OFF else wish


def _without(run: RunFolder) -> str:
    """Why there is nothing to choose."""
    n = (run.result() or {}).get("held_out", {}).get("n", 0)
    why = "This run was trained before the studio could do that; train again to choose." if n else "It takes images that were kept aside."
    return html.card(f'<p class="hint">{html.escape(why)}</p>', title=reject_card.TITLE)


def build(ctx: Context) -> RejectRoom:
    """Both rooms and their events."""
    made = RejectRoom(ctx, forms.stage("reject"), forms.stage("reject-state"))
    for room in made.rooms:
        ctx.on_act(room, made.answer, outputs=made.rooms, trigger_mode="once")
    return made
