"""Presses about pictures that are not trained on, without a browser: the two lines under the cards, their galleries, previews, results."""

from __future__ import annotations

import html as stdlib_html
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tab_parts import NOTICE, STAGE, images_tab

from blocklora.projects.intake import accept, plan_folder
from blocklora.projects.library import Library
from blocklora.projects.project import Project
from blocklora.projects.records import OTHER_ID, TEST
from blocklora.ui import leaks_view, mend
from blocklora.ui.forms import Act
from blocklora.ui.images_tab import ImagesTab

EVIL = '<img src=x onerror="alert(1)">'


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "server" / "uploads"
    folder.mkdir(parents=True)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    return folder


@pytest.fixture
def garden(data_home: Path, sample_pictures: Path) -> Project:
    made = Library(data_home).create("Garden")
    accept(made, plan_folder(made, sample_pictures, local_mode=True, allowed_roots=[sample_pictures.parent]))
    return made


@pytest.fixture
def tab(garden: Project, uploads: Path) -> ImagesTab:
    return images_tab(Library(garden.path.parents[1]), garden)


def press(tab: ImagesTab, act: str, **data: Any) -> dict[Any, Any]:
    *_, last = tab.answer(Act(act, data), {})
    return last


def zipped(uploads: Path, members: dict[str, Path]) -> str:
    path = uploads / "pictures.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, source in members.items():
            archive.write(source, name)
    return str(path)


def test_the_lines_are_quiet_until_there_is_something(tab: ImagesTab, garden: Project) -> None:
    page = press(tab, "cards")[STAGE]
    assert "Something else <span>optional</span>" in page and "None yet. They are never trained on" in page
    assert page.count('class="class-card') == 4  # three classes and the place for a new one
    ids = [image.id for image in garden.images(garden.classes()[0].id).items]
    garden.move_part(ids[:2], TEST)
    garden.move_images(ids[2:3], OTHER_ID)
    page = press(tab, "cards")[STAGE]
    assert "Something else <span>1 picture</span>" in page and "Test pictures <span>2 pictures</span>" in page
    assert "None yet of class-1, class-2." in page and "<span>21 pictures</span>" in page


def test_pictures_of_something_else_are_added_shown_moved_and_undone(
    tab: ImagesTab, garden: Project, uploads: Path, make_pictures: Callable
) -> None:
    source = next(make_pictures("more-pictures", classes=5, each=1).rglob("class-4/*.png"))
    target = uploads / "empty table.png"
    target.write_bytes(source.read_bytes())
    press(tab, "add-files", files=[str(target)], id=OTHER_ID)
    assert garden.something_else().count == 1 and len(garden.classes()) == 3
    page = press(tab, "gallery", **{"class": OTHER_ID})[STAGE]
    assert "<h2>Something else</h2>" in page and "part-chosen" not in page and "data-else" not in page
    (image,) = garden.images(OTHER_ID).items
    out = press(tab, "move", ids=[image.id], to=garden.classes()[0].id, view={"at": "gallery", "class": OTHER_ID})
    assert "No pictures here yet" in out[STAGE] and garden.something_else().count == 0
    token = re.search(r'data-token="([^"]+)"', out[NOTICE])
    assert token is not None
    press(tab, "undo", token=token.group(1), project=garden.id)
    assert garden.something_else().count == 1


def test_test_pictures_move_between_the_parts(tab: ImagesTab, garden: Project) -> None:
    info = garden.classes()[0]
    ids = [image.id for image in garden.images(info.id).items]
    out = press(tab, "part", ids=ids[:2], part=TEST, view={"at": "gallery", "class": info.id, "page": 0})
    assert "Moved 2 images to the test pictures." in out[NOTICE] and "6 pictures" in out[STAGE]
    page = press(tab, "gallery", **{"class": info.id}, part=TEST)[STAGE]
    assert "2 test pictures" in page and "Learn from these" in page and f'data-part="{TEST}"' in page
    assert all(image in page for image in ids[:2]) and not any(image in page for image in ids[2:])
    press(tab, "part", ids=ids[:1], part="", view={"at": "gallery", "class": info.id, "part": TEST})
    assert (garden.classes()[0].count, garden.classes()[0].tests) == (7, 1)


