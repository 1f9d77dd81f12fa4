"""Deleting and moving so that it can be undone: what was done is kept in the index, so undo outlives a reload and a restart."""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Sequence
from typing import Any

from blocklora.errors import ProjectError
from blocklora.projects import classes, images, kept
from blocklora.projects.names import free_name, name_key
from blocklora.projects.records import OTHER_ID, TEST, TRAINING, UndoEntry, UndoResult


def delete_class(connection: sqlite3.Connection, class_id: str) -> str:
    """Take a class and its images away; the token that brings them back."""
    row, now = classes.own(connection, class_id), time.time()
    ids = [r["id"] for r in connection.execute("SELECT id FROM images WHERE class_id = ? AND deleted_at IS NULL", (class_id,))]
    images.set_deleted(connection, ids, now)
    connection.execute("UPDATE classes SET deleted_at = ? WHERE id = ?", (now, class_id))
    return _remember(
        connection, "delete_class", f"Deleted the class {row['name']!r} and {_count(len(ids))}.", {"class": class_id, "images": ids}
    )


def delete_images(connection: sqlite3.Connection, image_ids: Sequence[str]) -> str:
    """Take images away; the token that brings them back."""
    ids = [row["id"] for row in _some(connection, image_ids)]
    images.set_deleted(connection, ids, time.time())
    return _remember(connection, "delete_images", f"Deleted {_count(len(ids))}.", {"images": ids})


def move_images(connection: sqlite3.Connection, image_ids: Sequence[str], class_id: str) -> str:
    """Move images to another class; the token that moves them back. Test images stay test images, but where the target is no class."""
    target = classes.living(connection, class_id)
    rows = [row for row in _some(connection, image_ids) if row["class_id"] != class_id]
    before = {row["id"]: row["class_id"] for row in rows}
    tests = [row["id"] for row in rows if row["part"] != TRAINING] if target["role"] else []
    images.set_class(connection, list(before), class_id)
    images.set_part(connection, tests, TRAINING)
    payload = {"to": class_id, "before": before, **({"tests": tests} if tests else {})}
    return _remember(connection, "move_images", f"Moved {_count(len(before))} to {target['name']!r}.", payload)


def move_part(connection: sqlite3.Connection, image_ids: Sequence[str], part: str) -> str:
    """Move images between those to learn from and those to test with, within their classes; the token that moves them back.

    Raises:
        ProjectError: images of something else are among them, or no image is there any more.
    """
    rows = _some(connection, image_ids)
    if any(classes.living(connection, class_id)["role"] for class_id in {row["class_id"] for row in rows}):
        raise ProjectError("Pictures of something else are in no class, so they cannot test one.", "Move them to a class first.")
    before = {row["id"]: row["part"] for row in rows if row["part"] != part}
    images.set_part(connection, list(before), part)
    where = "the test pictures" if part == TEST else "the pictures to learn from"
    return _remember(connection, "move_part", f"Moved {_count(len(before))} to {where}.", {"to": part, "before": before})


def keep_images(connection: sqlite3.Connection, image_ids: Sequence[str], kind: str) -> str:
    """Remember that images are right as they are (see `kept`); the token that forgets it."""
    rows = _some(connection, image_ids)
    new = kept.add(connection, [(row["sha256"], row["class_id"], kind) for row in rows])
    return _remember(connection, "keep_images", f"Kept {_count(len(rows))} as {'it is' if len(rows) == 1 else 'they are'}.", {"kept": new})


def undo(connection: sqlite3.Connection, token: str) -> UndoResult:
    """Bring back what the step of `token` took away, once.

    Raises:
        ProjectError: no such step, undone before, or nothing of it can be brought back.
    """
    row = connection.execute("SELECT * FROM undo WHERE token = ?", (token,)).fetchone()
    if row is None:
        raise ProjectError("This step can no longer be undone.", "Deleted images are kept for a week.")
    if row["undone_at"] is not None:
        raise ProjectError("This step was undone before.", "Nothing was changed.")
    result = _UNDO[row["kind"]](connection, json.loads(row["payload"]))
    connection.execute("UPDATE undo SET undone_at = ? WHERE token = ?", (time.time(), token))
    return result


def undoable(connection: sqlite3.Connection, limit: int) -> list[UndoEntry]:
    """The latest steps that can be undone, newest first."""
    rows = connection.execute("SELECT token, words, created FROM undo WHERE undone_at IS NULL ORDER BY rowid DESC LIMIT ?", (limit,))
    return [UndoEntry(row["token"], row["words"], row["created"]) for row in rows]


