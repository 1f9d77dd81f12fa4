"""What presses in the Images tab and the sidebar do, without a browser: acts in, HTML and toasts out."""

from __future__ import annotations

import html as stdlib_html
import re
import sqlite3
import time
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tab_parts import NOTICE, PROJECT, RAIL, STAGE, images_tab

from blocklora.errors import ImportRefused, JobError, ProjectError
from blocklora.projects.library import Library
from blocklora.projects.project import Project
from blocklora.projects.records import TEST
from blocklora.services.predicting import Predictor
from blocklora.services.studio import Studio
from blocklora.ui import imports
from blocklora.ui.downloads import Downloads
from blocklora.ui.forms import Act
from blocklora.ui.images_tab import DIRECT, ImagesTab
from blocklora.ui.imports import KEPT, Pending, Plans
from blocklora.ui.rail import Rail
from blocklora.ui.rail_view import draw
from blocklora.ui.sample import make_sample
from blocklora.ui.steps import QUIET_SECONDS
from blocklora.ui.tab import Context
from blocklora.ui.uploads import scratch_folder, uploaded_file

EVIL = '<img src=x onerror="alert(1)">'
MakePictures = Callable[..., Path]


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "server" / "uploads"
    folder.mkdir(parents=True)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    return folder


@pytest.fixture
def library(data_home: Path) -> Library:
    return Library(data_home)


@pytest.fixture
def own_project(library: Library) -> Project:
    return library.create("Garden")


@pytest.fixture
def tab(library: Library, own_project: Project, uploads: Path) -> ImagesTab:
    return images_tab(library, own_project)


def press(tab: ImagesTab, act: str, **data: Any) -> dict[Any, Any]:
    """The last thing that a press shows."""
    *_, last = tab.answer(Act(act, data), {})
    return last


def token_in(page: str) -> str:
    found = re.search(r'data-act="(?:accept|discard)" data-token="([^"]+)"', page)
    assert found
    return found.group(1)


def uploaded(uploads: Path, pictures: Path) -> list[str]:
    """Pictures as the page would have uploaded them."""
    names = []
    for file in sorted(pictures.rglob("*.png")):
        target = uploads / f"{file.parent.name}-{file.name}"
        target.write_bytes(file.read_bytes())
        names.append(str(target))
    return names


def test_few_pictures_go_straight_in_and_their_uploads_go(
    tab: ImagesTab, own_project: Project, uploads: Path, make_pictures: MakePictures
) -> None:
    files = uploaded(uploads, make_pictures(classes=1, each=3))
    shown = press(tab, "add-files", files=files, name="tulip")
    assert "3 pictures added" in shown[NOTICE]
    assert 'value="tulip"' in shown[STAGE]
    assert own_project.images(None).total == 3
    assert not any(Path(name).exists() for name in files)


def test_many_pictures_or_any_left_out_are_shown_first(
    tab: ImagesTab, own_project: Project, uploads: Path, make_pictures: MakePictures
) -> None:
    files = uploaded(uploads, make_pictures(classes=1, each=DIRECT + 1, side=24))
    shown = press(tab, "add-files", files=files, name="tulip")
    assert "Look before you add" in shown[STAGE]
    assert own_project.classes() == []
    shown = press(tab, "accept", token=token_in(shown[STAGE]))
    assert own_project.images(None).total == DIRECT + 1
    (uploads / "notes.txt").write_text("words")
    shown = press(tab, "add-files", files=[str(uploads / "notes.txt")], name="tulip")
    assert "notes.txt" in shown[STAGE]
    assert "None of these files can be added" in shown[STAGE]


def test_preview_is_answered_once(tab: ImagesTab, own_project: Project, uploads: Path, make_pictures: MakePictures) -> None:
    archive = uploads / "flowers.zip"
    with zipfile.ZipFile(archive, "w") as writer:
        for file in sorted(make_pictures(classes=2, each=2).rglob("*.png")):
            writer.write(file, f"{file.parent.name}/{file.name}")
    shown = press(tab, "import-zip", file=str(archive))
    token = token_in(shown[STAGE])
    press(tab, "discard", token=token)
    assert not archive.exists()
    assert own_project.images(None).total == 0
    for act in ("accept", "discard"):
        shown = press(tab, act, token=token)  # as another window still shows it
        assert "waits no longer" in shown[NOTICE] and "Look before you add" not in shown[STAGE]
    assert own_project.images(None).total == 0


