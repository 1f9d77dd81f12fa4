"""Pictures that are not trained on: those of something else, and the person's own test pictures. Who sees them, and who must not."""

from __future__ import annotations

import io
import json
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageOps
from projects_helpers import encoded, fill, picture

from blocklora.errors import ImportRefused, ProjectError
from blocklora.projects import migrations
from blocklora.projects.database import APPLICATION_ID, FILE_NAME
from blocklora.projects.dataset import NO_CLASS, Dataset, Item
from blocklora.projects.folders import read_class_folders, read_loose
from blocklora.projects.intake import accept, plan_bytes, plan_files, plan_folder, plan_zip
from blocklora.projects.library import Library
from blocklora.projects.near import near_pairs
from blocklora.projects.project import Project
from blocklora.projects.records import OTHER_ID, TEST, TRAINING
from blocklora.projects.splits import split

MakeZip = Callable[..., Path]


def fill_others(project: Project, numbers: range) -> list[str]:
    pictures = [(f"{number}.png", encoded(number)) for number in numbers]
    return accept(project, plan_bytes(project, pictures, class_id=project.something_else().id)).image_ids


def give_tests(project: Project, make_zip: MakeZip, members: dict[str, bytes]) -> list[str]:
    return accept(project, plan_zip(project, make_zip(members), part=TEST)).image_ids


@pytest.fixture
def mixed(project: Project, make_zip: MakeZip) -> Project:
    """Two classes of 4 and 3, two pictures of something else, three test pictures."""
    fill(project, "cats", range(4))
    fill(project, "dogs", range(10, 13))
    fill_others(project, range(20, 22))
    give_tests(project, make_zip, {"cats/a.png": encoded(30), "cats/b.png": encoded(31), "dogs/c.png": encoded(32)})
    return project


def test_an_index_of_before_gets_both(tmp_path: Path) -> None:
    """Made by the statements of schema 2, with data in it."""
    folder = tmp_path / "old"
    folder.mkdir()
    with closing(sqlite3.connect(folder / FILE_NAME, isolation_level=None)) as old:
        old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        for number in (1, 2):
            for statement in migrations.MIGRATIONS[number - 1]:
                old.execute(statement)
        old.execute("PRAGMA user_version = 2")
        old.execute("INSERT INTO project VALUES (1, 'Old', 1.0)")
        # A person's own class of that name stays a class.
        for place, name in enumerate(("Cats", "Something else")):
            old.execute(
                "INSERT INTO classes (id, name, name_key, position, created) VALUES (?, ?, ?, ?, 1.0)",
                (f"c_{place}", name, name.lower(), place),
            )
        for number in range(3):
            sha = f"{number:064x}"
            old.execute(
                "INSERT INTO images (id, class_id, sha256, format, width, height, bytes, phash, original_name, added) "
                "VALUES (?, ?, ?, 'PNG', 4, 4, 9, '0', 'a.png', 1.0)",
                (f"i_{number}", f"c_{number % 2}", sha),
            )
        old.execute("INSERT INTO undo VALUES ('t', 'delete_images', 'Deleted 1 image.', '{\"images\": [\"i_0\"]}', 1.0, NULL)")
        old.execute("UPDATE images SET deleted_at = 1.0 WHERE id = 'i_0'")
    project = Project.open(folder)
    assert [(c.name, c.count, c.tests) for c in project.classes()] == [("Cats", 1, 0), ("Something else", 1, 0)]
    assert (project.something_else().id, project.something_else().count) == (OTHER_ID, 0)
    assert project.test_dataset() is None and project.dataset().others == ()
    assert project.undo("t").restored == 1 and project.classes()[0].count == 2
    assert project.move_images(["i_0"], OTHER_ID) and project.something_else().count == 1
    assert Project.open(folder).something_else().count == 1  # the step is not taken twice


def test_neither_is_seen_by_what_learns(mixed: Project) -> None:
    assert [(c.name, c.count, c.tests) for c in mixed.classes()] == [("cats", 4, 2), ("dogs", 3, 1)]
    dataset, tests = mixed.dataset(), mixed.test_dataset()
    assert dataset.class_names == ("cats", "dogs") and dataset.counts == (4, 3)
    assert len(dataset.others) == 2 and {item.label for item in dataset.others} == {NO_CLASS}
    assert tests is not None and tests.class_names == dataset.class_names and tests.counts == (2, 1) and tests.others == ()
    parts = split(dataset, 0.5, 1)
    shas = {dataset.items[i].sha256 for i in (*parts.train, *parts.held_out)}
    assert len(shas) == 7 and not shas & {item.sha256 for item in (*tests.items, *dataset.others)}
    assert mixed.images(None).total == 7
    assert mixed.images(mixed.classes()[0].id).total == 4 and mixed.images(mixed.classes()[0].id, part=TEST).total == 2


