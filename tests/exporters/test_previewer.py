"""The preview of a project: made in closed form, kept up to date image by image, and answering as the model itself does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_run import CLASSES, EACH, write_backbone, write_pictures

from blocklora.clip.backbones import load_backbone
from blocklora.clip.pixels import to_model_input
from blocklora.clip.prompts import image_features
from blocklora.errors import ModelFileError, ProjectError
from blocklora.projects.decoding import decode_rgb
from blocklora.projects.intake import accept, plan_files, plan_folder
from blocklora.projects.project import Project
from blocklora.services.previews import Head, PreviewFolder, State
from exporters import open_preview
from exporters.previewer import Previewer, keep


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data home with a tiny backbone; its file is written by the first test that needs it."""
    made = tmp_path_factory.mktemp("home")
    write_backbone(made)
    return made


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project.create(tmp_path / "project", "Fruit", tmp_path / "staging")
    for backbone in ("tiny", "absent"):  # whoever starts the process makes its folder
        PreviewFolder.of(made.path, backbone).path.mkdir(parents=True)
    pictures = write_pictures(tmp_path / "pictures")
    accept(made, plan_folder(made, pictures, local_mode=True, allowed_roots=[tmp_path]))
    return made


def add(project: Project, name: str, path: Path) -> None:
    accept(project, plan_files(project, [(path.name, path)], class_id=None, class_name=name))


def test_a_preview_answers_as_the_frozen_model_would(home: Path, project: Project, tmp_path: Path) -> None:
    made = Previewer(project.path, home, "tiny").make(project, project.mark())
    assert made is not None
    assert made.labels == tuple(info.name for info in project.classes())
    assert made.n == len(CLASSES) * EACH and 0 <= made.correct <= made.n and made.mode in ("text", "images", "blend")
    folder = PreviewFolder.of(project.path, "tiny")
    assert Head.read(folder.head) == made

    path = tmp_path / "asked.png"
    Image.fromarray(np.random.default_rng(9).integers(0, 256, (40, 70, 3), dtype=np.uint8)).save(path)
    pixels = decode_rgb(path)
    model = open_preview(folder.head)
    (found,) = model.predict([pixels])
    backbone = load_backbone("tiny", home)
    with torch.inference_mode():
        embedding = image_features(backbone.model, to_model_input(torch.tensor(pixels)[None], backbone.preprocess))
    probabilities = torch.softmax(embedding @ torch.from_numpy(model.weights), dim=1)[0].numpy()
    np.testing.assert_allclose(found.probabilities, probabilities, atol=1e-4)
    assert found.label == made.labels[int(probabilities.argmax())]
    assert sum(found.probabilities) == pytest.approx(1, abs=1e-5)


def test_only_new_images_are_looked_at(home: Path, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Previewer(project.path, home, "tiny")
    first.make(project, "one")
    path = tmp_path / "new.png"
    Image.fromarray(np.random.default_rng(5).integers(0, 256, (33, 44, 3), dtype=np.uint8)).save(path)
    add(project, "apple", path)
    asked: list[int] = []
    for previewer in (first, Previewer(project.path, home, "tiny")):  # the same process goes on; and a new one, from what is on disk
        _, model = previewer._open(project.dataset(), lambda stage, fraction: None)
        look = model.predict_files

        def counted(paths: dict[Path, str], look: object = look) -> object:
            asked.append(len(paths))
            return look(paths)  # type: ignore[operator]

        monkeypatch.setattr(model, "predict_files", counted)
        made = previewer.make(project, "two")
        assert made is not None and made.n == len(CLASSES) * EACH + 1
    assert asked == [1, 0]


def test_too_few_images_take_the_preview_away(home: Path, project: Project) -> None:
    previewer = Previewer(project.path, home, "tiny")
    assert previewer.make(project, "one") is not None
    for info in project.classes()[1:]:
        project.delete_class(info.id)
    assert previewer.make(project, "two") is None
    assert not previewer.folder.head.exists()
    with pytest.raises(ModelFileError, match="damaged"):
        open_preview(previewer.folder.head)


def test_a_picture_that_vanished_is_left_out(home: Path, project: Project) -> None:
    Path(project.dataset().items[0].path).unlink()
    made = Previewer(project.path, home, "tiny").make(project, "one")
    assert made is not None and made.n == len(CLASSES) * EACH - 1


def test_the_process_keeps_up_and_ends(home: Path, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = PreviewFolder.of(project.path, "tiny")
    monkeypatch.setattr("exporters.previewer.time", _Clock())
    assert keep(Previewer(project.path, home, "tiny")) == 0
    head = Head.read(folder.head)
    assert head is not None and head.mark == project.mark()
    assert State.read(folder) == State(project.mark())


class _Clock:
    """Time that stands still for a while and then has run out."""

    _looks = 0

    def monotonic(self) -> float:
        self._looks += 1
        return 0.0 if self._looks < 20 else 100.0

    def sleep(self, seconds: float) -> None:
        pass


def test_a_project_that_went_to_the_trash_is_not_made_again(home: Path, project: Project, tmp_path: Path) -> None:
    previewer = Previewer(project.path, home, "tiny")
    look = previewer._embedded

    def moved_meanwhile(*given: Any) -> Any:
        found = look(*given)
        project.path.rename(tmp_path / "trash")
        return found

    previewer._embedded = moved_meanwhile  # type: ignore[method-assign]
    with pytest.raises(ProjectError, match="no longer there"):
        previewer.make(project, "one")
    assert not project.path.exists()


def test_what_cannot_be_is_written_down(tmp_path: Path, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporters.previewer.time", _Clock())
    folder = PreviewFolder.of(project.path, "absent")
    keep(Previewer(project.path, tmp_path / "empty-home", "absent"))
    state = State.read(folder)
    assert state.mark == project.mark() and "There is no backbone 'absent'" in state.reason
    assert Head.read(folder.head) is None