def _undo_delete_class(connection: sqlite3.Connection, payload: dict[str, Any]) -> UndoResult:
    row = connection.execute("SELECT * FROM classes WHERE id = ?", (payload["class"],)).fetchone()
    if row is None:
        raise ProjectError("This class can no longer be brought back.", "Deleted classes are kept for a week.")
    taken = {name_key(info.name) for info in classes.all_classes(connection)}
    name = free_name(row["name"], taken)
    connection.execute("UPDATE classes SET deleted_at = NULL, name = ?, name_key = ? WHERE id = ?", (name, name_key(name), row["id"]))
    restored, skipped = _restore(connection, payload["images"])
    return UndoResult(restored, skipped, f"The class {name!r} is back with {_count(restored)}{_left(skipped)}.")


def _undo_delete_images(connection: sqlite3.Connection, payload: dict[str, Any]) -> UndoResult:
    restored, skipped = _restore(connection, payload["images"])
    if payload["images"] and not restored:
        raise ProjectError(
            "None of these images can be brought back: their class was deleted, or the same pictures were added again.",
            "If the class was deleted, undo that first.",
        )
    return UndoResult(restored, skipped, f"{_count(restored)} back{_left(skipped)}.")


def _undo_move_images(connection: sqlite3.Connection, payload: dict[str, Any]) -> UndoResult:
    alive = {row["id"] for row in connection.execute("SELECT id FROM classes WHERE deleted_at IS NULL")}
    here = {row["id"] for row in images.selected(connection, list(payload["before"])) if row["class_id"] == payload["to"]}
    back = {image: home for image, home in payload["before"].items() if image in here and home in alive}
    if payload["before"] and not back:
        raise ProjectError(
            "None of these images can be moved back: they or their class are gone.", "If a class was deleted, undo that first."
        )
    for home in set(back.values()):
        images.set_class(connection, [image for image, to in back.items() if to == home], home)
    images.set_part(connection, [image for image in payload.get("tests", ()) if image in back], TEST)
    images.set_part(connection, [image for image, home in back.items() if home == OTHER_ID], TRAINING)
    skipped = len(payload["before"]) - len(back)
    return UndoResult(len(back), skipped, f"{_count(len(back))} moved back{_left(skipped)}.")


def _undo_move_part(connection: sqlite3.Connection, payload: dict[str, Any]) -> UndoResult:
    rows = images.selected(connection, list(payload["before"]))
    roles = {row["id"]: row["role"] for row in connection.execute("SELECT id, role FROM classes")}
    back = [row["id"] for row in rows if row["part"] == payload["to"] and not roles[row["class_id"]]]
    if payload["before"] and not back:
        raise ProjectError("None of these images can be moved back: they are gone, or were moved again.", "Nothing was changed.")
    for part in (TRAINING, TEST):
        images.set_part(connection, [image for image in back if payload["before"][image] == part], part)
    skipped = len(payload["before"]) - len(back)
    return UndoResult(len(back), skipped, f"{_count(len(back))} moved back{_left(skipped)}.")


def _undo_keep_images(connection: sqlite3.Connection, payload: dict[str, Any]) -> UndoResult:
    count = kept.remove(connection, payload["kept"])
    return UndoResult(count, 0, f"{_count(count)} back in the data check.")


_UNDO = {
    "delete_class": _undo_delete_class,
    "delete_images": _undo_delete_images,
    "move_images": _undo_move_images,
    "move_part": _undo_move_part,
    "keep_images": _undo_keep_images,
}


def _restore(connection: sqlite3.Connection, image_ids: Sequence[str]) -> tuple[int, int]:
    """Bring deleted images back where their class lives and no copy of them was added since: (restored, skipped)."""
    restored = 0
    for part in images.parts(image_ids):
        done = connection.execute(
            f"UPDATE OR IGNORE images SET deleted_at = NULL WHERE id IN ({images.marks(part)}) AND deleted_at IS NOT NULL "
            "AND class_id IN (SELECT id FROM classes WHERE deleted_at IS NULL)",
            part,
        )
        restored += done.rowcount
    return restored, len(image_ids) - restored


def _some(connection: sqlite3.Connection, image_ids: Sequence[str]) -> list[sqlite3.Row]:
    rows = images.selected(connection, image_ids)
    if not rows:
        raise ProjectError("None of the chosen images is in the project any more.", "Reload the page and choose again.")
    return rows


def _remember(connection: sqlite3.Connection, kind: str, words: str, payload: dict[str, Any]) -> str:
    token = secrets.token_urlsafe(12)
    connection.execute(
        "INSERT INTO undo (token, kind, words, payload, created) VALUES (?, ?, ?, ?, ?)",
        (token, kind, words, json.dumps(payload), time.time()),
    )
    return token


def _count(number: int) -> str:
    return "1 image" if number == 1 else f"{number} images"


def _left(skipped: int) -> str:
    return f"; {_count(skipped)} could not be brought back" if skipped else ""