def test_the_list_of_projects_counts_what_is_learned_from(library: Library, mixed: Project) -> None:
    (info,) = library.list()
    assert (info.n_images, info.n_classes) == (7, 2)


def test_previews_are_not_made_anew_for_them(mixed: Project, make_zip: MakeZip) -> None:
    before = mixed.mark()
    fill_others(mixed, range(40, 41))
    (new,) = give_tests(mixed, make_zip, {"dogs/d.png": encoded(41)})
    assert mixed.mark() == before
    mixed.move_part([new], TRAINING)
    assert mixed.mark() != before


def test_the_data_version_counts_others_and_is_the_old_one_without(mixed: Project) -> None:
    dataset = mixed.dataset()
    plain = replace(dataset, others=())
    assert dataset.data_hash != plain.data_hash
    assert "others" not in plain.to_dict()
    # What the program wrote before there were any: SHA-256 of the JSON list of pairs.
    import hashlib

    pairs = sorted((item.sha256, dataset.class_names[item.label]) for item in dataset.items)
    assert plain.data_hash == hashlib.sha256(json.dumps(pairs, separators=(",", ":")).encode()).hexdigest()
    assert Dataset.from_dict(json.loads(json.dumps(dataset.to_dict()))) == dataset


def test_a_snapshot_with_a_labelled_other_is_refused(mixed: Project) -> None:
    values = mixed.dataset().to_dict()
    values["others"][0]["label"] = 0
    with pytest.raises(ProjectError, match="contradicts itself"):
        Dataset.from_dict(values)


def test_snapshots_find_others_where_the_project_went(mixed: Project) -> None:
    dataset = mixed.dataset()
    lost = replace(dataset, others=tuple(replace(item, path="/gone") for item in dataset.others))
    assert lost.located(mixed.path) == dataset


def test_something_else_is_no_class_to_rename_or_delete(project: Project) -> None:
    other = project.something_else()
    for step in (lambda: project.rename_class(other.id, "x"), lambda: project.delete_class(other.id)):
        with pytest.raises(ProjectError, match="is no class"):
            step()
    assert project.add_class("Something else") != other.id  # a class may go by the name
    assert [c.name for c in project.classes()] == ["Something else"]


def test_pictures_move_there_and_back(mixed: Project) -> None:
    cats, other = mixed.classes()[0], mixed.something_else()
    (one, *_) = mixed.images(cats.id).items
    token = mixed.move_images([one.id], other.id)
    assert (mixed.classes()[0].count, mixed.something_else().count) == (3, 3)
    assert "'Something else'" in mixed.undoable()[0].words
    assert mixed.undo(token).restored == 1 and mixed.classes()[0].count == 4
    (strange, *_) = mixed.images(other.id).items
    mixed.move_images([strange.id], cats.id)
    assert mixed.classes()[0].count == 5 and len(mixed.dataset().others) == 1
    deleted = mixed.delete_images([i.id for i in mixed.images(other.id).items])
    assert mixed.something_else().count == 0 and mixed.undo(deleted).restored == 1


def test_a_test_picture_that_becomes_something_else_is_a_test_picture_again_on_undo(mixed: Project) -> None:
    cats, other = mixed.classes()[0], mixed.something_else()
    (one, *_) = mixed.images(cats.id, part=TEST).items
    token = mixed.move_images([one.id], other.id)
    assert mixed.image(one.id).part == TRAINING and len(mixed.dataset().others) == 3
    mixed.undo(token)
    assert mixed.image(one.id).part == TEST and mixed.classes()[0].tests == 2


def test_moving_between_the_parts(mixed: Project) -> None:
    cats, dogs = mixed.classes()
    (one, *_) = mixed.images(cats.id).items
    token = mixed.move_part([one.id], TEST)
    assert [(c.count, c.tests) for c in mixed.classes()] == [(3, 3), (3, 1)]
    mixed.move_images([one.id], dogs.id)  # another class, the same part
    assert [(c.count, c.tests) for c in mixed.classes()] == [(3, 2), (3, 2)]
    assert mixed.undo(token).restored == 1
    assert [(c.count, c.tests) for c in mixed.classes()] == [(3, 2), (4, 1)]
    with pytest.raises(ProjectError, match="cannot test"):
        mixed.move_part([mixed.images(OTHER_ID).items[0].id], TEST)
    with pytest.raises(ProjectError, match="undone before"):
        mixed.undo(token)


