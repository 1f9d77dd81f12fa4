"""What the Train tab shows of runs: the one that goes on, what became of the last one, and those that wait. Status in, HTML out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from blocklora.services.status import DIED, RunStatus
from blocklora.services.studio import QueueEntry, duration
from blocklora.ui import charts, html

LOG_LINES = 40


@dataclass(frozen=True)
class Shown:
    """A run as the tab shows it. `requested` is what the person has asked of it ("stop", "cancel"); `log` its last lines."""

    id: str
    title: str
    status: RunStatus
    preset: str = ""
    requested: str = ""
    log: str = ""
    verdict: str = ""
    checkpoint: bool = False


@dataclass(frozen=True)
class Now:
    """The moving part of the tab."""

    run: Shown | None = None
    queue: Sequence[QueueEntry] = field(default_factory=tuple)
    project_id: str = ""


def draw(now: Now) -> str:
    """The moving part: the run, then the queue; nothing where there is nothing to tell."""
    run = now.run
    body = "" if run is None else _run(run)
    waiting = _queue(now)
    return f'<div class="train-now">{body}{waiting}</div>' if body or waiting else ""


def _run(run: Shown) -> str:
    if run.status.state == "running":
        return _running(run)
    if run.status.state == "queued":
        return _queued(run)
    if run.status.state == "failed":
        return _failed(run)
    if run.status.state == "cancelled":
        return html.note(f"{run.title} was cancelled.", "Nothing of it was kept but its log.") + _log(run)
    return _finished(run)


# ---- going on


def so_far(status: RunStatus) -> str:
    """A plain verdict on a run that goes on."""
    curve = status.held_out_curve
    if not curve:
        if status.steps and not status.held_out_n:
            return "No images are kept aside, so nobody can tell yet how good it is; only the loss can be watched."
        return "The held-out images have not been looked at yet." if status.steps else ""
    step, share = curve[-1]
    best = max(curve, key=lambda point: (point[0] == status.best_step, point[1]))
    words = f"Right on {charts.percent(share)} of the images it does not train on"
    if len(curve) == 1:
        return f"{words}: the first look."
    if share >= 0.9995 and best[1] >= 0.9995:
        return f"{words}. There is nothing left to gain on these."
    if best[0] == step:
        return f"{words}, still improving." if share > curve[0][1] else f"{words}, about where it began."
    if best[0] == 0:
        return f"{words}; it began at {charts.percent(best[1])}."
    checks = sum(point[0] > best[0] for point in curve)
    return f"{words}; the best was {charts.percent(best[1])} at step {best[0]:,}, {html.plural(checks, 'check')} ago."


def _running(run: Shown) -> str:
    status = run.status
    fraction = status.fraction if status.steps else 0.0
    figures = [f"step {status.step:,} of {status.steps:,}"] if status.steps else []
    figures += [f"{status.images_per_second:.0f} images a second"] if status.images_per_second >= 1 else []
    left = f"{duration(status.eta)} left" if status.eta is not None and status.stage == "Training" else ""
    verdict = so_far(status)
    curves = (
        f'<div class="charts">{charts.accuracy_chart(status.held_out_curve, status.steps, status.held_out_n, status.best_step)}'
        f"{charts.loss_chart(status.loss_curve, status.steps)}</div>"
        if status.steps
        else ""
    )
    words = f'<p class="verdict">{html.escape(verdict)}</p>' if verdict else ""
    return (
        f'<section class="card run" aria-label="{html.escape(run.title)}">{_head(run, run.title, _stage(run), _controls(run))}'
        f"{progress(fraction if status.fraction else None, _stage(run))}"
        f'<p class="figures"><span>{html.escape(" · ".join(figures))}</span><b>{html.escape(left)}</b></p>'
        f"{words}{curves}{_facts(status)}{_log(run)}</section>"
    )


def _stage(run: Shown) -> str:
    if run.requested == "stop":
        return "Stopping; the best version so far is kept"
    if run.requested == "cancel":
        return "Cancelling"
    return run.status.stage


def _controls(run: Shown) -> str:
    """Stop and cancel, as far as they make sense now."""
    stop = ""
    if run.status.steps and run.status.step:
        stop = html.button("Stop and keep best", "stop", icon_name="circle-stop", data_run=run.id, disabled=bool(run.requested))
    cancel = html.button("Cancel", "cancel", kind="quiet danger", data_run=run.id, disabled=run.requested == "cancel")
    return stop + cancel


def progress(fraction: float | None, label: str) -> str:
    """A bar; one that moves to and fro where nobody knows how far things are."""
    if fraction is None:
        return f'<div class="track moving" role="progressbar" aria-label="{html.escape(label)}"><span class="fill"></span></div>'
    share = f"{100 * fraction:.1f}"
    return (
        f'<div class="track" role="progressbar" aria-label="{html.escape(label)}" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{share}"><span class="fill" style="width:{share}%"></span></div>'
    )


def _facts(status: RunStatus) -> str:
    """The device, where class weights come from, and what the worker had to remark."""
    rows = [("cpu", status.device)] if status.device else []
    rows += [("tag", status.class_weights_note)] if status.class_weights_note else []
    rows += [("info", note) for note in status.notes]
    items = "".join(f"<li>{html.icon(name, 14)}<span>{html.escape(text)}</span></li>" for name, text in rows)
    return f'<ul class="remarks">{items}</ul>' if items else ""


def _log(run: Shown, opened: bool = False) -> str:
    if not run.log:
        return ""
    keep = html.attrs(data_keep="log", open=opened)
    return (
        f'<details class="fold log"{keep}><summary>{html.icon("file-text")}<span>Log</span></summary>'
        f'<pre tabindex="0">{html.escape(run.log)}</pre></details>'
    )


# ---- before and after


def _head(run: Shown, title: str, stage: str, aside: str, icon_name: str = "") -> str:
    mark = html.icon(icon_name) if icon_name else ""
    words = f'<p class="stage" role="status">{html.escape(stage)}</p>' if stage else ""
    return f'<header><div><h3>{mark}{html.escape(title)}</h3>{words}</div><div class="aside">{aside}</div></header>'


def _queued(run: Shown) -> str:
    cancel = html.button("Cancel", "cancel", kind="quiet danger", data_run=run.id, disabled=run.requested == "cancel")
    return f'<section class="card run">{_head(run, run.title, _stage(run), cancel)}</section>'


def _failed(run: Shown) -> str:
    label, words = ("Resume", "") if run.checkpoint else ("Try again", "There is no checkpoint yet, so it begins anew. ")
    again = html.button(label, "resume", kind="primary", icon_name="play", data_run=run.id)
    if run.status.stage == DIED:  # its advice knows of the checkpoint
        words = ""
    advice = f'<p class="advice">{html.escape(words)}{html.escape(run.status.advice)}</p>' if words or run.status.advice else ""
    head = _head(run, f"{run.title} did not finish", "", again, "circle-x")
    return f'<section class="card run failed" role="alert">{head}<p>{html.escape(run.status.reason)}</p>{advice}{_log(run, True)}</section>'


def _finished(run: Shown) -> str:
    status = run.status
    verdict, _, rest = run.verdict.partition(". ")
    took = f"{run.title}, {duration(status.seconds)}" + (", stopped early" if status.stopped_early else "")
    more = ""
    if status.export == "running":
        label = f"Making the ONNX file: {status.export_stage}"
        more = f'<p class="stage" role="status">{html.escape(label)}</p>{progress(status.export_fraction, label)}'
    elif status.export == "failed":
        more = html.note(f"The ONNX file could not be made: {status.export_reason}", status.export_advice, "danger")
    results = html.local_button("See the results", "tab", data_tab="results", icon_name="arrow-right")
    head = _head(run, verdict.rstrip(".") or "Finished", took, results, "circle-check")
    words = f"<p>{html.escape(rest)}</p>" if rest else ""
    return f'<section class="card run done">{head}{words}{more}</section>'


# ---- the queue


def _queue(now: Now) -> str:
    """What waits for the device, in order; shown once there is an order to speak of."""
    waiting = [entry for entry in now.queue if entry.waiting]
    others = [entry for entry in now.queue if not entry.waiting and entry.project_id != now.project_id]
    if not others and (not waiting or (len(now.queue) == 1 and now.run is not None)):
        return ""
    rows = "".join(_row(entry, html.icon("play", 14), f"<span>{charts.percent(entry.status.fraction)}</span>") for entry in others)
    rows += "".join(_row(entry, str(place + 1), _tools(entry, place, len(waiting))) for place, entry in enumerate(waiting))
    head = '<header><h3>Queue</h3><p class="stage">One run at a time has the device.</p></header>'
    return f'<section class="card queue">{head}<ol>{rows}</ol></section>'


def _row(entry: QueueEntry, place: str, tools: str) -> str:
    """One run in the queue; `place` and `tools` are HTML."""
    name = entry.project_name or "From the command line"
    return (
        f'<li><span class="place">{place}</span><span class="what"><b>{html.escape(name)}</b>{html.escape(entry.run_id)}</span>'
        f'<span class="tools">{tools}</span></li>'
    )


def _tools(entry: QueueEntry, place: int, total: int) -> str:
    data = {"data_project": entry.project_id, "data_run": entry.run_id}
    up = html.icon_button("Earlier", "arrow-up", act="move", kind="quiet", data_place=place - 1, disabled=place == 0, **data)
    down = html.icon_button("Later", "arrow-down", act="move", kind="quiet", data_place=place + 1, disabled=place == total - 1, **data)
    away = html.icon_button("Take out of the queue", "x", act="cancel", kind="quiet", **data)
    return up + down + away
