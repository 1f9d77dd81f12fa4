"""What a person kept against the data check survives the project's reopening and can be taken back."""

from __future__ import annotations

from pathlib import Path

import pytest

from blocklora.errors import ProjectError
from blocklora.projects.intake import accept, plan_folder
from blocklora.projects.kept import APART, RIGHT
from blocklora.projects.project import Project


@pytest.fixture
def filled(sample_pictures: Path, tmp_path: Path) -> Project:
    made = Project.create(tmp_path / "project", "Fruit", tmp_path / "staging")
    accept(made, plan_folder(made, sample_pictures, local_mode=True, allowed_roots=[tmp_path]))
    return made


def test_kept_pictures_are_remembered_by_content_and_class(filled: Project) -> None:
    first, second = filled.images(None).items[:2]
    token = filled.keep_images([first.id])
    filled.keep_images([first.id, second.id], APART)
    again = Project.open(filled.path)
    assert again.kept() == {(first.sha256, first.class_id, RIGHT), *((i.sha256, i.class_id, APART) for i in (first, second))}
    assert again.undoable()[1].words == "Kept 1 image as it is."
    assert "data check" in again.undo(token).words
    assert (first.sha256, first.class_id, RIGHT) not in again.kept() and len(again.kept()) == 2


def test_undo_takes_back_only_what_that_step_kept(filled: Project) -> None:
    first = filled.images(None).items[0]
    filled.keep_images([first.id])
    filled.undo(filled.keep_images([first.id]))
    assert len(filled.kept()) == 1


def test_what_is_gone_cannot_be_kept(filled: Project) -> None:
    gone = filled.images(None).items[0].id
    filled.delete_images([gone])
    with pytest.raises(ProjectError, match="None of the chosen images"):
        filled.keep_images([gone])
    assert filled.living([gone, filled.images(None).items[0].id]).keys() == {filled.images(None).items[0].id}


def test_a_setting_that_is_something_else_keeps_nothing(filled: Project) -> None:
    filled.set_setting("data_check_kept", {"what": 1})
    assert filled.kept() == set()
