"""The report on the current run: its button in the Results tab, and the toast that saves it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from blocklora.errors import JobError
from blocklora.projects.safe_names import safe_name
from blocklora.services.report import write_report
from blocklora.ui import html, plots
from blocklora.ui.forms import notice
from blocklora.ui.tab import Context

if TYPE_CHECKING:
    from blocklora.jobs.run_folder import RunFolder
    from blocklora.projects.project import Project

ACT = "report"


def button() -> str:
    """Asks for the report."""
    return f'<div class="results-tools">{html.button("Report", ACT, icon_name="file-text", title="One page to send or print")}</div>'


def figures(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The plots for the report, as far as they were measured: (title, SVG)."""
    found: list[tuple[str, str]] = []
    curve, calibration = result.get("learning_curve"), result.get("calibration")
    if isinstance(curve, dict) and len(curve.get("points") or ()) > 1:
        found.append(("Would more images help?", plots.learning_curve(curve["points"], curve.get("twice"))))
    if isinstance(calibration, dict) and calibration.get("ece_after") is not None:
        found.append(("Can its percentages be believed?", plots.reliability(calibration["before"], calibration["after"])))
    return found


def save(ctx: Context, project: Project, run: RunFolder | None) -> str:
    """Write the report; the toast that says so, from which the page saves it at once (js/20-toasts.js)."""
    if run is None:
        raise JobError("there is nothing to report on yet.", "Train first.")
    url = ctx.downloads.offer(write_report(run, figures=figures(run.result() or {})), f"{safe_name(project.name)}-report.html")
    link = f'<a class="b quiet" href="{html.escape(url)}" download data-save>Save</a>'
    return notice("The report is ready.", "One file with everything in it: send it, or open it and print.", "accent", action=link)
