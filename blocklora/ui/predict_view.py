"""What the Predict tab shows: the place to drop pictures, one picture's answer, and a table for many."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from blocklora.projects.records import ClassInfo
from blocklora.services.batch import Batch
from blocklora.services.batch_rows import Row
from blocklora.services.predicting import Prediction
from blocklora.ui import html

ROWS = 50  # lines of the table on a page
PROVIDERS = {
    "CPUExecutionProvider": "on the processor",
    "CUDAExecutionProvider": "on the graphics card",
    "CoreMLExecutionProvider": "by Core ML",  # in records of earlier versions
}


@dataclass(frozen=True)
class Answer:
    """One picture's answer. `preview` is a re-encoded copy (WebP) or empty; `file` the upload it came from, or ''. `why` takes the
    picture's place: HTML of its heat map.
    """

    prediction: Prediction
    provider: str
    name: str = ""
    preview: bytes = b""
    file: str = ""
    number: int = 0
    why: str = ""

    @property
    def source(self) -> str:
        """The address of the picture, with the picture in it."""
        return f"data:image/webp;base64,{base64.b64encode(self.preview).decode()}" if self.preview else ""


def frame(classes: Sequence[ClassInfo], model: str) -> str:
    """Where pictures come in. `model` says in words which file answers."""
    names = [(info.id, info.name, info.count) for info in classes]
    buttons = (
        html.local_button("Choose pictures", "predict-choose", kind="primary", icon_name="image")
        + html.local_button("Paste", "predict-paste", icon_name="clipboard-paste")
        + html.local_button("Camera", "predict-camera", icon_name="camera")
        + html.local_button("Folder", "predict-folder", kind="local-only", icon_name="folder")
    )
    return (
        f'<div class="predict"{html.attrs(data_classes=names)}>'
        f'<div class="drop-here" data-predict-drop><div class="invite">{html.icon("scan", 28)}'
        f"<p><b>Drop a picture here</b></p><p>or many, or a zip: those become a table.</p>"
        f'<div class="ways-in">{buttons}</div></div></div>'
        f'<p class="small-print">{html.escape(model)}</p></div>'
    )


def empty_answer() -> str:
    """The answer's place before there is one."""
    return f'<div class="answer none">{html.icon("gauge", 22)}<p>The answer shows here, with how sure it is and how long it took.</p></div>'


def answer(found: Answer, teach: bool = True) -> str:
    """Label bars, most probable first, then time and place of the run, then (where there is a project to) the way to teach it better."""
    bars = "".join(_bar(label, probability, place) for place, (label, probability) in enumerate(found.prediction.top))
    image, refused = found.why, found.prediction.known is False
    if found.preview and not image:
        image = f'<img class="preview" src="{found.source}" alt="{html.escape(found.name)}">'
    where = PROVIDERS.get(found.provider, "")
    time = f"{found.prediction.milliseconds:.0f}" if found.prediction.milliseconds >= 10 else f"{found.prediction.milliseconds:.1f}"
    add = html.local_button("Wrong? Add to class…", "predict-add", icon_name="plus") if teach else ""
    said = f'<div class="said" role="status">{_said(found.prediction)}</div>'  # above a map, which is high
    why = "" if found.why else html.local_button("Why?", "predict-why", icon_name="eye")
    return (
        f'<div class="answer" data-file="{html.escape(found.file)}" data-number="{found.number}">'
        f'{said + image if found.why else image + said}<ol class="labels{" refused" if refused else ""}">{bars}</ol>'
        f'<p class="figures"><span>{time} ms {html.escape(where)}</span><span class="hint">{html.escape(found.provider)}</span></p>'
        f'<div class="answer-tools">{why}{add}</div></div>'
    )


NONE = "None of these"


def _said(prediction: Prediction) -> str:
    """The answer in large letters; what came nearest, where the model's rule refuses one."""
    if prediction.known is not False:
        return f"<h2>{html.escape(prediction.label)}</h2>"
    nearest = f"Nearest: {prediction.label}, {100 * prediction.probability:.0f} %"
    return f'<h2 class="refused">{NONE}</h2><p class="nearest">{html.escape(nearest)}</p>'


