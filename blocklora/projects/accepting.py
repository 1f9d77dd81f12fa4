"""Doing what an import plan says: files first, then all their names in one transaction."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress

from blocklora.errors import ImportRefused, ProjectError
from blocklora.projects import blobs, classes, cleaning
from blocklora.projects.names import name_key
from blocklora.projects.plans import ImportPlan, ImportResult, Progress
from blocklora.projects.project import Project
from blocklora.projects.records import OTHER_ID, TEST, new_id


def accept(project: Project, plan: ImportPlan, progress: Progress | None = None, as_others: Sequence[str] = ()) -> ImportResult:
    """Do what `plan` says: copy the files, then name them all in one transaction. A failure anywhere leaves the project as it was.

    Pictures of the plan's classes of the names `as_others` are taken as pictures of something else, which is no class.

    Raises:
        ImportRefused: the plan was used or discarded before, or its class is gone.
        ProjectError: a file has changed since it was looked at, or cannot be written (the disk is full).
    """
    if not plan.folder.is_dir():
        raise ImportRefused("This import was accepted or discarded before.", "Start the import again.")
    written: list[str] = []
    try:
        _copy(project, plan, written, progress)
        with project.database.write() as connection:
            result = _insert(connection, project, plan, {name_key(name) for name in as_others})
    except BaseException as error:
        with suppress(ProjectError):  # the index itself may be what failed; the cleaning at opening takes the rest
            cleaning.remove_unnamed(project.database, project.blobs, written)
        if isinstance(error, OSError):
            raise ProjectError(
                f"The images cannot be written ({error.strerror}); nothing was added.", "Free some space and try again."
            ) from error
        raise
    plan.close()
    return result


def _copy(project: Project, plan: ImportPlan, written: list[str], progress: Progress | None) -> None:
    """Put the files of all images in place and on disk; `written` grows by the contents that were not there before."""
    paths = []
    for done, image in enumerate(plan.images):
        facts = image.facts
        if not project.blobs.has(facts.sha256, facts.format, facts.size):
            written.append(facts.sha256)
            paths.append(project.blobs.put(image.path, facts.sha256, facts.format))
        if not project.blobs.thumbnail(facts.sha256).exists():
            project.blobs.put_thumbnail(facts.sha256, image.thumbnail)
        if progress:
            progress(done + 1, plan.n_images)
    blobs.flush(paths)


def _insert(connection: sqlite3.Connection, project: Project, plan: ImportPlan, as_others: set[str]) -> ImportResult:
    """Rows for all images of the plan; images that came in meanwhile by another way count as duplicates."""
    ids, created = _class_ids(connection, plan, as_others)
    present = {row["sha256"] for row in connection.execute("SELECT sha256 FROM images WHERE deleted_at IS NULL")}
    added: list[str] = []
    now = time.time()
    for image in plan.images:
        facts = image.facts
        if facts.sha256 in present:
            continue
        if not project.blobs.has(facts.sha256, facts.format, facts.size):
            # It was there when this import looked; another import that shared it failed and cleaned up. The lock is ours now.
            blobs.flush([project.blobs.put(image.path, facts.sha256, facts.format)])
        added.append(new_id("i"))
        connection.execute(
            "INSERT INTO images (id, class_id, sha256, format, width, height, bytes, phash, original_name, added, part) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(added[-1], ids[name_key(image.class_name)], facts.sha256, facts.format, facts.width, facts.height),
                *(facts.size, facts.phash, image.name, now, plan.part),
            ),
        )
    return ImportResult(added, len(plan.images) - len(added), created)


def _class_ids(connection: sqlite3.Connection, plan: ImportPlan, as_others: set[str]) -> tuple[dict[str, str], list[str]]:
    """Class key -> id for all classes of the plan, made where they are missing; and the names of those made."""
    ids: dict[str, str] = {}
    created: list[str] = []
    for name, _ in plan.classes:
        if plan.target_id is not None:  # chosen by id: a rename since then changes nothing
            ids[name_key(name)] = str(classes.living(connection, plan.target_id)["id"])
            continue
        if name_key(name) in as_others:
            ids[name_key(name)] = OTHER_ID
            continue
        row = classes.by_name(connection, name)
        if row is None and plan.part == TEST:
            raise ImportRefused(f"The class {name!r} is no longer there, so its pictures test nothing.", "Start the import again.")
        if row is None:
            created.append(name)
        ids[name_key(name)] = classes.add(connection, name) if row is None else str(row["id"])
    return ids, created