def test_undoing_a_move_never_leaves_a_test_picture_in_no_class(mixed: Project) -> None:
    """From something else to a class, there to the test part, then the first step taken back."""
    cats = mixed.classes()[0]
    (strange, *_) = mixed.images(OTHER_ID).items
    token = mixed.move_images([strange.id], cats.id)
    mixed.move_part([strange.id], TEST)
    mixed.undo(token)
    assert mixed.image(strange.id).part == TRAINING and mixed.something_else().count == 2


def test_deleting_a_class_takes_its_test_pictures_and_brings_them_back(mixed: Project) -> None:
    token = mixed.delete_class(mixed.classes()[0].id)
    tests = mixed.test_dataset()
    assert tests is not None and tests.counts == (1,)
    assert mixed.undo(token).restored == 6
    assert [(c.name, c.tests) for c in mixed.classes()] == [("cats", 2), ("dogs", 1)]


def test_one_picture_is_in_one_part_only(mixed: Project, make_zip: MakeZip) -> None:
    plan = plan_zip(mixed, make_zip({"cats/x.png": encoded(0), "dogs/y.png": encoded(20), "cats/new.png": encoded(50)}), part=TEST)
    assert plan.n_images == 1 and [s.kind for s in plan.skipped] == ["duplicate", "duplicate"]
    assert plan.skipped[0].reason == "the same picture is already in 'cats' to learn from, so it can test nothing"
    back = plan_bytes(mixed, [("z.png", encoded(30))], class_name="cats")
    assert back.n_images == 0 and "is a test picture of 'cats'" in back.skipped[0].reason


def test_test_folders_must_be_classes_of_the_project(mixed: Project, make_zip: MakeZip) -> None:
    plan = plan_zip(mixed, make_zip({"Cats/x.png": encoded(60), "birds/y.png": encoded(61)}), part=TEST)
    assert [(s.name, s.kind) for s in plan.skipped] == [("birds/y.png", "unlabelled")] and "no class 'birds'" in plan.skipped[0].reason
    result = accept(mixed, plan)
    assert result.added == 1 and result.classes_created == [] and mixed.image(result.image_ids[0]).part == TEST


def test_a_class_deleted_meanwhile_is_not_made_again_by_its_test_pictures(mixed: Project, make_zip: MakeZip) -> None:
    plan = plan_zip(mixed, make_zip({"cats/x.png": encoded(60)}), part=TEST)
    mixed.delete_class(mixed.classes()[0].id)
    with pytest.raises(ImportRefused, match="no longer there"):
        accept(mixed, plan)
    assert [c.name for c in mixed.classes()] == ["dogs"]


def test_files_and_folders_can_test(mixed: Project, tmp_path: Path) -> None:
    (tmp_path / "tests" / "dogs").mkdir(parents=True)
    (tmp_path / "tests" / "dogs" / "n.png").write_bytes(encoded(70))
    plan = plan_folder(mixed, tmp_path / "tests", local_mode=True, allowed_roots=[tmp_path], part=TEST)
    assert accept(mixed, plan).added == 1
    (tmp_path / "m.png").write_bytes(encoded(71))
    accept(mixed, plan_files(mixed, [tmp_path / "m.png"], class_id=mixed.classes()[1].id, part=TEST))
    assert mixed.classes()[1].tests == 3


def again(number: int) -> bytes:
    """The picture of this number, coded anew."""
    out = io.BytesIO()
    picture(number).save(out, "JPEG", quality=85)
    return out.getvalue()


def test_look_alikes_of_the_other_part_are_told_before_they_are_added(mixed: Project, make_zip: MakeZip) -> None:
    plan = plan_zip(mixed, make_zip({"cats/again.jpg": again(0), "cats/new.png": encoded(80)}), part=TEST)
    assert [(leak.name, leak.note) for leak in plan.leaks] == [("cats/again.jpg", "looks like a picture to learn from: cats/0.png")]
    assert plan.n_images == 2  # told, not left out
    plan = plan_bytes(mixed, [("p.jpg", again(30))], class_name="cats")
    assert [leak.note for leak in plan.leaks] == ["looks like a test picture: cats/a.png"]
    assert plan_bytes(mixed, [("q.jpg", again(1))], class_name="cats").leaks == []  # within one part nothing leaks
    assert plan_bytes(mixed, [("r.jpg", again(31))], class_id=OTHER_ID).leaks == []