def test_previews_belong_to_their_project_and_the_oldest_goes(library: Library, own_project: Project) -> None:
    plans, closed = Plans(), []
    plan = SimpleNamespace(close=lambda: closed.append(1))
    first = plans.keep(Pending(own_project.id, plan))  # type: ignore[arg-type]
    other = library.create("Other")
    assert plans.look(first, own_project) is not None
    assert plans.look(first, other) is None
    assert plans.take(first, other) is None
    for _ in range(KEPT):
        plans.keep(Pending(own_project.id, plan))  # type: ignore[arg-type]
    assert closed == [1]
    assert plans.look(first, own_project) is None


def test_only_uploads_are_taken_for_uploads(tab: ImagesTab, uploads: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"x")
    link = uploads / "link.png"
    link.symlink_to(secret)
    for name in (str(secret), str(link), str(uploads / ".." / ".." / "secret.png"), "", "a\0b", str(uploads)):
        with pytest.raises(ImportRefused):
            uploaded_file(name)
        with pytest.raises(ImportRefused):
            press(tab, "add-files", files=[name], name="tulip")
    assert scratch_folder("x-").parent == uploads.parent


def test_nothing_of_a_refused_import_is_left(tab: ImagesTab, uploads: Path, make_pictures: MakePictures) -> None:
    with pytest.raises(ProjectError, match="no longer there"):
        press(tab, "add-files", files=uploaded(uploads, make_pictures(classes=1, each=2)), id="c_0")
    assert not list(uploads.parent.glob("files-*")) and not list(uploads.iterdir())


def test_dropped_folders_keep_their_names(tab: ImagesTab, own_project: Project, uploads: Path, make_pictures: MakePictures) -> None:
    files = uploaded(uploads, make_pictures(classes=2, each=2))
    folders = [Path(name).name.rsplit("-", 1)[0] for name in files]
    folders[0] = "../../class-0"
    shown = press(tab, "import-tree", files=files, folders=folders)
    press(tab, "accept", token=token_in(shown[STAGE]))
    assert sum(info.count for info in own_project.classes()) == 4
    assert not list(uploads.parent.glob("tree-*"))


def test_the_same_file_in_several_folders_is_one_upload(
    tab: ImagesTab, own_project: Project, uploads: Path, make_pictures: MakePictures
) -> None:
    """Gradio keeps files by their content and name: .DS_Store of every folder, or a picture that lies in two."""
    pictures = uploaded(uploads, make_pictures(classes=2, each=2))
    same = uploads / ".DS_Store"
    same.write_bytes(b"nothing")
    files = [pictures[0], str(same), pictures[1], pictures[2], str(same), pictures[0]]
    shown = press(tab, "import-tree", files=files, folders=["cat", "cat", "cat", "dog", "dog", "dog"])[STAGE]
    assert "hidden file" in shown and "Look before you add" in shown
    press(tab, "accept", token=token_in(shown))
    assert sum(info.count for info in own_project.classes()) == 3
    assert not list(uploads.parent.glob("tree-*"))


def test_table_and_zip_stay_inside(tab: ImagesTab, own_project: Project, uploads: Path, make_pictures: MakePictures) -> None:
    pictures = sorted(make_pictures(classes=1, each=2).rglob("*.png"))
    table, archive = uploads / "labels.csv", uploads / "pictures.zip"
    table.write_text("path,label\na.png,yes\n../../outside.png,no\n")
    with zipfile.ZipFile(archive, "w") as writer:
        writer.write(pictures[0], "a.png")
        writer.write(pictures[1], "../../outside.png")
        writer.writestr("empty.png", b"")
    shown = press(tab, "import-csv", file=str(table), archive=str(archive))
    assert "unsafe: " in shown[STAGE] and "outside.png" in shown[STAGE]
    assert "empty.png" in shown[STAGE] and "empty file (0 bytes)" in shown[STAGE]
    press(tab, "accept", token=token_in(shown[STAGE]))
    assert [(info.name, info.count) for info in own_project.classes()] == [("yes", 1)]
    assert not (uploads.parent.parent / "outside.png").exists()


def test_folders_are_read_in_local_mode_only(tab: ImagesTab, tmp_path: Path) -> None:
    tab.local_mode = False
    with pytest.raises(ImportRefused, match="your own machine"):
        press(tab, "import-folder", folder=str(tmp_path))


