"""What the Export tab shows: the file with what is known of it, how to take it away, and how to use it anywhere."""

from __future__ import annotations

from blocklora.services.exported import Exported
from blocklora.services.status import RunStatus
from blocklora.ui import html
from blocklora.ui.export_forms import failed_card, megabytes, working_card
from blocklora.ui.predict_view import PROVIDERS

SNIPPET = """\
import json
import numpy as np
import onnxruntime as ort
from PIL import Image, ImageOps

session = ort.InferenceSession("model.onnx")
about = session.get_modelmeta().custom_metadata_map
image = np.asarray(ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB"))[None]
probabilities, embedding, *known = session.run(None, {"images": image})
if known and not known[0][0]: print("none of these; nearest:")
print(json.loads(about["labels"])[probabilities[0].argmax()], probabilities.max())
"""
ORIGIN = "http://127.0.0.1:7860"  # the page puts its own address in its place
API_SNIPPET = """\
from gradio_client import Client, handle_file

studio = Client("%s")
answer = studio.predict(
    image=handle_file("photo.jpg"),
    project=%r,
    api_name="/predict",
)
print(answer["label"], answer["probability"])
"""


def working(status: RunStatus) -> str:
    """An export that goes on."""
    return working_card("Making the ONNX file", status.export_stage or "Starting", status.export_fraction)


def failure(status: RunStatus, log: str) -> str:
    """An export that published nothing: which picture, how far off, what to do."""
    fold = ""
    if log:
        fold = (
            f'<details class="fold log" data-keep="log"><summary>{html.icon("file-text")}<span>Log</span></summary>'
            f'<pre tabindex="0">{html.escape(log)}</pre></details>'
        )
    again = html.button("Export again", "export", kind="primary", icon_name="refresh-cw")
    return failed_card("The ONNX file was not made", status.export_reason, status.export_advice, again, fold)


def ready(found: Exported, url: str, busy: bool, local: bool) -> str:
    """The published file: one button to take it away, and the figures that make it trustworthy.

    `url` ends in the name it is saved under. Where it lies is told only to who sits at this machine (`local`).
    """
    again = html.button("Export again", "export", icon_name="refresh-cw", disabled=busy)
    save = (
        f'<a class="b primary big" href="{html.escape(url)}" download>{html.icon("download", 18)}'
        f"<span>Download {html.escape(url.rpartition('/')[2])}</span></a>"
    )
    facts = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}<small>{html.escape(more)}</small></dd></div>"
        for name, value, more in _facts(found)
    )
    path = (
        ""
        if not local
        else (
            f'<div class="path"><span class="hint">On this computer</span><code>{html.escape(str(found.path))}</code>'
            f"{html.icon_button('Copy the path', 'copy', do='copy', kind='quiet', data_text=str(found.path))}</div>"
        )
    )
    return (
        f'<section class="card exported"><div class="take"><div><h2>One file, ready to leave</h2>'
        f"<p>Pictures go in as they are; labels, probabilities and an embedding come out. It needs nothing beside it.</p></div>"
        f'<div class="buttons">{save}{again}</div></div><dl class="facts-row">{facts}</dl>{path}</section>'
    )


def _facts(found: Exported) -> list[tuple[str, str, str]]:
    rows = [("Size", megabytes(found.size), "weights and labels inside")]
    if found.milliseconds is not None:
        where = PROVIDERS.get(found.provider, found.provider)
        threads = f"{where}, {html.plural(found.threads, 'thread')}" if found.threads else where
        rows.append(("One picture", f"{found.milliseconds:.1f} ms", threads))
    if found.off is not None:
        off = "under 0.000001" if found.off < 1e-6 else f"{found.off:.6f}"
        rows.append(("Largest difference", off, "of a probability, against the trained model"))
    if found.checked:
        whole = "all of them" if found.checked == found.of else f"of {found.of:,}"
        rows.append(("Checked on", html.plural(found.checked, "picture"), f"{found.source}, {whole}; in batches of 1, 2 and 5"))
    return rows


def nothing_yet() -> str:
    """A finished run without a file."""
    button = html.button("Export", "export", kind="primary", icon_name="package")
    text = "Makes one ONNX file of the trained model, checks it against that model on your own pictures, and only then lets it out."
    return html.empty_state("No ONNX file yet", text, button, "package")


def snippets(project: str) -> str:
    """How to use the file anywhere, and how programs call this studio."""
    anywhere = _snippet("Use it anywhere", "onnxruntime, NumPy and Pillow are all it takes.", SNIPPET)
    call = API_SNIPPET % (ORIGIN, project)
    here = _snippet("Or ask this studio", "While the window is open, programs on this computer may call it.", call)
    return f'<div class="two even">{anywhere}{here}</div>'


def _snippet(title: str, words: str, code: str) -> str:
    copy = html.local_button("Copy", "copy", kind="quiet", icon_name="copy")
    marked = html.escape(code).replace(ORIGIN, f'<span class="origin">{ORIGIN}</span>')
    return html.card(f'<p class="hint">{html.escape(words)}</p><pre class="code" tabindex="0">{marked}</pre>', title=title, aside=copy)
