"""The job pill: one line on every tab that says what the machine is doing for the person."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from blocklora.errors import StudioError
from blocklora.services.studio import duration
from blocklora.ui import html

if TYPE_CHECKING:
    from blocklora.projects.project import Project
    from blocklora.services.status import RunStatus
    from blocklora.services.studio import QueueEntry, Studio

KEEP_SECONDS = 1.0  # several open pages ask at once; one look at the disk answers them all


class Pill:
    """Draws the pill; the queue is read at most once in `KEEP_SECONDS`, however many pages are open."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._lock = threading.Lock()
        self._read_at = -KEEP_SECONDS
        self._entries: list[QueueEntry] = []

    def entries(self) -> list[QueueEntry]:
        """What works and what waits, as read within the last second."""
        with self._lock:
            if time.monotonic() - self._read_at >= KEEP_SECONDS:
                self._entries = self._studio.queue()
                self._read_at = time.monotonic()
            return self._entries

    def draw(self, project: Project | None) -> str:
        """The pill while `project` is open."""
        entries = self.entries()
        working = next((entry for entry in entries if not entry.waiting), None)
        waiting = sum(entry.waiting for entry in entries)
        if working is not None:
            other = working.project_name if project is None or working.project_id != project.id else ""
            status = working.status
            if status.state == "finished":  # its worker goes on with what follows the training
                return self._exporting(status, other)
            parts = [f"{round(status.fraction * 100)} %"] if status.fraction else []
            parts += [f"{duration(status.eta)} left"] if status.eta is not None else []
            parts += [f"{waiting} waiting"] if waiting else []
            text = status.stage if status.stage == "Training" or not status.fraction else "Training"
            return _pill("busy", text, " · ".join(parts), other, status.fraction)
        if waiting:
            return _pill("busy", "Waiting", html.plural(waiting, "run"), "", 0.0)
        return self._at_rest(project)

    def _at_rest(self, project: Project | None) -> str:
        try:
            run = None if project is None else self._studio.current_run(project)
            status = None if run is None else self._studio.status(run.path)
        except StudioError:
            status = None
        if status is None:
            return _pill("idle", "Ready", "nothing is running", "", 0.0)
        if status.exporting:
            return self._exporting(status, "")
        words = {"finished": ("done", "Finished"), "failed": ("failed", "Training failed"), "cancelled": ("idle", "Cancelled")}
        kind, text = words.get(status.state, ("idle", "Ready"))
        return _pill(kind, text, "", "", 0.0)

    @staticmethod
    def _exporting(status: RunStatus, other: str) -> str:
        fraction = status.making.fraction if status.making is not None else status.export_fraction
        return _pill("busy", "Exporting", f"{round(fraction * 100)} %", other, fraction)


def _pill(kind: str, text: str, detail: str, other: str, fraction: float) -> str:
    """One line; pressing it leads to the Train tab. `fraction` fills its lower edge."""
    where = f'<span class="where">{html.escape(other)}</span>' if other else ""
    more = f'<span class="detail">{html.escape(detail)}</span>' if detail else ""
    bar = f'<span class="bar" style="width:{100 * fraction:.1f}%"></span>' if fraction else ""
    label = f"Jobs: {text} {detail}".strip()
    return (
        f'<button type="button" class="pill {kind}" data-do="tab" data-tab="train" aria-label="{html.escape(label)}">'
        f'<span class="dot"></span><span class="words"><b>{html.escape(text)}</b>{more}{where}</span>{bar}</button>'
    )