def test_an_import_of_test_pictures_says_what_it_leaves_out_and_what_looks_alike(
    tab: ImagesTab, garden: Project, uploads: Path, make_pictures: Callable, sample_pictures: Path, tmp_path: Path
) -> None:
    from PIL import Image

    known = sorted(sample_pictures.rglob("class-0/*.png"))[0]
    new = next(make_pictures("more-pictures", classes=5, each=1).rglob("class-4/*.png"))
    Image.open(known).convert("RGB").save(tmp_path / "again.jpg", quality=92)
    members = {"class-0/again.jpg": tmp_path / "again.jpg", "class-1/new.png": new, "spoon/x.png": new, "class-0/known.png": known}
    page = press(tab, "import-zip", file=zipped(uploads, members), part=TEST)[STAGE]
    words = stdlib_html.unescape(page)
    assert "1 test picture looks like pictures to learn from" in words and "looks like a picture to learn from: class-0/" in words
    assert (
        "the project has no class 'spoon'" in words and "to learn from, so it can test nothing" in words and "Add 2 test pictures" in words
    )
    token = re.search(r'data-act="accept" data-token="([^"]+)"', page)
    assert token is not None
    press(tab, "accept", token=token.group(1))
    assert [c.tests for c in garden.classes()] == [1, 1, 0] and sum(c.count for c in garden.classes()) == 24


def test_a_folder_named_none_is_offered_as_something_else(tab: ImagesTab, garden: Project, uploads: Path, make_pictures: Callable) -> None:
    new = next(make_pictures("more-pictures", classes=5, each=1).rglob("class-4/*.png"))
    page = press(tab, "import-zip", file=zipped(uploads, {"none/x.png": new}))[STAGE]
    assert "Add, with “none” as Something else" in page
    token = re.search(r'data-act="accept" data-token="([^"]+)"', page)
    assert token is not None
    press(tab, "accept", token=token.group(1), others="yes")
    assert len(garden.classes()) == 3 and garden.something_else().count == 1


def test_results_show_the_pairs_and_escape_what_people_typed() -> None:
    side = {"label": 0, "image_id": "i_1", "path": "x"}
    section = {"per_class": [{"name": EVIL}], "images": [], "leaks": [{"test": side, "like": {**side, "image_id": "i_2"}, "sign": "hash"}]}
    page = leaks_view.draw(section, lambda row: (f"/small/{row['image_id']}", f"/large/{row['image_id']}"))
    assert "1 test picture looks like pictures it learned from. The figure is told without it." in page
    assert EVIL not in page and "/small/i_1" in page and "/large/i_2" in page
    assert "no longer in the project" in leaks_view.draw(section, lambda row: None)
    assert "flatters" in leaks_view.draw({**section, "images": [{"image_id": "i_1"}]}, lambda row: None)
    assert leaks_view.draw({"images": []}, lambda row: None) == ""


def test_results_know_where_pictures_that_are_not_trained_on_are(garden: Project) -> None:
    first = garden.classes()[0]
    test, other, *_ = [image.id for image in garden.images(first.id).items]
    garden.move_part([test], TEST)
    garden.move_images([other], OTHER_ID)
    shot = mend.shots(garden, {"class_ids": [info.id for info in garden.classes()]})
    wrong = shot({"image_id": test, "label": 0, "predicted": 1})
    assert wrong is not None and wrong.now == "" and "Mend…" in wrong.mend
    gone = shot({"image_id": other, "label": 0, "predicted": 1})
    assert gone is not None and gone.now == "now in Something else"


def test_a_pair_whose_other_half_an_earlier_run_saw() -> None:
    side = {"label": 0, "image_id": "i_1", "path": "x"}
    page = leaks_view.draw(
        {"per_class": [{"name": "a"}], "images": [], "leaks": [{"test": side, "like": None, "sign": "seen"}]}, lambda row: None
    )
    assert "learned from before" in page
