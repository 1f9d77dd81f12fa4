"""Two runs side by side in the Results tab: a room of its own below the list, so that choosing there moves nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blocklora.errors import StudioError
from blocklora.services.results import headline
from blocklora.services.run_compare import Comparison, Flip, compare, verdict
from blocklora.services.runs import RunSummary
from blocklora.services.showing import run_of
from blocklora.ui import charts, forms, html
from blocklora.ui.forms import Act
from blocklora.ui.routes import thumb_url, view_url
from blocklora.ui.run_list import TITLES, when
from blocklora.ui.tab import Context

if TYPE_CHECKING:
    import gradio as gr

    from blocklora.jobs.run_folder import RunFolder
    from blocklora.projects.project import Project

MOST = 24  # pictures of a kind
WHICH = {
    "test": "your own test images",
    "cross_validated": "all images, each judged by a model that had not seen it",
    "held_out": "images that both held out",
}
Update = dict[Any, Any]
Urls = Callable[[str], "tuple[str, str] | None"]


@dataclass(frozen=True)
class CompareRoom:
    """The handlers. Which two runs are chosen travels with each press."""

    ctx: Context
    room: gr.HTML

    def show(self, project: Project | None, first: str = "", second: str = "") -> Update:
        """The comparison of two runs; of the two newest finished ones where none are named. Nothing while there are not two."""
        runs = [] if project is None else [run for run in self.ctx.studio.runs(project) if run.state == "finished" and run.n]
        if project is None or len(runs) < 2:
            return {self.room: ""}
        known = [run.id for run in runs]
        second = second if second in known else known[0]
        first = first if first in known and first != second else next(name for name in known if name != second)
        chooser = _chooser(runs, first, second)
        try:
            sides = [run_of(project, name) for name in (first, second)]
            body = draw(compare(*sides), [_figures(run) for run in sides], _addresses(project))
        except StudioError as error:
            body = html.note(error.message, error.advice, "warn")
        state = html.attrs(data_view={"first": first, "second": second})
        return {self.room: f'<div class="results"{state}>{html.card(chooser, body, title="Compare two runs", kind="compare")}</div>'}

    def answer(self, act: Act, values: Update) -> Update:
        """Another run was chosen on one side."""
        project, view = self.ctx.open_project(values), act.inner("view")
        first, second = view.text("first"), view.text("second")
        chosen = act.text("value")
        if act.name == "first":
            first, second = chosen, (first if chosen == second else second)
        elif act.name == "second":
            first, second = (second if chosen == first else first), chosen
        else:
            raise ValueError(f"the comparison knows no act {act.name!r}")
        return self.show(project, first, second)


def add(ctx: Context) -> CompareRoom:
    """The room and its events."""
    room = forms.stage("results-compare")
    compared = CompareRoom(ctx, room)
    ctx.on_act(room, compared.answer, outputs=[room], trigger_mode="multiple")
    return compared


def _addresses(project: Project) -> Urls:
    def urls(image_id: str) -> tuple[str, str] | None:
        try:
            project.image(image_id)
        except StudioError:
            return None
        return thumb_url(project.id, image_id), view_url(project.id, image_id)

    return urls


def _chooser(runs: Sequence[RunSummary], first: str, second: str) -> str:
    def select(side: str, words: str, chosen: str) -> str:
        options = "".join(
            f'<option value="{html.escape(run.id)}"{" selected" if run.id == chosen else ""}>{html.escape(_name(run))}</option>'
            for run in runs
        )
        return f'<label><span>{words}</span><select data-change="{side}">{options}</select></label>'

    return f'<div class="compare-choose">{select("first", "First", first)}{select("second", "Second", second)}</div>'


def _name(run: RunSummary) -> str:
    note = f" · {run.note[:40]}" if run.note else ""
    return f"{when(run.created)} · {TITLES.get(run.preset, run.preset)} · {run.correct} of {run.n}{note}"


def _figures(run: RunFolder) -> str:
    """How good a run is by itself, on all that it held out."""
    result = run.result() or {}
    section = headline(result).section
    if not section.get("n"):
        return "–"
    words = f"{section['correct']} of {section['n']}"
    if isinstance(section.get("interval"), list):
        low, high = (charts.percent(share) for share in section["interval"])
        words += f" ({low} to {high})"
    return words


def draw(found: Comparison, figures: Sequence[str], urls: Urls) -> str:
    """All about a comparison: in words, what differs, and the pictures that flipped. `figures` are the two runs' own, in words."""
    what = WHICH.get(found.section, WHICH["held_out"])
    words = f'<div role="status"><p class="told">{html.escape(verdict(found))}</p>{_shared(found, what)}</div>'
    rows = [("Right, of its own images", figures[0], figures[1])]
    if found.shared:
        rows.append((f"Right, of {what}", f"{found.right_first} of {found.shared}", f"{found.right_second} of {found.shared}"))
    head = "".join(f'<th scope="col">{title}</th>' for title in ("What differs", "First", "Second"))
    lines = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th><td>{html.escape(a)}</td><td>{html.escape(b)}</td></tr>'
        for name, a, b in [*rows, *found.settings]
    )
    same = "" if found.settings else '<p class="hint">Every setting is the same.</p>'
    table = f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>{same}'
    flips = (
        ("Wrong first, right second", found.gained),
        ("Right first, wrong second", found.lost),
        ("Wrong in both, otherwise", found.moved),
    )
    return words + table + "".join(_flips(title, some, urls) for title, some in flips)


def _shared(found: Comparison, what: str) -> str:
    """On which pictures the comparison stands."""
    lines = [f"Compared on {html.plural(found.shared, 'picture')}: {what}."]
    if found.only_first or found.only_second:
        lines.append(f"Only one of the runs has an answer to {found.only_first + found.only_second:,} others; they are left out.")
    if found.relabelled:
        lines.append(f"{html.plural(found.relabelled, 'picture')} had another class then, and is left out too.")
    lines.append("Both had the same images." if found.same_data else "The images of the project changed between the two.")
    return f'<p class="hint">{html.escape(" ".join(lines))}</p>'


def _flips(title: str, flips: Sequence[Flip], urls: Urls) -> str:
    if not flips:
        return ""
    shots = "".join(_shot(flip, urls(flip.image_id)) for flip in flips[:MOST])
    more = f'<p class="hint">and {len(flips) - MOST:,} more</p>' if len(flips) > MOST else ""
    return f'<section><h4>{title} ({len(flips):,})</h4><div class="flips">{shots}</div>{more}</section>'


def _shot(flip: Flip, urls: tuple[str, str] | None) -> str:
    words = f"{flip.true}: first {flip.first}, second {flip.second}"
    if urls is None:
        image = f'<span class="gone">{html.icon("image", 20)}no longer in the project</span>'
    else:
        image = (
            f'<button type="button" data-do="look" data-src="{html.escape(urls[1])}" data-words="{html.escape(words)}" '
            f'aria-label="{html.escape(words)}"><img src="{html.escape(urls[0])}" alt="" loading="lazy"></button>'
        )
    answers = "".join(
        f'<span class="said{" good" if said == flip.true else ""}"><span class="which">{place}</span><b>{html.escape(said)}</b>'
        f"<em>{charts.percent(sure)}</em></span>"
        for place, said, sure in (("1st", flip.first, flip.first_sure), ("2nd", flip.second, flip.second_sure))
    )
    caption = f'<span class="true">{html.escape(flip.true)}</span>{answers}'
    return f'<figure class="wrong-shot">{image}<figcaption>{caption}</figcaption></figure>'
