"""Whole projects copied: within the library, or out as one zip that `archive_in` reads."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
import time
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

from blocklora import __version__
from blocklora.errors import ProjectError
from blocklora.files import publish
from blocklora.projects import classes, images
from blocklora.projects.database import FILE_NAME
from blocklora.projects.plans import Progress
from blocklora.projects.project import Project
from blocklora.projects.records import OTHER_ROLE, TEST
from blocklora.projects.run_files import RUN_FILES, exported_files, finished_runs, regular, without_places

FORMAT, VERSION = "block-lora-studio-project", 2
"""Version 2 has test pictures and pictures of something else. A project without them is still written as version 1, for older programs."""

MANIFEST = "project.json"
TEXTS = (".json", ".jsonl", ".txt")


def duplicate(source: Project, target: Path, name: str) -> Project:
    """A full copy of a project in the new folder `target`, whatever others write to the source meanwhile."""
    try:
        copy = Project.create(target, name, source.staging)
        with source.database.read() as reading, closing(sqlite3.connect(target / FILE_NAME)) as writing:
            reading.execute("ROLLBACK")  # backup takes its own snapshot
            reading.backup(writing)
        for folder in ("images", "thumbs"):
            shutil.copytree(source.path / folder, target / folder, dirs_exist_ok=True, ignore=_hidden_and_links)
        for run in finished_runs(source.path):
            for relative in RUN_FILES:
                _copy(run / relative, target / "runs" / run.name / relative)
        for path in exported_files(source.path):
            _copy(path, target / "exports" / path.name)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    return copy


def export_zip(project: Project, target: Path, progress: Progress | None = None) -> Path:
    """Write a project as one zip: a manifest in plain JSON, original images, finished runs, exports. No database travels.

    Raises:
        ProjectError: the target's folder cannot be written to, or the disk is full.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp", delete=False) as handle:
            temporary = Path(handle.name)
    except OSError as error:
        raise ProjectError(f"{target.parent} cannot be written to ({error.strerror}).", "Choose another folder.") from error
    try:
        manifest = _manifest(project)
        # Pictures and weights do not pack: stored as they are, an archive is as quick as a copy.
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=1), zipfile.ZIP_DEFLATED)
            for done, image in enumerate(manifest["images"]):
                archive.write(project.path / "images" / image["sha256"][:2] / Path(image["file"]).name, image["file"])
                if progress:
                    progress(done + 1, len(manifest["images"]))
            for run in finished_runs(project.path):
                _add_run(archive, project, run)
            for path in exported_files(project.path):
                archive.write(path, f"exports/{path.name}")
        publish(temporary, target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ProjectError(f"The archive cannot be written ({error.strerror}).", "Check the disk and try again.") from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return target


def _manifest(project: Project) -> dict[str, Any]:
    with project.database.read() as connection:
        infos, found = classes.all_classes(connection), images.everything(connection)
        apart = images.everything(connection, TEST) + images.everything(connection, role=OTHER_ROLE)
        name = str(connection.execute("SELECT name FROM project").fetchone()[0])
        settings = {row["key"]: json.loads(row["value"]) for row in connection.execute("SELECT key, value FROM settings")}
    place = {info.id: number for number, info in enumerate(infos)}
    return {
        "format": FORMAT,
        "version": VERSION if apart else 1,
        "written_by": __version__,
        "written": time.time(),
        "name": name,
        "settings": {key: value for key, value in settings.items() if not key.startswith("cleaning.")},
        "classes": [{"id": info.id, "name": info.name} for info in infos],
        "images": [
            {
                "file": f"images/{project.blobs.original(i.sha256, i.format).name}",
                "sha256": i.sha256,
                "class": place.get(i.class_id),  # null: something else
                "id": i.id,
                "name": i.original_name,
                "added": i.added,
                **({"part": i.part} if i.part else {}),
            }
            for i in found + apart
        ],
    }


def _add_run(archive: zipfile.ZipFile, project: Project, run: Path) -> None:
    for relative in RUN_FILES:
        path, name = run / relative, f"runs/{run.name}/{relative}"
        if not regular(path):
            continue
        if path.suffix in TEXTS:
            text = path.read_text(encoding="utf-8", errors="replace")
            archive.writestr(name, without_places(text, project.path), zipfile.ZIP_DEFLATED)
        else:
            archive.write(path, name)


def _hidden_and_links(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if name.startswith(".") or (Path(folder) / name).is_symlink()}


def _copy(source: Path, target: Path) -> None:
    if regular(source):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
