"""The export in a process of its own: `python -m exporters.worker RUN_DIR [FORM]`, its ONNX file or something made of that.

What it has to say goes into the run's events. It runs either after a training, started by its worker (which also answers a person's
Cancel), or alone, started from the Export tab; then it answers Cancel itself.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from blocklora.errors import StudioError
from blocklora.jobs.events import (
    Cancelled,
    EventWriter,
    ExportFailed,
    ExportFinished,
    ExportProgress,
    ExportStarted,
    FormFailed,
    FormFinished,
    FormProgress,
    FormStarted,
)
from blocklora.jobs.liveness import process_of
from blocklora.jobs.run_folder import CANCEL, RunFolder
from blocklora.services.exported import FORMS, LABELS
from blocklora.services.rejecting import RULE

WATCH_SECONDS = 0.2

# torch's threads otherwise spin while they wait for each other. On a machine that does other things too (a browser, a training),
# that made one picture take 490 ms instead of 11. Read when torch is loaded, so before that.
SHARE = ("OMP_WAIT_POLICY", "PASSIVE")


def export_run(run_dir: Path, out: Path | None = None) -> dict[str, Any]:
    """The run's ONNX file, copied to `out`, without events: see `exporters.pipeline.export_run`."""
    os.environ.setdefault(*SHARE)
    from exporters import pipeline

    return pipeline.export_run(run_dir, out)


def work(run: RunFolder, form: str = "") -> int:
    """Export a run, or make `form` of its published file, and tell its events about it; returns the exit code."""
    os.environ.setdefault(*SHARE)
    say = run.writer()
    say(FormStarted(form) if form else ExportStarted())
    threading.Thread(target=_watch, args=(run, say), daemon=True).start()
    try:
        if form:
            _make_form(run, form, say)
        else:
            _export(run, say)
    except StudioError as error:
        print(error, file=sys.stderr)
        say(FormFailed(form, error.message, error.advice) if form else ExportFailed(error.message, error.advice))
        return 1
    except Exception as error:
        traceback.print_exc()
        reason = f"Something unexpected went wrong: {type(error).__name__}: {error}"
        advice = "Nothing was published. The log has the details."
        say(FormFailed(form, reason, advice) if form else ExportFailed(reason, advice))
        return 1
    return 0


def _export(run: RunFolder, say: EventWriter) -> None:
    from exporters.pipeline import make_export  # torch comes with it: the wish to cancel is heard from the first moment

    report = make_export(run, lambda stage, fraction: say(ExportProgress(stage, fraction)))
    say(ExportFinished(report["size"], report["seconds"]))


def _make_form(run: RunFolder, form: str, say: EventWriter) -> None:
    from exporters.forms import make_form

    seconds = make_form(run, form, lambda stage, fraction: say(FormProgress(form, stage, fraction)))
    say(FormFinished(form, seconds))


def _watch(run: RunFolder, say: EventWriter) -> None:
    """End at once when asked to, where the run's heartbeat names this process. Nothing half-made is ever published."""
    while True:
        if run.requested() == CANCEL:
            worker = process_of(run.heartbeat_path)
            if worker is not None and worker.pid == os.getpid():
                say(Cancelled())
                os._exit(0)
        time.sleep(WATCH_SECONDS)


def main(arguments: list[str]) -> int:
    if len(arguments) not in (1, 2) or (len(arguments) == 2 and arguments[1] not in (*FORMS, LABELS, RULE)):
        print(f"usage: python -m exporters.worker RUN_DIR [{'|'.join((*FORMS, LABELS, RULE))}]", file=sys.stderr)
        return 2
    return work(RunFolder(Path(arguments[0]).resolve()), *arguments[1:])


if __name__ == "__main__":
    # Leave without tearing torch down: its threads can hold an exit up for seconds after everything has been written.
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
