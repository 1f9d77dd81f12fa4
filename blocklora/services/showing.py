"""Which run of a project a page shows, and runs found again by what a page sends back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from blocklora.errors import JobError
from blocklora.jobs.run_folder import RunFolder

if TYPE_CHECKING:
    from blocklora.projects.project import Project
    from blocklora.services.studio import Studio

ORDER = ("running", "queued")


def run_to_watch(studio: Studio, project: Project) -> RunFolder | None:
    """The run that the Train tab shows: the one at work, else the next one waiting, else the one where something happened last."""
    folders = sorted((path.parent for path in project.runs_dir.glob("*/spec.json")), reverse=True) if project.runs_dir.is_dir() else []
    states = {path: studio.status(path).state for path in folders}
    for wanted in ORDER:
        # Of several that wait, the oldest is the next to start.
        found = [path for path in reversed(folders) if states[path] == wanted]
        if found:
            return RunFolder(found[0])
    return RunFolder(max(folders, key=_last_word)) if folders else None


def _last_word(path: Path) -> float:
    """When a run said something last, in seconds since 1970."""
    try:
        return RunFolder(path).events_path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def run_of(project: Project, run_id: str) -> RunFolder:
    """The run of that id.

    Raises:
        JobError: the project has no such run.
    """
    if run_id and Path(run_id).name == run_id and (project.runs_dir / run_id / "spec.json").exists():
        return RunFolder(project.runs_dir / run_id)
    raise JobError(f"the project has no run {run_id!r}.", "It may have been deleted. Choose one from the list in Results.")
