"""What a person wrote about a run; it lies in the run's folder and goes where that goes."""

from __future__ import annotations

import time

from blocklora.errors import JobError
from blocklora.files import read_json, write_json
from blocklora.jobs.run_folder import RunFolder

LONGEST = 2000  # characters


def read_note(run: RunFolder) -> str:
    """The note on a run, '' where there is none."""
    try:
        values = read_json(run.note_path)
    except ValueError:  # damaged: a note is not worth failing over
        return ""
    text = values.get("text") if isinstance(values, dict) else None
    return text[:LONGEST] if isinstance(text, str) else ""


def write_note(run: RunFolder, text: str) -> None:
    """Put a note on a run; an empty one takes it away.

    Raises:
        JobError: it is too long, or the run is gone.
    """
    text = text.strip()
    if len(text) > LONGEST:
        raise JobError(f"the note has {len(text):,} characters; at most {LONGEST:,} are kept.", "Make it shorter.")
    if not run.spec_path.exists():  # writing would make the folder anew
        raise JobError(f"the run {run.name} is gone.", "Choose one from the list.")
    if text:
        write_json(run.note_path, {"text": text, "written": time.time()})
    else:
        run.note_path.unlink(missing_ok=True)