def _bar(label: str, probability: float, place: int) -> str:
    share = f"{100 * probability:.1f}"
    return (
        f'<li class="{"first" if place == 0 else ""}"><span class="name">{html.escape(label)}</span><span class="pc">{share} %</span>'
        f'<span class="bar"><span style="width:{share}%"></span></span></li>'
    )


# ---- many pictures


def table(batch: Batch | None, page: int, downloads: Mapping[str, str], local: bool) -> str:
    """The table of a batch: how far it is, what can be made of it, a page of its lines.

    `downloads` has the addresses of the files that are made already, by kind; `local` says that typed paths are the person's own.
    """
    if batch is None:
        return ""
    pages = max(1, -(-batch.done // ROWS))
    page = min(page, pages - 1)
    rows = batch.table.page(page * ROWS, ROWS)
    lines = "".join(_line(row) for row in rows)
    head = "".join(f'<th scope="col">{title}</th>' for title in ("File", "Label", "Probability"))
    body = (
        f'<div class="scroll wide" tabindex="0"><table class="batch"><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'
        if rows
        else ""
    )
    close = html.icon_button("Put the table away", "x", act="forget", kind="quiet")
    saves = _saves(batch, downloads, local) if batch.over and not batch.error else ""
    card = html.card(_state(batch), saves, body, html.pager(page, pages, "rows"), title="Many pictures", aside=close)
    return f'<div class="many">{card}</div>'


SAVES = (("csv", "Save as CSV", "file-spreadsheet"), ("parquet", "Parquet", "file-text"), ("zip", "Zip by class", "file-archive"))


def _saves(batch: Batch, downloads: Mapping[str, str], local: bool) -> str:
    """One row of buttons: files that are there are links, others are made when they are asked for."""
    buttons = []
    for kind, label, mark in SAVES:
        if kind in downloads:
            look = "primary" if kind == "csv" else ""
            buttons.append(
                f'<a class="b {look}" href="{html.escape(downloads[kind])}" download data-made="{kind}">{html.icon(mark)}'
                f"<span>{label}</span></a>"
            )
        else:
            buttons.append(html.local_button(label, "predict-make", icon_name=mark, data_kind=kind, disabled=bool(batch.making)))
    if local:
        buttons.append(html.local_button("Sort into a folder…", "predict-sort", icon_name="folder", disabled=bool(batch.making)))
    words = f"{batch.making}…" if batch.making else batch.said
    said = f'<p class="small-print" role="status">{html.escape(words)}</p>' if words else ""
    return f'<div class="saves">{"".join(buttons)}</div>{said}'


def _state(batch: Batch) -> str:
    counts = html.plural(batch.answered, "answer") + (f", {batch.failed:,} could not be read" if batch.failed else "")
    if batch.error:
        return html.note(batch.error, "", "danger")
    speed = f"{batch.done / batch.seconds:.3g} a second" if batch.seconds else ""
    if not batch.over:
        share = 100 * batch.done / batch.total if batch.total else 0
        words = f"{batch.done:,} of {batch.total:,}" + (f", {speed}" if speed else "") if batch.total else "Starting"
        return (
            f'<p class="stage" role="status">{words}</p><div class="track" role="progressbar" aria-label="Predicting" aria-valuemin="0" '
            f'aria-valuemax="100" aria-valuenow="{share:.0f}"><span class="fill" style="width:{share:.1f}%"></span></div>'
        )
    where = f", {speed} {PROVIDERS.get(batch.provider, '')} ({batch.provider})" if batch.answered and speed else ""
    return f'<p class="stage">{html.escape(counts + where)}</p>'


def _line(row: Row) -> str:
    if row.probability is None:
        return f'<tr><td>{html.escape(row.name)}</td><td colspan="2"><span class="wrong">{html.escape(row.error)}</span></td></tr>'
    said = f"<b>{html.escape(row.label)}</b>"
    if row.known is False:
        said = f'<b>{NONE}</b> <span class="hint">nearest: {html.escape(row.label)}</span>'
    return f"<tr><td>{html.escape(row.name)}</td><td>{said}</td><td>{100 * row.probability:.1f} %</td></tr>"
