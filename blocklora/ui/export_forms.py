"""What else the Export tab offers: smaller files with their figures, the zip of everything, and other forms of the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from blocklora.services.exported import BUNDLE, CHECKPOINT, DATASET, LABELS, LORA, VARIANTS, Form, Precision
from blocklora.services.rejecting import RULE
from blocklora.services.status import Making
from blocklora.ui import html
from blocklora.ui.train_view import progress

TITLES = {
    BUNDLE: "Everything in one zip",
    VARIANTS: "Smaller files",
    CHECKPOINT: "open_clip checkpoint",
    LORA: "Ordinary LoRA adapter",
    DATASET: "Labelled pictures",
    LABELS: "New class names",
    RULE: "When to say “none of these”",
}
HINTS = {
    CHECKPOINT: "The weights with the adapters merged in, for open_clip and for training on.",
    LORA: "The adapters for PEFT on transformers' CLIPModel, where the backbone has such a twin.",
    DATASET: "A folder for each class, what was trained on apart from what was kept aside.",
}
BUNDLE_PARTS = (
    "the file, its labels and a model card with accuracy and confusions",
    "programs that label files and folders, and one that checks the file",
    "a page that runs it in the browser, without a network",
    "a small web service, with a Dockerfile",
)
PRECISION_TITLES = {"fp32": "Full", "fp16": "Half", "int8": "8-bit"}
Offer = Callable[[Path, str], str]
"""The address under which a file may be fetched, by path and the name it is saved under."""


def making(now: Making) -> str:
    """A form that is being made, or that was not made and why."""
    title = TITLES.get(now.form, now.form)
    if now.failed:
        again = html.button("Try again", "make", icon_name="refresh-cw", data_form=now.form)
        return failed_card(f"{title}: not made", now.reason, now.advice, again)
    return working_card(title, now.stage, now.fraction)


def working_card(title: str, stage: str, fraction: float) -> str:
    """Work that goes on in the background, and a way to end it."""
    cancel = html.button("Cancel", "cancel", kind="quiet danger")
    words = f'<h3>{html.escape(title)}</h3><p class="stage" role="status">{html.escape(stage)}</p>'
    head = f'<header><div>{words}</div><div class="aside">{cancel}</div></header>'
    return f'<section class="card run">{head}{progress(fraction, stage)}</section>'


def failed_card(title: str, reason: str, advice: str, again: str, more: str = "") -> str:
    """Work that came to nothing: why, what to do, and a button (`again`, HTML) to do it. `more` is HTML under it."""
    head = f'<header><div><h3>{html.icon("circle-x")}{html.escape(title)}</h3></div><div class="aside">{again}</div></header>'
    words = f'<p>{html.escape(reason)}</p><p class="advice">{html.escape(advice)}</p>'
    return f'<section class="card run failed" role="alert">{head}{words}{more}</section>'


def renamed(pairs: list[tuple[str, str]], busy: bool) -> str:
    """Class names that were changed since the file was made."""
    if not pairs:
        return ""
    first = ", ".join(f"“{old}” is now “{new}”" for old, new in pairs[:3]) + (f", and {len(pairs) - 3} more" if len(pairs) > 3 else "")
    use = html.button("Use the new names", "make", icon_name="tag", data_form=LABELS, disabled=busy)
    return (
        f'<div class="note" role="note">{html.icon("info")}<div><p>{html.escape(first)}. The file still has the old names.</p>'
        f'<p class="advice">New names change the file\'s labels, not its weights: nothing is trained again.</p></div>{use}</div>'
    )


def bundle(found: Form | None, name: str, offer: Offer, busy: bool) -> str:
    """The zip of everything: what is in it, and one button."""
    parts = "".join(f"<li>{html.icon('check')}<span>{html.escape(part)}</span></li>" for part in BUNDLE_PARTS)
    body = f'<ul class="parts">{parts}</ul>'
    if found is not None and found.note:
        body += html.note("The page for the browser is missing from it. " + found.note, tone="warn")
    if found is None:
        buttons = html.button("Make the zip", "make", kind="primary", icon_name="file-archive", data_form=BUNDLE, disabled=busy)
    else:
        buttons = download(offer(found.path, f"{name}.zip"), f"Download {name}.zip", "primary", found.size)
        buttons += html.button("Make again", "make", kind="quiet", data_form=BUNDLE, disabled=busy)
    return html.card(body, f'<div class="buttons">{buttons}</div>', title=TITLES[BUNDLE], kind="form")


def smaller(found: list[Precision], form: Form | None, name: str, offer: Offer, busy: bool) -> str:
    """The file in three precisions with what each costs, or a button that makes them."""
    if not found:
        text = "Half precision and 8-bit integers, each held against the full file and measured on this machine. Then you choose."
        make = html.button("Make smaller files", "make", icon_name="layers", data_form=VARIANTS, disabled=busy)
        return html.card(f'<p class="hint">{html.escape(text)}</p><div class="buttons">{make}</div>', title=TITLES[VARIANTS], kind="form")
    rows = [_precision(row, name, offer) for row in found]
    head = ("", "Size", "One picture", "Right on", "Same as full", "")
    table = html.table(head, rows, numbers=(1, 2, 3, 4, 5))
    again = html.button("Make again", "make", kind="quiet", data_form=VARIANTS, disabled=busy)
    note = f'<p class="hint">{html.escape(form.note)}</p>' if form is not None and form.note else ""
    return html.card(table, note, f'<div class="buttons">{again}</div>', title=TITLES[VARIANTS], kind="form")


def _precision(row: Precision, name: str, offer: Offer) -> tuple[str, ...]:
    title = f"{html.escape(PRECISION_TITLES.get(row.precision, row.precision))} <small>{html.escape(row.precision)}</small>"
    if row.refused:
        return (title, f'<span class="refused">{html.escape(row.refused)}</span>', "", "", "", "")
    title += html.badge("less accurate", "warn") if row.marked else ""
    counts = (f"{row.correct:,} of {row.images:,}", f"{100 * row.agreement / row.images:.0f} %") if row.images else ("", "")
    filename = f"{name}.onnx" if row.precision == "fp32" else f"{name}-{row.precision}.onnx"
    link = (
        f'<a class="b icon" href="{html.escape(offer(row.path, filename))}" download aria-label="Download {html.escape(filename)}"'
        f' title="Download {html.escape(filename)}">{html.icon("download")}</a>'
    )
    return (title, megabytes(row.size), f"{row.milliseconds:.1f} ms", *counts, link)


def others(found: dict[str, Form | None], name: str, offer: Offer, busy: bool) -> str:
    """Forms that few people need, folded away."""
    rows = []
    for form, hint in HINTS.items():
        made = found.get(form)
        if made is None:
            button = html.button("Make", "make", data_form=form, disabled=busy)
        else:
            button = download(offer(made.path, f"{name}-{form}.zip"), "Download", "", made.size)
        words = f'<b>{html.escape(TITLES[form])}</b><span class="hint">{html.escape(hint)}</span>'
        rows.append(f'<li><div>{words}</div><div class="buttons">{button}</div></li>')
    note = '<p class="hint">The whole project, with its runs, leaves by the menu beside its name.</p>'
    return (
        f'<details class="fold others" data-keep="others"><summary>{html.icon("package")}<span>Other forms</span></summary>'
        f'<div class="inside"><ul class="rows">{"".join(rows)}</ul>{note}</div></details>'
    )


def download(url: str, label: str, kind: str, size: int) -> str:
    """A link that looks like a button and says how much will arrive."""
    words = f"<span>{html.escape(label)}</span><small>{html.escape(megabytes(size))}</small>"
    return f'<a class="b {html.escape(kind)}" href="{html.escape(url)}" download>{html.icon("download")}{words}</a>'


def megabytes(size: int) -> str:
    """A file's size for people."""
    if size < 1e5:
        return f"{max(1, round(size / 1e3))} KB"
    return f"{size / 1e6:.1f} MB" if size < 1e8 else f"{size / 1e6:,.0f} MB"
