"""Which pictures a project has by content: the same one cannot come twice, and one that tests must not look like one that teaches."""

from __future__ import annotations

from dataclasses import dataclass

from blocklora.projects.names import name_key
from blocklora.projects.near import near_pairs
from blocklora.projects.plans import ImportPlan, Note
from blocklora.projects.project import Project
from blocklora.projects.records import OTHER_ID, TEST, TRAINING


@dataclass(frozen=True)
class Place:
    """Where a picture is, or is to go: the name of its class, and the part of it."""

    class_name: str
    part: str


def present(project: Project) -> dict[str, Place]:
    """Content hash -> where it is, of all living images."""
    with project.database.read() as connection:
        rows = connection.execute(
            "SELECT i.sha256, i.part, c.name FROM images i JOIN classes c ON c.id = i.class_id WHERE i.deleted_at IS NULL"
        )
        return {row["sha256"]: Place(row["name"], row["part"]) for row in rows}


def reason(elsewhere: Place, here: Place) -> str:
    """Why a picture cannot be `here` when it is `elsewhere`, in words."""
    if elsewhere.part == here.part:
        same = name_key(elsewhere.class_name) == name_key(here.class_name)
        words = f"the same picture is already in {elsewhere.class_name!r}"
        return words if same else f"{words}, so it cannot be in {here.class_name!r} too"
    if here.part == TEST:
        return f"the same picture is already in {elsewhere.class_name!r} to learn from, so it can test nothing"
    return f"the same picture is a test picture of {elsewhere.class_name!r}, so it is not learned from"


def note_leaks(project: Project, plan: ImportPlan) -> None:
    """Note in `plan.leaks` which of its pictures look like one of the other part. Pictures of something else are neither."""
    if plan.target_id == OTHER_ID or not plan.images:
        return
    with project.database.read() as connection:
        rows = connection.execute(
            "SELECT i.phash, i.original_name, c.name FROM images i JOIN classes c ON c.id = i.class_id "
            "WHERE i.deleted_at IS NULL AND c.role = '' AND i.part = ?",
            (TRAINING if plan.part == TEST else TEST,),
        ).fetchall()
    what = "a picture to learn from" if plan.part == TEST else "a test picture"
    for mine, theirs, _ in near_pairs([image.facts.phash for image in plan.images], [row["phash"] for row in rows]):
        image, like = plan.images[mine], rows[theirs]
        name = f"{image.class_name}/{image.name.rsplit('/', 1)[-1]}"
        plan.leaks.append(Note(name, f"looks like {what}: {like['name']}/{like['original_name'].rsplit('/', 1)[-1]}"))
