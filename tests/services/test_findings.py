"""Findings on constructed pictures: what was planted is found, a clean set yields nothing, and what was dealt with is gone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from blocklora.files import write_json
from blocklora.jobs.run_folder import RunFolder
from blocklora.projects.dataset import Item
from blocklora.projects.intake import accept, plan_folder
from blocklora.projects.project import Project
from blocklora.projects.records import ClassInfo, ImageInfo
from blocklora.services.data_check import ADDS, AT_LEAST, LISTED, MOST, SURE, answers_of, found, look
from blocklora.services.findings import Check, Doubt, doubts, far_from_all, latest, record
from blocklora.services.previews import PreviewFolder

CLASSES = [ClassInfo("c_a", "apple", 0, 20), ClassInfo("c_b", "pear", 1, 20)]


def items(count: int = 40) -> list[Item]:
    return [Item(f"/{i}", i % 2, f"{i:064x}", "0" * 16, f"i_{i}") for i in range(count)]


def images(count: int = 40) -> dict[str, ImageInfo]:
    return {
        item.image_id: ImageInfo(item.image_id, CLASSES[item.label].id, item.sha256, "JPEG", 100 + i, 100, 1, item.phash, "x.jpg", i)
        for i, item in enumerate(items(count))
    }


def sure_of(labels: list[int], sure: float = 0.95) -> np.ndarray:
    return np.array([[sure, 1 - sure] if label == 0 else [1 - sure, sure] for label in labels])


def test_a_wrong_label_is_doubted_first() -> None:
    probabilities = sure_of([item.label for item in items()])
    probabilities[7], probabilities[4] = [0.99, 0.01], [0.2, 0.8]
    rows = doubts(items(), ["c_a", "c_b"], probabilities)
    assert [(row.image, row.labelled, row.likelier) for row in rows] == [("i_7", "c_b", "c_a"), ("i_4", "c_a", "c_b")]
    assert rows[0].odds == pytest.approx(np.log(99), abs=0.01)
    assert doubts(items(), ["c_a", "c_b"], sure_of([item.label for item in items()])) == ()


def test_a_class_of_three_is_not_judged() -> None:
    few = [*items(20), *(dataclasses.replace(item, label=2, image_id=f"n_{i}") for i, item in enumerate(items(3)))]
    probabilities = np.full((23, 3), 1 / 3)
    probabilities[20] = [0.98, 0.01, 0.01]
    assert doubts(few, ["c_a", "c_b", "c_c"], probabilities) == ()


def test_a_stranger_is_found_and_an_even_crowd_has_none() -> None:
    nearness = np.linspace(0.70, 0.80, 40)
    assert far_from_all(items(), nearness) == ()
    nearness[9] = 0.2
    assert far_from_all(items(), nearness) == ("i_9",)
    assert far_from_all(items(), np.full(40, 0.5)) == ()
    assert far_from_all(items(10), nearness[:10]) == ()


def test_a_picture_is_called_one_thing_only() -> None:
    poor = [""] * 40
    poor[3] = "dark"
    made = record("m", items(), {"doubts": (Doubt("i_1", "c_b", "c_a", 4.0),), "far": ("i_1", "i_3", "i_5"), "groups": [], "kinds": poor})
    assert made.far == ("i_1", "i_5") and made.poor == (("i_3", "dark"),)
    assert [image.id for image in found(made, CLASSES, images(), set(), {}).far] == ["i_5"]


def test_a_record_outlives_the_process_and_a_damaged_one_is_none(tmp_path: Path) -> None:
    made = Check("m", 4, (Doubt("i_1", "c_a", "c_b", 3.2),), (("i_1", "i_2"),), ("i_3",), (("i_4", "dark"),))
    made.write(tmp_path / "check.json")
    assert Check.read(tmp_path / "check.json") == made == latest(tmp_path / "check.json", "m")
    assert latest(tmp_path / "check.json", "another") is None
    (tmp_path / "check.json").write_text('{"version": 1, "mark": "m"}')
    assert Check.read(tmp_path / "check.json") is None
    (tmp_path / "check.json").write_text("[")
    assert Check.read(tmp_path / "check.json") is None


def suspects(check: Check, **given: object) -> list[str]:
    values = {"images": images(), "kept": set(), "answers": {}} | given
    return [row.image.id for row in found(check, CLASSES, **values).suspects]  # type: ignore[arg-type]


def test_only_clear_doubts_are_listed_and_never_too_many() -> None:
    many = tuple(Doubt(f"i_{i}", CLASSES[i % 2].id, CLASSES[1 - i % 2].id, 9.0 - i / 10) for i in range(40))
    assert suspects(Check("m", 40, many)) == [f"i_{i}" for i in range(AT_LEAST)]
    assert len(suspects(Check("m", 400, many))) == MOST * 400
    assert suspects(Check("m", 40, (Doubt("i_0", "c_a", "c_b", LISTED - 0.1),))) == []


def test_what_was_moved_deleted_or_kept_is_gone() -> None:
    check = Check("m", 40, (Doubt("i_0", "c_a", "c_b", 5.0), Doubt("i_2", "c_a", "c_b", 4.0)), far=("i_4",), poor=(("i_6", "dark"),))
    assert suspects(check) == ["i_0", "i_2"]
    moved = images() | {"i_0": dataclasses.replace(images()["i_0"], class_id="c_b")}
    assert suspects(check, images=moved) == ["i_2"]
    assert suspects(check, images={key: value for key, value in images().items() if key != "i_2"}) == ["i_0"]
    kept = {(images()[key].sha256, "c_a", "right") for key in ("i_0", "i_4", "i_6")}
    seen = found(check, CLASSES, images(), kept, {})
    assert [row.image.id for row in seen.suspects] == ["i_2"] and not seen.far and not seen.poor
    elsewhere = {(images()["i_0"].sha256, "c_b", "right")}  # it was right in another class
    assert suspects(check, kept=elsewhere) == ["i_0", "i_2"]


def test_copies_are_listed_across_classes_first_until_all_of_a_group_are_kept() -> None:
    check = Check("m", 40, alike=(("i_0", "i_2"), ("i_4", "i_5", "i_6"), ("i_8", "gone")))
    seen = found(check, CLASSES, images(), set(), {})
    assert [[image.id for image in group] for group in seen.alike] == [["i_6", "i_5", "i_4"], ["i_2", "i_0"]]
    kept = {(images()[key].sha256, images()[key].class_id, "apart") for key in ("i_0", "i_2", "i_4", "i_5")}
    assert [len(group) for group in found(check, CLASSES, images(), kept, {}).alike] == [3]


def test_a_trained_model_adds_and_takes_away() -> None:
    check = Check("m", 40, (Doubt("i_0", "c_a", "c_b", LISTED - 1), Doubt("i_2", "c_a", "c_b", LISTED + ADDS - 0.1)))
    assert suspects(check) == ["i_2"]
    answers = {"i_0": ("c_a", "c_b", SURE), "i_2": ("c_a", "c_a", SURE)}
    seen = found(check, CLASSES, images(), set(), answers)
    assert [(row.image.id, row.confirmed) for row in seen.suspects] == [("i_0", True)]
    stale = {"i_0": ("c_b", "c_b", SURE)}  # it was in another class when the model judged it
    assert suspects(check, answers=stale) == ["i_2"]


def test_small_and_uneven_classes_are_told() -> None:
    counts = [ClassInfo("c_a", "a", 0, 40), ClassInfo("c_b", "b", 1, 42), ClassInfo("c_c", "c", 2, 9), ClassInfo("c_d", "d", 3, 5)]
    counts.append(ClassInfo("c_e", "e", 4, 41))
    seen = found(Check("m", 137), counts, {}, set(), {})
    assert [info.name for info in seen.few] == ["d"] and [info.name for info in seen.uneven] == ["c"] and seen.usual == 40
    assert found(Check("m", 40), CLASSES, images(), set(), {}).nothing


def test_answers_of_a_run_by_class_id(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert answers_of(run, tmp_path) == {}
    write_json(run.dataset_path, {"dataset": {"class_ids": ["c_a", "c_b"]}})
    rows = [{"image_id": "i_0", "label": 0, "predicted": 1, "probability": 0.9}]
    write_json(run.result_path, {"held_out": {"images": []}, "cross_validated": {"images": rows}})
    assert answers_of(run, tmp_path) == {"i_0": ("c_a", "c_b", 0.9)}


def test_a_project_is_looked_at_where_its_preview_lies(sample_pictures: Path, tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project", "Fruit", tmp_path / "staging")
    accept(project, plan_folder(project, sample_pictures, local_mode=True, allowed_roots=[tmp_path]))
    assert look(project, "builtin") is None
    image, other = project.images(None).items[0], project.classes()
    likelier = next(info.id for info in other if info.id != image.class_id)
    folder = PreviewFolder.of(project.path, "builtin")
    Check(project.mark(), 24, (Doubt(image.id, image.class_id, likelier, 5.0),)).write(folder.check)
    seen = look(project, "builtin")
    assert seen is not None and [row.image.id for row in seen.suspects] == [image.id]
    token = project.keep_images([image.id])
    seen = look(Project.open(project.path), "builtin")
    assert seen is not None and not seen.suspects
    project.undo(token)
    seen = look(project, "builtin")
    assert seen is not None and len(seen.suspects) == 1