def test_folders_that_say_they_are_none_are_classes_unless_a_person_says_no(project: Project, make_zip: MakeZip) -> None:
    members = {"cats/a.png": encoded(1), "Background/b.png": encoded(2), "none/c.png": encoded(3)}
    plan = plan_zip(project, make_zip(members))
    assert plan.like_something_else == ["Background", "none"]
    accept(project, plan, as_others=["background"])
    assert [(c.name, c.count) for c in project.classes()] == [("cats", 1), ("none", 1)]
    assert project.something_else().count == 1
    assert plan_zip(project, make_zip({"none/d.png": encoded(4)})).like_something_else == []  # it is a class of this project


def test_archives_carry_both(library: Library, mixed: Project, tmp_path: Path) -> None:
    archive = library.export_zip(mixed.id, tmp_path / "mixed.zip")
    with zipfile.ZipFile(archive) as packed:
        assert json.loads(packed.read("project.json"))["version"] == 2
    skipped: list = []
    copy = library.import_zip(archive, skipped=skipped)
    assert skipped == []
    assert [(c.id, c.name, c.count, c.tests) for c in copy.classes()] == [(c.id, c.name, c.count, c.tests) for c in mixed.classes()]
    assert copy.dataset().data_hash == mixed.dataset().data_hash and len(copy.dataset().others) == 2
    mine, theirs = mixed.test_dataset(), copy.test_dataset()
    assert mine is not None and theirs is not None and mine.data_hash == theirs.data_hash


def test_a_project_without_either_is_written_for_older_programs(library: Library, project: Project, tmp_path: Path) -> None:
    fill(project, "cats", range(2))
    with zipfile.ZipFile(library.export_zip(project.id, tmp_path / "plain.zip")) as packed:
        manifest = json.loads(packed.read("project.json"))
    assert manifest["version"] == 1 and all("part" not in image for image in manifest["images"])


def test_archives_that_lie_about_parts(library: Library, mixed: Project, tmp_path: Path) -> None:
    archive, target = library.export_zip(mixed.id, tmp_path / "mixed.zip"), tmp_path / "lies.zip"
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(target, "w") as out:
        for name in source.namelist():
            data = source.read(name)
            if name == "project.json":
                manifest = json.loads(data)
                manifest["images"][0]["part"] = "x'; DROP TABLE images"
                next(image for image in manifest["images"] if image["class"] is None)["part"] = "test"
                del manifest["images"][1]["class"]
                data = json.dumps(manifest).encode()
            out.writestr(name, data)
    skipped: list = []
    copy = library.import_zip(target, skipped=skipped)
    assert [s.kind for s in skipped] == ["corrupt"] * 3
    assert sum(c.count for c in copy.classes()) == 5 and copy.something_else().count == 1


def test_copies_carry_both(library: Library, mixed: Project) -> None:
    copy = library.duplicate(mixed.id)
    assert [(c.count, c.tests) for c in copy.classes()] == [(4, 2), (3, 1)] and copy.something_else().count == 2


def test_a_projects_folder_is_read_with_its_others(mixed: Project) -> None:
    dataset, _ = read_class_folders(mixed.path)
    assert len(dataset.items) == 7 and len(dataset.others) == 2


def test_loose_pictures_are_of_no_class(tmp_path: Path, make_zip: MakeZip) -> None:
    folder = tmp_path / "loose"
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "a.png").write_bytes(encoded(1))
    (folder / "deep" / "er" / "b.png").write_bytes(encoded(2))
    (folder / "twice.png").write_bytes(encoded(1))
    items, skipped = read_loose(folder, tmp_path / "work")
    assert {item.label for item in items} == {NO_CLASS} and len(items) == 2 and [s.kind for s in skipped] == ["duplicate"]
    packed, _ = read_loose(make_zip({"a.png": encoded(1), "x/b.png": encoded(2)}), tmp_path / "work")
    assert {item.sha256 for item in packed} == {item.sha256 for item in items}


def test_near_pairs_name_the_nearest() -> None:
    assert near_pairs(["ff", "0f00"], ["fe", "ff", "0"], 2) == [(0, 1, 0)]
    assert near_pairs(["ff"], []) == []


def test_a_mirrored_picture_is_not_near_by_hash(mixed: Project, make_zip: MakeZip) -> None:
    """Why training looks at pixels, too."""
    out = io.BytesIO()
    ImageOps.mirror(Image.open(io.BytesIO(encoded(0)))).save(out, "PNG")
    assert plan_zip(mixed, make_zip({"cats/m.png": out.getvalue()}), part=TEST).leaks == []


def test_items_have_a_label() -> None:
    assert Item("p", NO_CLASS, "0" * 64, "0", "i").label < 0