def test_undo_shows_what_came_back_and_stays_in_its_project(tab: ImagesTab, library: Library, own_project: Project) -> None:
    press(tab, "add-class", name="tulip")
    (info,) = own_project.classes()
    shown = press(tab, "delete-class", id=info.id, view={"at": "cards", "page": 0})
    assert "Start with a few pictures" in shown[STAGE]
    token = re.search(r'data-token="([^"]+)"', shown[NOTICE])
    assert token
    with pytest.raises(ProjectError, match="another project"):
        press(tab, "undo", token=token.group(1), project="another")
    shown = press(tab, "undo", token=token.group(1), project=own_project.id)
    assert 'value="tulip"' in shown[STAGE]


def test_classes_take_the_place_they_are_put_in(tab: ImagesTab, own_project: Project) -> None:
    for name in "abc":
        press(tab, "add-class", name=name)
    a, _, c = (info.id for info in own_project.classes())
    press(tab, "place", id=c, before=a)
    assert [info.name for info in own_project.classes()] == ["c", "a", "b"]
    press(tab, "place", id=c, before="")
    assert [info.name for info in own_project.classes()] == ["a", "b", "c"]
    press(tab, "place", id=a, before="no such class")
    assert [info.name for info in own_project.classes()] == ["b", "c", "a"]


def test_names_never_become_markup(
    tab: ImagesTab, library: Library, own_project: Project, uploads: Path, make_pictures: MakePictures
) -> None:
    shown = press(tab, "add-class", name=EVIL)
    assert "<img src=x" not in shown[STAGE]
    assert stdlib_html.escape(EVIL) in shown[STAGE]
    (info,) = own_project.classes()
    (source,) = uploaded(uploads, make_pictures(classes=1, each=1))
    wild = uploads / '"><script>x.png'
    Path(source).rename(wild)
    press(tab, "add-files", files=[str(wild)], id=info.id)
    page = press(tab, "gallery", **{"class": info.id})[STAGE]
    assert "<script>" not in page
    assert "<img src=x" not in page
    library.rename(own_project.id, EVIL)
    assert "<img src=x" not in draw(library.list(), own_project.id)


def test_ids_of_a_strangers_project_never_become_markup(
    tab: ImagesTab, own_project: Project, uploads: Path, make_pictures: MakePictures
) -> None:
    press(tab, "add-files", files=uploaded(uploads, make_pictures(classes=1, each=2)), name="rose")
    nasty = f'c_">{EVIL}'
    with closing(sqlite3.connect(own_project.path / "project.sqlite")) as connection, connection:
        connection.execute("UPDATE classes SET id = ? WHERE role = ''", (nasty,))
        connection.execute("UPDATE images SET class_id = ?, id = 'i_' || seq || ?", (nasty, f'">{EVIL}'))
    cards, page = tab.show(own_project)[STAGE], press(tab, "gallery", **{"class": nasty})[STAGE]
    assert "rose" in cards and "/thumb/" in cards and page.count('role="checkbox"') == 2
    assert "<img src=x" not in cards + page
    image = own_project.images(nasty).items[0]
    own_project.move_part([image.id], TEST)
    assert "<img src=x" not in tab.show(own_project)[STAGE] + press(tab, "gallery", **{"class": nasty, "part": TEST})[STAGE]


def test_an_import_waits_for_its_answer(
    tab: ImagesTab, own_project: Project, library: Library, uploads: Path, make_pictures: MakePictures
) -> None:
    files = uploaded(uploads, make_pictures(classes=1, each=DIRECT + 1, side=24))
    shown = press(tab, "add-files", files=files, name="rose")[STAGE]
    token = token_in(shown)
    assert token_in(tab.show(own_project)[STAGE]) == token  # after another tab, another project or a reload
    assert "Look before you add" not in tab.show(library.create("Other"))[STAGE]
    made = press(tab, "add-class", name="tulip")[STAGE]
    assert "Look before you add" not in made  # whoever goes on with something else sees that
    undone = tab.redraw(own_project, Act("undo", {"view": {"at": "plan", "token": token}}))
    assert token_in(undone) == token
    press(tab, "accept", token=token)
    assert "Look before you add" not in tab.show(own_project)[STAGE]
    assert "Look before you add" not in tab.redraw(own_project, Act("undo", {"view": {"at": "plan", "token": token}}))


