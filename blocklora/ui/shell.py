"""The shell: sidebar, tabs, and the events that hold them together. It knows no tab from inside."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

import gradio as gr

from blocklora.ui import forms, html
from blocklora.ui.downloads import Downloads
from blocklora.ui.page import TITLE
from blocklora.ui.pill import Pill
from blocklora.ui.rail import Rail
from blocklora.ui.rail_view import brand
from blocklora.ui.tab import DRAWN, Context, Refresh, Tab, refresher

if TYPE_CHECKING:
    from blocklora.services.studio import Studio

TICK_SECONDS = 1.5
# Gradio ends the page's event stream when nothing is pending. A tick that is sent in that very moment is answered, but nobody listens,
# and while it counts as pending no other tick is sent: the page would stand still until someone pressed something. Each beat is sent
# whatever is pending; it opens a new stream, on which the lost answer comes too.
BEAT_SECONDS = 4
TAB_MODULES = ("images_tab", "train_tab", "results_tab", "predict_tab", "export_tab")

# Which project and tab the page was on, from its address (so that two pages may differ), else the project that was open last.
WHERE = """() => {
  const project = studio.asked.get("project") || studio.memory((kept) => kept.getItem("studio-project"));
  return [project || "", studio.asked.get("tab") || ""];
}"""


def tabs() -> list[Tab]:
    """The tabs of this window, in their order: the `TAB` of each module that is there."""
    names = [f"blocklora.ui.{name}" for name in TAB_MODULES if importlib.util.find_spec(f"blocklora.ui.{name}")]
    return [importlib.import_module(name).TAB for name in names]


def build(studio: Studio, downloads: Downloads, local: bool = True) -> gr.Blocks:
    """The whole page as Gradio blocks. `local`: only this machine can reach it."""
    pill = Pill(studio)
    known = tabs()
    with gr.Blocks(title=TITLE, fill_width=True, analytics_enabled=False, delete_cache=(3600, 6 * 3600)) as blocks:
        project = gr.Textbox("", visible="hidden", elem_id="open-project", show_label=False)
        tab_key = gr.Textbox("", visible="hidden", elem_id="open-tab", show_label=False)
        timer, beat = gr.Timer(TICK_SECONDS), gr.Timer(BEAT_SECONDS)
        notice = forms.stage("notice")
        with gr.Column(elem_id="side", min_width=0):
            gr.HTML(brand(local), elem_id="brand", apply_default_css=False)
            rail_html = forms.stage("rail", elem_id="rail")
            with gr.Column(elem_id="side-foot", min_width=0):
                pill_html = forms.stage("pill", elem_id="pill")
                device_html = gr.HTML(elem_id="device", apply_default_css=False)
        ctx = Context(studio, downloads, project, rail_html, notice, local)
        rail = Rail(ctx)
        with gr.Column(elem_id="main", min_width=0), gr.Tabs(elem_id="tabs", selected=known[0].key) as tab_bar:
            built = [_build_tab(tab, ctx) for tab in known]

        def load(values: dict[Any, Any]) -> dict[Any, Any]:
            chosen, opened, toast = rail.first_open(str(values[project] or ""))
            selected = values[tab_key] if values[tab_key] in [tab.key for tab in known] else known[0].key
            drawn = {tab_bar: gr.Tabs(selected=selected), pill_html: pill.draw(opened), device_html: device(studio)}
            return drawn | rail.open(chosen, values) | ({notice: toast} if toast else {})

        ticking = [refresh for refresh, _ in built if refresh.tick is not None]

        def tick(values: dict[Any, Any]) -> dict[Any, Any]:
            drawn = {pill_html: pill.draw(ctx.maybe_project(values[project]))}
            for refresh in ticking:
                assert refresh.tick is not None
                drawn |= refresh.tick(values)
            return drawn

        forms.wire(
            blocks.load,
            load,
            toast=notice,
            inputs=[project, tab_key],
            outputs=[project, tab_bar, pill_html, device_html, rail_html],
            js=WHERE,
        )
        forms.wire_act(rail_html, rail.answer, toast=notice, inputs=[project], outputs=[rail_html, project], trigger_mode="multiple")
        reads = [component for refresh in ticking for component in refresh.reads]
        moved = [pill_html, *(component for refresh in ticking for component in refresh.moves)]
        ctx.on(timer.tick, tick, inputs=reads, outputs=moved, trigger_mode="once")
        ctx.on(beat.tick, lambda values: {}, trigger_mode="multiple")
        for (refresh, item), tab in zip(built, known, strict=True):
            handler = refresher(ctx, refresh)
            ctx.on(project.change, handler, outputs=refresh.outputs)
            chosen = f"(...given) => studio.onTab('{tab.key}') ? given : given.map(() => '{DRAWN}')"
            ctx.on(item.select, handler, outputs=refresh.outputs, js=chosen)
    blocks.api_open = False  # calls go through the queue, where the door looks at them; what blocks.queue() would set, without a second app
    return blocks


def _build_tab(tab: Tab, ctx: Context) -> tuple[Refresh, gr.Tab]:
    with gr.Tab(tab.title, id=tab.key, elem_id=f"tab-{tab.key}", render_children=True) as item:
        return tab.build(ctx), item


def device(studio: Studio) -> str:
    """What training will run on, in one quiet line."""
    return f'<p class="device">{html.icon("cpu", 14)}<span>{html.escape(studio.device_line())}</span></p>'
