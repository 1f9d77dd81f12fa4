"""Notes on runs: how one shows, the button that opens it, and the act that keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blocklora.services.run_notes import LONGEST, write_note
from blocklora.services.showing import run_of
from blocklora.ui import html
from blocklora.ui.forms import Act, notice

if TYPE_CHECKING:
    from blocklora.projects.project import Project

ACT = "note"


def shown(note: str) -> str:
    """The note below a run's date; '' for none."""
    return f'<small class="run-note" dir="auto">{html.escape(note)}</small>' if note else ""


def button(run_id: str, note: str) -> str:
    """Opens a dialog with the note (js/67-tables.js), which sends `ACT`."""
    label = "Change the note" if note else "Write a note"
    return html.icon_button(label, "pencil", do="run-note", kind="quiet", data_run=run_id, data_note=note, data_most=LONGEST)


def keep(project: Project, act: Act) -> str:
    """Keep what was written; the toast that says so."""
    text = act.text("text")
    write_note(run_of(project, act.text("run")), text)
    return notice("The note is kept." if text.strip() else "The note is gone.")
