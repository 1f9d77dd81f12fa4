"""Classes, images, undo and settings of one project."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from PIL import Image
from projects_helpers import encoded, files_below, fill

from blocklora.errors import ImageError, ProjectError
from blocklora.projects import cleaning
from blocklora.projects.intake import accept, plan_bytes
from blocklora.projects.project import Project


def names(project: Project) -> list[tuple[str, int]]:
    return [(info.name, info.count) for info in project.classes()]


# ---- classes


def test_classes_keep_their_ids_through_rename_and_reorder(project: Project) -> None:
    cats, dogs, birds = (project.add_class(name) for name in ("cats", "dogs", "birds"))
    project.rename_class(cats, "  Big \t cats ")
    project.reorder_classes([birds, cats, dogs])
    assert [(info.id, info.name, info.position) for info in project.classes()] == [
        (birds, "birds", 0),
        (cats, "Big cats", 1),
        (dogs, "dogs", 2),
    ]
    project.rename_class(cats, "BIG CATS")  # its own name in another case is no clash


@pytest.mark.parametrize(
    ("name", "words"),
    [("", "empty"), (" \n\t", "empty"), ("\u200b\u200d", "empty"), ("\0\x07", "empty"), ("x" * 201, "201 characters; at most 200")],
)
def test_names_that_cannot_be(project: Project, name: str, words: str) -> None:
    with pytest.raises(ProjectError, match=words):
        project.add_class(name)
    cats = project.add_class("cats")
    with pytest.raises(ProjectError, match=words):
        project.rename_class(cats, name)


@pytest.mark.parametrize("twin", ["CATS", "cats ", "ｃａｔｓ", "c\u0000ats"])
def test_names_are_unique_whatever_their_case(project: Project, twin: str) -> None:
    project.add_class("cats")
    dogs = project.add_class("dogs")
    with pytest.raises(ProjectError, match="already a class named 'cats'"):
        project.add_class(twin)
    with pytest.raises(ProjectError, match="already a class named 'cats'"):
        project.rename_class(dogs, twin)


def test_names_in_any_language(project: Project) -> None:
    for name in ("猫", "שועל", "क्षत्रिय", "Straße", "👩‍🌾 farmer", "<b>bold</b>", "x" * 200, "cafe\u0301"):
        project.add_class(name)
    found = [info.name for info in project.classes()]
    assert found[:6] == ["猫", "שועל", "क्षत्रिय", "Straße", "👩‍🌾 farmer", "<b>bold</b>"] and found[7] == "café"


def test_stale_ids_are_told(project: Project) -> None:
    for act in (
        lambda: project.rename_class("c_gone", "x"),
        lambda: project.delete_class("c_gone"),
        lambda: project.reorder_classes(["c_gone"]),
        lambda: project.move_images(["i_gone"], "c_gone"),
        lambda: project.delete_images(["i_gone"]),
        lambda: project.image("i_gone"),
        lambda: project.thumbnail("../../etc/passwd"),
        lambda: project.undo("gone"),
    ):
        with pytest.raises(ProjectError):
            act()


# ---- images and undo


def test_move_and_undo(project: Project) -> None:
    ids = fill(project, "cats", range(4))
    other = fill(project, "dogs", range(10, 12))
    dogs = project.classes()[1].id
    token = project.move_images([*ids[:2], other[0], ids[0]], dogs)
    assert names(project) == [("cats", 2), ("dogs", 4)]
    result = project.undo(token)
    assert (result.restored, result.skipped) == (2, 0) and names(project) == [("cats", 4), ("dogs", 2)]
    with pytest.raises(ProjectError, match="undone before"):
        project.undo(token)


def test_delete_images_and_undo_after_a_reload(project: Project) -> None:
    ids = fill(project, "cats", range(4))
    token = project.delete_images(ids[1:3])
    assert names(project) == [("cats", 2)] and project.dataset().counts == (2,)
    again = Project.open(project.path)
    assert [(entry.token, entry.words) for entry in again.undoable()] == [(token, "Deleted 2 images.")]
    assert again.thumbnail(ids[1]).is_file()  # results of earlier runs still show it
    again.undo(token)
    assert names(again) == [("cats", 4)] and again.undoable() == []


def test_delete_class_and_undo(project: Project) -> None:
    fill(project, "cats", range(3))
    fill(project, "dogs", range(10, 13))
    cats = project.classes()[0].id
    token = project.delete_class(cats)
    assert names(project) == [("dogs", 3)] and project.undoable()[0].words == "Deleted the class 'cats' and 3 images."
    project.undo(token)
    assert names(project) == [("cats", 3), ("dogs", 3)] and project.classes()[0].id == cats


def test_undo_of_a_class_whose_name_is_taken_and_whose_pictures_came_again(project: Project) -> None:
    fill(project, "cats", range(3))
    token = project.delete_class(project.classes()[0].id)
    fill(project, "Cats", range(1))
    result = project.undo(token)
    assert (result.restored, result.skipped) == (2, 1) and "could not" in result.words
    assert sorted(names(project)) == [("Cats", 1), ("cats (2)", 2)]


def test_undo_of_images_whose_class_is_gone_can_be_tried_again(project: Project) -> None:
    ids = fill(project, "cats", range(2))
    images, whole = project.delete_images(ids[:1]), project.delete_class(project.classes()[0].id)
    with pytest.raises(ProjectError, match="undo that first"):
        project.undo(images)
    project.undo(whole)
    assert names(project) == [("cats", 1)]
    project.undo(images)
    assert names(project) == [("cats", 2)]


def test_undo_of_a_move_leaves_what_was_moved_on(project: Project) -> None:
    ids = fill(project, "cats", range(3))
    dogs, birds = project.add_class("dogs"), project.add_class("birds")
    first = project.move_images(ids, dogs)
    project.move_images(ids[:1], birds)
    result = project.undo(first)
    assert (result.restored, result.skipped) == (2, 1) and names(project) == [("cats", 2), ("dogs", 0), ("birds", 1)]


def test_undo_of_a_move_from_a_class_that_is_gone(project: Project) -> None:
    ids = fill(project, "cats", range(1))
    dogs = project.add_class("dogs")
    token = project.move_images(ids, dogs)
    project.delete_class(project.classes()[0].id)
    with pytest.raises(ProjectError, match="undo that first"):
        project.undo(token)


def test_more_images_than_one_statement_takes(project: Project) -> None:
    cats, dogs = project.add_class("cats"), project.add_class("dogs")
    with project.database.write() as connection:
        connection.executemany(
            "INSERT INTO images (id, class_id, sha256, format, width, height, bytes, phash, original_name, added) "
            "VALUES (?, ?, ?, 'PNG', 1, 1, 1, '0000000000000000', 'x', 0)",
            [(f"i_{n}", cats, f"{n:064x}") for n in range(1300)],
        )
    ids = [f"i_{n}" for n in range(1300)]
    token = project.move_images(ids, dogs)
    assert names(project) == [("cats", 0), ("dogs", 1300)]
    project.undo(token)
    gone = project.delete_images(ids[:1200])
    assert names(project) == [("cats", 100), ("dogs", 0)]
    assert project.undo(gone).restored == 1200


def test_pages(project: Project) -> None:
    ids = fill(project, "cats", range(7))
    fill(project, "dogs", range(20, 22))
    cats = project.classes()[0].id
    first, last = project.images(cats, 0, 3), project.images(cats, 99, 3)
    assert [image.id for image in first.items] == ids[:3:-1] and (first.total, first.page, first.pages) == (7, 0, 3)
    assert [image.id for image in last.items] == ids[:1] and last.page == 2
    assert [image.id for image in project.images(cats, -5, 2, newest_first=False).items] == ids[:2]
    assert project.images(None, 0, 100).total == 9
    assert project.images("c_none").items == [] and project.images("c_none").pages == 1
    assert len(project.images(None, 0, 10**9).items) == 9 and len(project.images(None, 0, 0).items) == 1


# ---- files


def opened(path: Path) -> tuple[str | None, tuple[int, int]]:
    with Image.open(path) as image:
        return image.format, image.size


def test_thumbnails_are_made_once_and_again_when_lost(project: Project) -> None:
    (image,) = fill(project, "cats", range(1))
    path = project.thumbnail(image)
    stamp = path.stat().st_mtime_ns
    assert project.thumbnail(image) == path and path.stat().st_mtime_ns == stamp
    path.write_bytes(b"")  # what a power cut may leave
    assert opened(project.thumbnail(image)) == ("WEBP", (48, 48))
    path.unlink()
    assert opened(project.thumbnail(image)) == ("WEBP", (48, 48))


def test_view_is_made_on_demand(project: Project) -> None:
    accept(project, plan_bytes(project, [("big.jpg", encoded(1, "JPEG", 1500))], class_name="cats"))
    image = project.images(None).items[0]
    assert not list((project.path / "thumbs").rglob("*.view.webp"))
    assert opened(project.view(image.id)) == ("WEBP", (1024, 1024))
    assert project.original(image.id).suffix == ".jpg" and project.original(image.id).read_bytes() == encoded(1, "JPEG", 1500)


def test_an_original_that_is_gone_is_told(project: Project) -> None:
    (image,) = fill(project, "cats", range(1))
    project.original(image).unlink()
    with pytest.raises(ImageError, match=r"0\.png cannot be shown: the file is no longer there"):
        project.view(image)


# ---- cleaning


def test_purge_forgets_old_deletions_with_their_files(project: Project) -> None:
    ids = fill(project, "cats", range(4))
    fill(project, "dogs", range(10, 12))
    again = project.image(ids[1]).sha256
    token = project.delete_images(ids[:2])
    fill(project, "dogs", range(1, 2))  # the content of ids[1], alive again under another id
    project.delete_class(project.classes()[0].id)
    assert cleaning.purge(project.database, project.blobs) == 0  # a week has not passed
    gone = project.original(ids[0])
    assert cleaning.purge(project.database, project.blobs, older_than=-1) == 4
    assert not gone.exists() and len(files_below(project.path / "images")) == 3
    assert any(path.stem == again for _, path in project.blobs.contents())
    assert project.undoable() == [] and len(files_below(project.path / "thumbs")) == 3
    with pytest.raises(ProjectError, match="no longer be undone"):
        project.undo(token)
    assert names(project) == [("dogs", 3)]


def test_orphans_are_removed_when_old(project: Project) -> None:
    fill(project, "cats", range(2))
    orphan = project.path / "images" / "ab" / ("ab" * 32 + ".png")
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"x")
    (orphan.parent / ".incoming.x.tmp").write_bytes(b"x")
    cleaning.remove_orphans(project.database, project.blobs)
    assert orphan.exists()  # another process may be in the middle of its import
    cleaning.remove_orphans(project.database, project.blobs, older_than=-1)
    assert not orphan.exists() and not (orphan.parent / ".incoming.x.tmp").exists()
    assert len(files_below(project.path / "images")) == 2


def test_cleaning_runs_once_a_day(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[float] = []
    monkeypatch.setattr(cleaning, "purge", lambda *_: runs.append(time.time()))
    for _ in range(3):
        cleaning.clean_sometimes(project.database, project.blobs)
    assert len(runs) == 1
    project.set_setting("cleaning.last", time.time() - 2 * cleaning.EVERY_SECONDS)
    cleaning.clean_sometimes(project.database, project.blobs)
    assert len(runs) == 2


# ---- the rest


def test_settings(project: Project) -> None:
    assert project.get_setting("backbone", "builtin") == "builtin"
    for value in ({"a": [1, None, "ä"]}, "ViT-B-32", None, 3.5):
        project.set_setting("backbone", value)
        assert Project.open(project.path).get_setting("backbone", "x") == value


def test_dataset_is_in_class_order_and_plain_json(project: Project) -> None:
    cats, dogs = fill(project, "cats", range(2)), fill(project, "dogs", range(10, 13))
    project.add_class("empty")
    ids = [info.id for info in project.classes()]
    project.reorder_classes([ids[1], ids[0], ids[2]])
    dataset = project.dataset()
    assert dataset.class_names == ("dogs", "cats", "empty") and dataset.counts == (3, 2, 0)
    assert [item.image_id for item in dataset.items] == [*dogs, *cats]
    assert type(dataset).from_dict(json.loads(json.dumps(dataset.to_dict()))) == dataset


def test_a_copied_folder_is_a_project(project: Project, tmp_path: Path) -> None:
    import shutil

    fill(project, "cats", range(2))
    assert not list(project.path.glob("project.sqlite-*"))  # nothing of it waits in a log while nobody works
    shutil.copytree(project.path, tmp_path / "elsewhere")
    copy = Project.open(tmp_path / "elsewhere")
    assert names(copy) == [("cats", 2)] and all(Path(item.path).is_relative_to(tmp_path) for item in copy.dataset().items)
