"""Files, bytes, folders and tables as sources, and duplicates between them."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from projects_helpers import encoded, fill

from blocklora.errors import ImportRefused, ProjectError
from blocklora.projects.intake import accept, plan_bytes, plan_csv, plan_files, plan_folder
from blocklora.projects.plans import ImportPlan
from blocklora.projects.project import Project


def kinds(plan: ImportPlan) -> dict[str, str]:
    return {skipped.name: skipped.kind for skipped in plan.skipped}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "pictures"
    for number, name in enumerate(["cats/1.png", "cats/2.png", "dogs/3.png", "loose.png", ".git/4.png", "cats/.5.png"]):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encoded(number))
    return root


# ---- files and bytes


def test_files_for_one_class(project: Project, folder: Path) -> None:
    plan = plan_files(
        project, [folder / "cats/1.png", str(folder / "loose.png"), folder / "gone.png", folder / "cats/.5.png"], class_name=" Cats "
    )
    assert plan.classes == [("Cats", 2)]
    assert kinds(plan) == {"gone.png": "missing", ".5.png": "hidden"}
    class_id = project.add_class("Cats")
    assert accept(project, plan).classes_created == []
    assert project.classes()[0].id == class_id and project.classes()[0].count == 2


def test_uploaded_files_keep_the_name_that_people_know(project: Project, folder: Path) -> None:
    plan = plan_files(project, [("Holiday.jpg", folder / "loose.png")], class_name="Cats")
    assert plan.warnings == ["Holiday.jpg: named .jpg, is really PNG; it is kept as .png"]
    accept(project, plan)
    assert project.images(None).items[0].original_name == "Holiday.jpg"


def test_files_for_a_class_by_id_follow_its_rename(project: Project, folder: Path) -> None:
    class_id = project.add_class("Cats")
    plan = plan_files(project, [folder / "loose.png"], class_id=class_id)
    project.rename_class(class_id, "Kittens")
    result = accept(project, plan)
    assert result.classes_created == [] and project.classes()[0].count == 1


def test_files_need_a_class_that_is_there(project: Project, folder: Path) -> None:
    with pytest.raises(ImportRefused, match="No class is chosen"):
        plan_files(project, [folder / "loose.png"])
    with pytest.raises(ProjectError, match="empty"):
        plan_files(project, [folder / "loose.png"], class_name=" \t ")
    with pytest.raises(ProjectError, match="no longer there"):
        plan_files(project, [folder / "loose.png"], class_id="c_0")
    class_id = project.add_class("Cats")
    plan = plan_files(project, [folder / "loose.png"], class_id=class_id)
    project.delete_class(class_id)
    with pytest.raises(ProjectError, match="no longer there"):
        accept(project, plan)
    assert project.images(None).total == 0 and not list((project.path / "images").glob("*/*"))


def test_a_burst_from_the_camera(project: Project) -> None:
    burst = [(f"frame {n}", encoded(n, "JPEG")) for n in range(8)] + [("frame 8", encoded(0, "JPEG")), ("frame 9", b"")]
    plan = plan_bytes(project, burst, class_name="Me")
    assert plan.classes == [("Me", 8)] and kinds(plan) == {"frame 8": "duplicate", "frame 9": "empty"}
    assert plan.warnings == [f"frame {n}: named without an ending, is really JPEG; it is kept as .jpg" for n in range(8)]
    assert accept(project, plan).added == 8


# ---- duplicates


def test_duplicates_of_what_is_in_the_project(project: Project) -> None:
    fill(project, "Cats", range(3))
    plan = plan_bytes(project, [("again.png", encoded(1))], class_name="cats")
    assert [s.reason for s in plan.skipped] == ["the same picture is already in 'Cats'"]
    plan = plan_bytes(project, [("again.png", encoded(1))], class_name="Dogs")
    assert [s.reason for s in plan.skipped] == ["the same picture is already in 'Cats', so it cannot be in 'Dogs' too"]


def test_a_duplicate_that_came_in_between_is_left_out_at_acceptance(project: Project) -> None:
    plan = plan_bytes(project, [("a.png", encoded(1)), ("b.png", encoded(2))], class_name="Cats")
    fill(project, "Dogs", range(1, 2))
    result = accept(project, plan)
    assert (result.added, result.duplicates) == (1, 1)
    assert {info.name: info.count for info in project.classes()} == {"Dogs": 1, "Cats": 1}


def test_a_deleted_picture_may_come_again(project: Project) -> None:
    project.delete_images(fill(project, "Cats", range(1)))
    assert len(fill(project, "Cats", range(1))) == 1


# ---- folders


def test_folder_of_class_folders(project: Project, folder: Path) -> None:
    plan = plan_folder(project, folder, local_mode=True, allowed_roots=[folder.parent])
    assert plan.classes == [("cats", 2), ("dogs", 1)]
    assert kinds(plan) == {".git/": "hidden", "cats/.5.png": "hidden", "loose.png": "unlabelled"}
    accept(project, plan)
    assert (folder / "cats/1.png").read_bytes() == encoded(0)  # the folder itself is left as it was


def test_links_out_of_the_folder_are_refused(project: Project, folder: Path) -> None:
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "secret.png").write_bytes(encoded(9))
    (folder / "cats" / "link.png").symlink_to(outside / "secret.png")
    (folder / "linked").symlink_to(outside)
    (folder / "cats" / "inside.png").symlink_to(folder / "loose.png")
    (folder / "cats" / "broken.png").symlink_to(folder / "nowhere.png")
    plan = plan_folder(project, folder, local_mode=True, allowed_roots=[folder.parent])
    found = kinds(plan)
    assert found["cats/link.png"] == "unsafe" and found["linked/"] == "unsafe" and found["cats/broken.png"] == "missing"
    assert dict(plan.classes)["cats"] == 3


def test_folder_only_locally_and_below_the_allowed_roots(project: Project, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImportRefused, match="your own machine"):
        plan_folder(project, folder, local_mode=False, allowed_roots=[folder.parent])
    home = folder.parent / "home"
    home.mkdir()
    monkeypatch.setattr(Path, "home", lambda: home)
    for bad in (folder, home / ".." / "pictures", "/etc"):
        with pytest.raises(ImportRefused, match="outside"):
            plan_folder(project, bad, local_mode=True)
    (home / "link").symlink_to(folder)
    with pytest.raises(ImportRefused, match="outside"):
        plan_folder(project, home / "link", local_mode=True)
    with pytest.raises(ImportRefused, match="not a folder"):
        plan_folder(project, home / "nowhere", local_mode=True)
    with pytest.raises(ImportRefused):
        plan_folder(project, "a\0b", local_mode=True)
    with pytest.raises(ImportRefused):
        plan_folder(project, "~nobody-of-this-name/x", local_mode=True)
    folder.rename(home / "mine")
    assert plan_folder(project, home / "mine", local_mode=True).n_images == 3


# ---- tables


def csv_plan(project: Project, folder: Path, text: str | bytes, base: Path | None = None) -> ImportPlan:
    table = folder / "labels.csv"
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    return plan_csv(project, table, base, local_mode=True, allowed_roots=[folder.parent])


@pytest.mark.parametrize(
    "text",
    [
        "path,label\ncats/1.png,Tom\ndogs/3.png,Rex\n",
        "cats/1.png,Tom\ndogs/3.png,Rex\n",
        "label;size;filename\r\nTom;1;cats/1.png\r\nRex;2;dogs/3.png\r\n",
        "\ufeffImage\tClass\ncats/1.png\tTom\ndogs/3.png\tRex",
        'bild,art\n"cats/1.png","Tom"\n\n"dogs\\3.png","Rex"\n',
    ],
)
def test_tables(project: Project, folder: Path, text: str) -> None:
    plan = csv_plan(project, folder, text)
    assert plan.classes == [("Tom", 1), ("Rex", 1)] and plan.skipped == []


def test_a_cell_that_can_be_no_name_is_left_out_alone(project: Project, folder: Path) -> None:
    plan = csv_plan(project, folder, f"path,label\n{'x' * 300},Tom\ncats/1.png,Tom\n")
    assert plan.classes == [("Tom", 1)] and [skipped.kind for skipped in plan.skipped] == ["missing"]


@pytest.mark.parametrize(("there", "asked"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_a_table_may_write_accents_in_the_other_way(project: Project, folder: Path, there: str, asked: str) -> None:
    (folder / unicodedata.normalize(there, "Äpfel")).mkdir()
    (folder / unicodedata.normalize(there, "Äpfel/grün.png")).write_bytes(encoded(7))
    plan = csv_plan(project, folder, unicodedata.normalize(asked, "path,label\nÄpfel/grün.png,Apfel\n"))
    assert plan.classes == [("Apfel", 1)] and plan.skipped == []


def test_table_names_each_bad_row(project: Project, folder: Path) -> None:
    (folder.parent / "secret.png").write_bytes(encoded(9))
    rows = [
        "path,label",
        "cats/1.png,Tom",
        "../secret.png,Tom",
        "/etc/passwd,Tom",
        "nowhere.png,Tom",
        ",Tom",
        "dogs/3.png,",
        "labels.csv,Tom",
    ]
    plan = csv_plan(project, folder, "\n".join(rows))
    assert kinds(plan) == {
        "../secret.png": "unsafe",
        "/etc/passwd": "unsafe",
        "nowhere.png": "missing",
        "row 5": "missing",
        "dogs/3.png": "unlabelled",
        "labels.csv": "unsupported",
    }
    assert plan.n_images == 1


def test_table_with_a_base_folder_and_old_windows_letters(project: Project, folder: Path) -> None:
    table = folder / "labels.csv"
    table.write_bytes("path,label\n1.png,Käse\n".encode("cp1252"))
    plan = plan_csv(project, table, folder / "cats", local_mode=True, allowed_roots=[folder.parent])
    assert plan.classes == [("Käse", 1)]


def test_what_is_no_table_is_refused(project: Project, folder: Path) -> None:
    for text in (b"", b"only one column\nno more\n", b"\x89PNG\r\n\x1a\n\0\0\0"):
        with pytest.raises(ImportRefused):
            csv_plan(project, folder, text)
    with pytest.raises(ImportRefused, match="cannot be read"):
        plan_csv(project, folder / "gone.csv", local_mode=True, allowed_roots=[folder.parent])
    with pytest.raises(ImportRefused, match="your own machine"):
        plan_csv(project, folder / "labels.csv", local_mode=False)
