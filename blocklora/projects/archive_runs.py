"""The rest of a project archive: finished runs, exported files and settings, each checked as a stranger's."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

from blocklora.files import write_json
from blocklora.projects import kept
from blocklora.projects.archives import MemberError, unpack
from blocklora.projects.copies import MANIFEST
from blocklora.projects.names import shown
from blocklora.projects.project import Project
from blocklora.projects.run_files import EXPORT_NAME, FINISHED, PLAIN, RUN_FILES, RUN_ID, SPEC, checked_spec
from blocklora.projects.sources import Skipped

SETTING_BYTES = 64 * 1024
KEPT_BYTES = 16 * 2**20  # of what a person keeps against the data check: a line for each picture

_SETTING = re.compile(r"[a-z][a-z0-9_.-]{0,63}")


def runs(project: Project, archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], skipped: list[Skipped]) -> set[str]:
    """Take the known files of finished runs; the ids of the runs taken."""
    ids = {name.split("/")[1] for name in members if name.startswith("runs/") and name.endswith(f"/{FINISHED}")}
    taken = {run for run in ids if RUN_ID.fullmatch(run) and f"runs/{run}/{FINISHED}" in members}
    for run in sorted(taken):
        for relative, cap in RUN_FILES.items():
            member = members.get(f"runs/{run}/{relative}")
            if member is not None:
                _take(archive, member, project.runs_dir / run / relative, cap, skipped)
    known = {MANIFEST, *(f"runs/{run}/{relative}" for run in taken for relative in RUN_FILES)}
    others = [n for n in members if n not in known and not n.startswith(("images/", "exports/"))]
    skipped += [Skipped(shown(name), "not a file that a project has", "unsupported") for name in others]
    return {run for run in sorted(taken) if _settled(project.runs_dir / run, skipped)}


def _settled(run: Path, skipped: list[Skipped]) -> bool:
    """Whether a run is whole and asks for nothing it should not; else it is removed."""
    try:
        text = (run / SPEC).read_text(encoding="utf-8")
        result = json.loads((run / FINISHED).read_text(encoding="utf-8"))
        if not isinstance(result, dict):
            raise ValueError("a result that is no object")
        write_json(run / SPEC, checked_spec(text))
    except (OSError, ValueError):
        skipped.append(Skipped(f"runs/{run.name}/", "this run is left out: its specification or result cannot be used", "corrupt"))
        shutil.rmtree(run)
        return False
    return True


def exports(project: Project, archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], skipped: list[Skipped]) -> None:
    for name, member in members.items():
        if name.startswith("exports/"):
            plain = name.removeprefix("exports/")
            if EXPORT_NAME.fullmatch(plain):
                _take(archive, member, project.exports_dir / plain, RUN_FILES["export/model.onnx"], skipped)
            else:
                skipped.append(Skipped(shown(name), "not a file that a project has", "unsupported"))


def _take(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, cap: int, skipped: list[Skipped]) -> None:
    """Unpack one file under a name of ours; JSON must be JSON."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        unpack(archive, member, target, cap)
        if target.suffix in (".json", ".jsonl"):
            text = target.read_text(encoding="utf-8")
            for piece in text.splitlines() if target.suffix == ".jsonl" else [text]:
                json.loads(piece)
    except MemberError as error:
        skipped.append(Skipped(shown(member.filename), str(error), error.kind))
    except (ValueError, RecursionError):
        target.unlink()
        skipped.append(Skipped(shown(member.filename), "damaged: it is not JSON", "corrupt"))


def settings(project: Project, manifest: dict[str, Any], runs: set[str]) -> None:
    """Keep settings that cannot point anywhere: a run that is there, a backbone by its plain name, and other small values."""
    values = manifest.get("settings")
    for key, value in (values if isinstance(values, dict) else {}).items():
        if not _SETTING.fullmatch(key) or len(json.dumps(value)) > (KEPT_BYTES if key == kept.KEY else SETTING_BYTES):
            continue
        if key == "current_run" and value not in runs:
            continue
        if not _plain_backbone(value if key == "backbone" else value.get("backbone", "x") if isinstance(value, dict) else "x"):
            continue
        project.set_setting(key, value)


def _plain_backbone(value: Any) -> bool:
    """Whether a backbone is called by a name; from a stranger, a path is not followed."""
    return isinstance(value, str) and PLAIN.fullmatch(value) is not None
