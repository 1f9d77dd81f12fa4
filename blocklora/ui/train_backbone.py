"""What the Train tab says of a backbone that is not on this machine: bring it here, watch it come, or what went wrong."""

from __future__ import annotations

import os

from blocklora.clip.catalog import CAN_BE_DOWNLOADED, BackboneInfo
from blocklora.clip.fetching import FAILED, RUNNING, Fetch
from blocklora.services.studio import duration
from blocklora.ui import html
from blocklora.ui.train_view import progress


def downloads_are_off() -> bool:
    """Whether the hub's client was told to stay offline."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")


def megabytes(size: float) -> str:
    """Bytes as MB, or GB where that reads better."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"


def where(info: BackboneInfo, fetch: Fetch | None) -> str:
    """Where a backbone is, in a few words."""
    if fetch is None or info.where != CAN_BE_DOWNLOADED:
        return info.where
    if fetch.state == RUNNING:
        return f"downloading, {share(fetch)}" if fetch.total else "downloading"
    return f"{share(fetch)} of it is here" if fetch.done and fetch.total else info.where


def share(fetch: Fetch) -> str:
    """How much of it has arrived."""
    return f"{100 * fetch.done / fetch.total:.0f} %" if fetch.total else "0 %"


def missing_card(info: BackboneInfo, fetch: Fetch | None, local: bool) -> str:
    """The chosen backbone is not here: what is going on, or what can be done. `local`: typed paths are the person's own."""
    if fetch is not None and fetch.state == RUNNING:
        return running_card(info, fetch)
    buttons = _offers(info, fetch, local)
    if fetch is not None and fetch.state == FAILED:
        return (
            f'<div class="fetch failed" role="alert"><p>{html.icon("circle-x")}<span>{html.escape(fetch.message)}</span></p>'
            f'<p class="hint">{html.escape(fetch.advice)}</p><div class="buttons">{buttons}</div></div>'
        )
    if fetch is not None and fetch.done:
        words = f"The download of {info.title} stopped at {megabytes(fetch.done)} of {megabytes(fetch.total)}. What has arrived is kept."
    else:
        words = f"{info.title} is not on this machine yet. It is fetched once, from huggingface.co, and then works without a network."
    if downloads_are_off():
        words = f"{info.title} is not on this machine, and downloads are switched off here (HF_HUB_OFFLINE)."
    return f'<div class="fetch"><p>{html.icon("download")}<span>{html.escape(words)}</span></p><div class="buttons">{buttons}</div></div>'


def _offers(info: BackboneInfo, fetch: Fetch | None, local: bool) -> str:
    size = megabytes(info.size_mb * 1e6)
    label = "Go on" if fetch is not None and fetch.done else "Try again" if fetch is not None and not fetch.file else f"Download {size}"
    off = downloads_are_off()
    parts = [html.button(label, "fetch", kind="primary", icon_name="download", data_name=info.name, disabled=off)]
    if local:
        parts.append(html.local_button("Use a local file…", "local-backbone", data_name=info.name, data_title=info.title))
    if fetch is not None and fetch.done:
        parts.append(html.button("Discard", "discard-fetch", kind="quiet", data_name=info.name))
    return "".join(parts)


def running_card(info: BackboneInfo, fetch: Fetch) -> str:
    """A fetch that goes on: bar, figures, Cancel."""
    cancel = html.button("Cancel", "stop-fetch", kind="quiet danger", data_name=info.name)
    if fetch.file:
        title, figures, fraction = f"Checking and copying the file for {info.title}", "", None
    elif not fetch.total:
        title, figures, fraction = f"Asking for {info.title}", "", None
    elif fetch.checking or fetch.done >= fetch.total:
        title, figures, fraction = f"Checking {info.title}", megabytes(fetch.total), None
    else:
        title = f"Downloading {info.title}"
        parts = [f"{megabytes(fetch.done)} of {megabytes(fetch.total)}", share(fetch)]
        parts += [f"{fetch.speed / 1e6:.1f} MB/s"] if fetch.speed else []
        parts += [f"{duration(fetch.seconds_left)} left"] if fetch.seconds_left is not None else []
        figures, fraction = " · ".join(parts), fetch.done / fetch.total
    words = f'<p><b>{html.escape(title)}</b><span class="figures">{html.escape(figures)}</span></p>'
    return f'<div class="fetch" role="status"><div class="head">{words}{cancel}</div>{progress(fraction, title)}</div>'


def unknown_card(words: str) -> str:
    """A backbone of the person's own that is no longer where it was."""
    return html.note(words, "Put them back there, or choose another backbone above.", "warn")