def test_an_import_that_fails_late_gives_the_room_back(tab: ImagesTab, own_project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    own_project.add_class("rose")

    def fails(progress: Callable[[int, int], None]) -> None:
        progress(1, 9)
        time.sleep(2 * QUIET_SECONDS)
        raise ImportRefused("The archive is too large.")

    monkeypatch.setattr(imports, "planner", lambda *given: (fails, []))
    shown: list[str] = []
    with pytest.raises(ImportRefused):
        shown.extend(drawn[STAGE] for drawn in tab.answer(Act("import-zip", {}), {}))
    assert "Looking at the pictures" in shown[0] and "1 of 9" in shown[0]
    assert 'value="rose"' in shown[-1]


def test_pages_of_classes_and_of_pictures(tab: ImagesTab, own_project: Project) -> None:
    for number in range(30):
        own_project.add_class(f"class {number:02d}")
    first = press(tab, "cards", page=0)[STAGE]
    assert first.count('<article class="class-card"') == 24
    assert "1 of 2" in first
    assert press(tab, "cards", page=99)[STAGE].count('<article class="class-card"') == 6
    found = press(tab, "find", value="CLASS 1")[STAGE]
    assert found.count('<article class="class-card"') == 10
    assert "No class has" in press(tab, "find", value="<b>")[STAGE]


def test_gallery_of_a_class_that_is_gone_falls_back_to_the_cards(tab: ImagesTab, own_project: Project) -> None:
    keep, gone = own_project.add_class("keep"), own_project.add_class("gone")
    own_project.delete_class(gone)
    shown = press(tab, "rename", id=keep, value="kept", view={"at": "gallery", "class": gone, "page": 0})
    assert 'value="kept"' in shown[STAGE]


def test_unknown_acts_are_bugs(tab: ImagesTab) -> None:
    with pytest.raises(ValueError, match="no act"):
        press(tab, "format-disk")


# ---- the sidebar


def no_predictor(path: Path) -> Predictor:
    raise AssertionError(f"nobody asked for a prediction from {path}")


@pytest.fixture
def rail(library: Library, uploads: Path) -> Rail:
    studio = Studio(library.home, exporter="exporters.worker", predictor=no_predictor)
    return Rail(Context(studio, Downloads(), cast(Any, PROJECT), cast(Any, RAIL), cast(Any, NOTICE), local=True))


def turn(rail: Rail, act: str, current: str = "-", **data: Any) -> dict[Any, Any]:
    *_, last = rail.answer(Act(act, data), {PROJECT: current})
    return last


def test_sidebar_opens_makes_trashes_and_restores(rail: Rail, library: Library) -> None:
    first = turn(rail, "new", name="One")[PROJECT]
    second = turn(rail, "new", first, name="Two")[PROJECT]
    assert turn(rail, "open", second, id=first)[PROJECT] == first
    shown = turn(rail, "trash", first, id=first, name="One")
    assert shown[PROJECT] == second
    token = re.search(r'data-token="([^"]+)"', shown[NOTICE])
    assert token
    assert turn(rail, "restore", second, token=token.group(1))[PROJECT] == first
    assert {info.name for info in library.list()} == {"One", "Two"}
    assert turn(rail, "trash", first, id=second)[RAIL].count("<li") == 1
    assert turn(rail, "trash", first, id=first)[PROJECT] == "-"


def test_work_on_a_project_leaves_the_one_that_was_opened_meanwhile(rail: Rail, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (turn(rail, "new", name=name)[PROJECT] for name in ("One", "Two"))
    pack = rail.studio.library.export_zip

    def slow(*given: Any) -> None:
        turn(rail, "open", first, id=second)
        pack(*given)

    monkeypatch.setattr(rail.studio.library, "export_zip", slow)
    shown = turn(rail, "export", first, id=first)
    assert PROJECT not in shown and f'data-current="{second}"' in shown[RAIL]
    # Two presses before the page has the answer to the first: the second one counts, though it names what the page still shows.
    assert turn(rail, "open", first, id=second)[PROJECT] == second
    assert turn(rail, "open", first, id=first)[PROJECT] == first


def test_long_work_opens_nothing_where_the_person_has_gone_on(rail: Rail, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (turn(rail, "new", name=name)[PROJECT] for name in ("One", "Two"))
    turn(rail, "open", second, id=first)
    real = library.duplicate

    def slow(project_id: str) -> Project:
        turn(rail, "open", first, id=second)  # meanwhile
        return real(project_id)

    monkeypatch.setattr(rail.studio.library, "duplicate", slow)
    shown = turn(rail, "duplicate", first, id=first)
    assert PROJECT not in shown and f'data-current="{second}"' in shown[RAIL] and "One (2) is the copy" in shown[NOTICE]
    monkeypatch.setattr(rail.studio.library, "duplicate", real)
    made = turn(rail, "duplicate", second, id=second)
    assert library.open(made[PROJECT]).name == "Two (2)"


def test_the_last_press_wins_and_long_work_is_done_once(rail: Rail, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = (turn(rail, "new", name=name)[PROJECT] for name in ("One", "Two", "Three"))
    real = library.open

    def slow(project_id: str) -> Project:
        monkeypatch.setattr(rail.studio.library, "open", real)
        assert turn(rail, "open", third, id=second)[PROJECT] == second  # pressed later, answered first
        return real(project_id)

    monkeypatch.setattr(rail.studio.library, "open", slow)
    assert PROJECT not in turn(rail, "open", third, id=first)

    def busy(project_id: str) -> Project:
        for act, words in (("duplicate", "under way already"), ("trash", "copied or packed")):
            with pytest.raises(JobError, match=words):
                turn(rail, act, second, id=first)
        turn(rail, "trash", second, id=third)  # another one may go; the page stays where it is
        return Library(library.home).duplicate(project_id)

    monkeypatch.setattr(rail.studio.library, "duplicate", busy)
    assert "is the copy" in turn(rail, "duplicate", second, id=first)[NOTICE]
    assert not rail.under_way and {info.name for info in library.list()} == {"One", "Two", "One (2)"}


def test_exported_project_is_on_offer_and_comes_back(rail: Rail, library: Library, uploads: Path) -> None:
    made = turn(rail, "new", name="One / two")[PROJECT]
    shown = turn(rail, "export", made, id=made)
    found = re.search(r'href="/download/([^/]+)/([^"]+)"', shown[NOTICE])
    assert found
    offer = rail.ctx.downloads.find(found.group(1))
    assert offer is not None
    assert offer.filename == "One - two.zip"
    archive = uploads / "back.zip"
    archive.write_bytes(offer.path.read_bytes())
    back = turn(rail, "import", made, file=str(archive))
    assert library.open(back[PROJECT]).name == "One / two (2)"
    assert not archive.exists()


def test_page_opens_what_it_asks_for_else_the_latest(rail: Rail) -> None:
    assert rail.first_choice("anything") == "-"
    first = turn(rail, "new", name="One")[PROJECT]
    assert rail.first_choice("gone") == first
    assert rail.first_choice(first) == first


def test_a_project_that_cannot_be_opened_keeps_nobody_from_the_others(rail: Rail, library: Library) -> None:
    good = turn(rail, "new", name="Good")[PROJECT]
    broken = turn(rail, "new", name="Broken")[PROJECT]
    index = library.projects / broken / "project.sqlite"
    for path in index.parent.glob("project.sqlite*"):
        path.unlink()
    index.write_bytes(b"")  # as a full disk leaves it; the newest of all
    chosen, project, toast = rail.first_open(broken)
    assert chosen == good and project is not None and project.id == good
    assert "cannot be opened" in toast and "not the index" in toast
    assert rail.first_open("")[0] == rail.first_open(good)[0] == good and rail.first_open(good)[2] == ""
    shown = rail.open(chosen, {})[RAIL]
    assert shown.count('aria-label="cannot be opened"') == 1
    token = re.search(r'data-token="([^"]+)"', turn(rail, "trash", good, id=broken)[NOTICE])
    assert [info.id for info in library.list()] == [good] and [entry.name for entry in library.trashed()] == [broken]
    shown = turn(rail, "restore", good, token=token[1] if token else "")
    assert broken in shown[RAIL] and "not the index" in shown[NOTICE] and PROJECT not in shown  # back, as it was
    turn(rail, "trash", good, id=broken)
    index = library.projects / good / "project.sqlite"
    for path in index.parent.glob("project.sqlite*"):
        path.unlink()
    index.write_bytes(b"")
    assert rail.first_open(good)[:2] == ("-", None) and "cannot be opened" in rail.first_open(good)[2]


def test_sample_comes_with_the_product(rail: Rail, library: Library) -> None:
    project = make_sample(rail.studio)
    assert all(info.count >= 10 for info in project.classes())
    assert len(project.classes()) >= 3
    assert make_sample(rail.studio).name == "Sample (2)"


def test_failed_import_sample_leaves_nothing(rail: Rail, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blocklora.ui.sample.SAMPLE", Path("/nowhere"))
    with pytest.raises(ImportRefused):
        make_sample(rail.studio)
    assert library.list() == []
    assert library.trashed() == []


def test_words_of_an_import() -> None:
    result = SimpleNamespace(added=3, classes_created=["a", "b", "c", "d"], duplicates=1)
    assert imports.words(result, 2) == "3 pictures added, new: a, b, c and 1 more, 3 left out."  # type: ignore[arg-type]
