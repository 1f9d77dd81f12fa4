"""Why a picture of a project was answered as it was: a button anywhere in the window, and the room that its dialog is filled from.

`button` may stand in any room; the page opens the dialog at once (js/66-heat.js) and asks the room made by `add`, which answers with the
heat map of the run's published file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from blocklora.errors import StudioError
from blocklora.projects.decoding import decode_rgb
from blocklora.services.heat import HeatMaps
from blocklora.services.showing import run_of
from blocklora.ui import forms, heat_view, html
from blocklora.ui.forms import Act
from blocklora.ui.routes import view_url
from blocklora.ui.tab import Context

if TYPE_CHECKING:
    import gradio as gr

    from blocklora.jobs.run_folder import RunFolder

ROOM = "why"


def button(run: RunFolder, image_id: str, words: str, labels: Sequence[str] = ()) -> str:
    """The button for one picture of the project; '' where the run has no file to ask. `words` is the dialog's title, `labels` are those to
    explain (what it was taken for, what it is), by default the file's own most probable ones.
    """
    if not image_id or not run.onnx_path.is_file():
        return ""
    label = f"Why? {words}"
    given = list(labels)
    return html.local_button(
        "Why?", "why", kind="quiet why", aria_label=label, data_run=run.name, data_image=image_id, data_words=words, data_labels=given
    )


def of(run: RunFolder, section: Mapping[str, Any]) -> Callable[[Mapping[str, Any], str], str]:
    """`button` for the pictures of a section of the run's result: what one was taken for first, then what it is."""
    names = [str(row["name"]) for row in section.get("per_class", [])]

    def more(row: Mapping[str, Any], words: str) -> str:
        return button(run, str(row.get("image_id") or ""), words, [names[row["predicted"]], names[row["label"]]])

    return more


@dataclass(frozen=True)
class WhyRoom:
    """Fills the dialog. Maps are kept for a while, so that a second look costs nothing."""

    ctx: Context
    room: gr.HTML
    maps: HeatMaps = field(default_factory=HeatMaps)

    def answer(self, act: Act, values: dict[Any, Any]) -> dict[Any, Any]:
        """The map of one picture by one run; what goes wrong is said in the dialog, where the person looks."""
        number = act.number("number")  # the page's, to tell which press this answers
        try:
            drawn = self._draw(act, values)
        except StudioError as error:
            drawn = html.note(error.message, error.advice, "danger")
        # A template: the room itself shows nothing, the page takes a copy into the dialog.
        return {self.room: f'<template data-number="{number}">{drawn}</template>'}

    def _draw(self, act: Act, values: dict[Any, Any]) -> str:
        project = self.ctx.open_project(values)
        run, image_id = run_of(project, act.text("run")), act.text("image")
        model = self.ctx.studio.predictor(run)
        labels = tuple(dict.fromkeys(label for label in act.texts("labels", 4) if label in model.labels))
        key = (project.id, run.name, run.onnx_path.stat().st_mtime_ns, image_id, labels)
        found = self.maps.get(key, lambda: model.explain(decode_rgb(project.original(image_id)), labels))
        drawn = heat_view.figure(found, view_url(project.id, image_id), project.image(image_id).original_name)
        if labels and found.answer != labels[0]:  # trained on since, or exported anew
            words = f"The file as it is now answers “{found.answer}” here: it was trained once more after it had been measured."
            drawn = html.note(words) + drawn
        return drawn


def add(ctx: Context) -> None:
    """The room that dialogs are filled from; one a window."""
    room = forms.stage(ROOM)
    why = WhyRoom(ctx, room)
    ctx.on_act(room, why.answer, outputs=[room], trigger_mode="multiple", concurrency_limit=2)
