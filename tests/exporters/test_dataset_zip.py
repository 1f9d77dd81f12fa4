"""A run's pictures as a zip: the originals, under names that every system takes, and the same classes when imported again."""

from __future__ import annotations

import csv
import io
import shutil
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest
from tiny_run import CLASSES, write_run

from blocklora.errors import ExportError, ProjectError
from blocklora.files import read_json, sha256_file, write_json
from blocklora.jobs.run_folder import RunFolder
from blocklora.projects.folders import read_class_folders, read_zip
from blocklora.projects.intake import accept, plan_folder, plan_zip
from blocklora.projects.names import name_key
from blocklora.projects.project import Project
from exporters.dataset_zip import write_dataset_zip

NASTY = (
    "a/b",
    'x<>:"|?*\\',
    "CON",
    "=cmd|' /C calc'!A0",
    ".hidden",
    "..",
    "dots...",
    "nul.txt",
    "__MACOSX",
    "日本 äöü 🍏",
    "Rose",
    "Thumbs.db",
)


def quiet(stage: str, fraction: float) -> None:
    pass


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return write_run(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def run(finished: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy of the run, pictures and all, that a test may spoil."""
    shutil.copytree(finished.path, tmp_path / "place" / "runs" / "run")
    shutil.copytree(finished.path.parent / "pictures", tmp_path / "pictures")
    copy = RunFolder(tmp_path / "place" / "runs" / "run")
    values = read_json(copy.dataset_path)
    for item in values["dataset"]["items"]:
        item["path"] = item["path"].replace(str(finished.path.parent), str(tmp_path))
    write_json(copy.dataset_path, values)
    return copy


def paths(run: RunFolder) -> list[Path]:
    return [Path(item["path"]) for item in read_json(run.dataset_path)["dataset"]["items"]]


def change(run: RunFolder, **values: Any) -> None:
    whole = read_json(run.dataset_path)
    whole["dataset"].update(values)
    write_json(run.dataset_path, whole)


def with_classes(run: RunFolder, names: tuple[str, ...]) -> None:
    """Give the run's pictures these classes, one picture each, all of them trained on."""
    items = read_json(run.dataset_path)["dataset"]["items"][: len(names)]
    for label, item in enumerate(items):
        item["label"] = label
    change(run, class_names=list(names), class_ids=[str(i) for i in range(len(names))], items=items)
    write_json(run.dataset_path, {**read_json(run.dataset_path), "train": list(range(len(items))), "held_out": []})


def unzipped(run: RunFolder, root: Path) -> Path:
    write_dataset_zip(run, root / "dataset.zip", quiet)
    with zipfile.ZipFile(root / "dataset.zip") as archive:
        assert archive.testzip() is None
        archive.extractall(root / "unzipped")
    return root / "unzipped"


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline="")))


def test_originals_lie_in_folders_by_split_and_class(run: RunFolder, tmp_path: Path) -> None:
    folder = unzipped(run, tmp_path)
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    wanted = [
        f"{part}/{name}/{number}{'.jpg' if number % 2 else '.png'}"
        for name in CLASSES
        for part, numbers in (("held-out", (0, 1)), ("train", (2, 3)))
        for number in numbers
    ]
    assert files == sorted([*wanted, "README.md", "dataset.csv", "labels.json"])
    for name in wanted:
        assert (folder / name).read_bytes() == (tmp_path / "pictures" / name.split("/", 1)[1]).read_bytes()
    rows = table(folder / "dataset.csv")
    assert sorted(row["file"] for row in rows) == sorted(wanted)
    for row in rows:
        assert row["sha256"] == sha256_file(folder / row["file"])
        assert row["file"].startswith(f"{row['split']}/") and row["class"].lstrip("'") == row["file"].split("/")[1]
    assert {row["class"] for row in rows} == {"apple", "pear", "'=plum"}  # no formula for a spreadsheet


@pytest.mark.parametrize("whole", [True, False])
def test_imported_again_it_is_the_same_classes(whole: bool, run: RunFolder, tmp_path: Path) -> None:
    with_classes(run, NASTY)
    folder = unzipped(run, tmp_path)
    labels = read_json(folder / "labels.json")["classes"]
    assert [entry["name"] for entry in labels] == list(NASTY) and [entry["id"] for entry in labels] == list(map(str, range(len(NASTY))))
    assert len(list((folder / "train").iterdir())) == len(NASTY)
    project = Project.create(tmp_path / "project", "again")
    for name in NASTY[::2]:
        project.add_class(name)  # half of the classes are there already, under their true names
    plan = (
        plan_zip(project, tmp_path / "dataset.zip")
        if whole
        else plan_folder(project, folder / "train", local_mode=True, allowed_roots=[tmp_path])
    )
    assert accept(project, plan).added == len(NASTY)
    found = {name_key(info.name): info.count for info in project.classes()}
    assert found == {name_key(name): 1 for name in NASTY}
    dataset, left_out = read_class_folders(folder / "train")
    assert {name_key(name) for name in dataset.class_names} == {name_key(name) for name in NASTY} and left_out == []
    by_class = {name_key(dataset.class_names[item.label]): item.sha256 for item in dataset.items}
    assert by_class == {name_key(row["class"].lstrip("'")): row["sha256"] for row in table(folder / "dataset.csv")}


def test_names_are_allowed_on_windows_and_unique_everywhere(run: RunFolder, tmp_path: Path) -> None:
    names = (*NASTY[:6], "rose", "ROSE", "ｒose", "ab" * 100, "ab" * 100 + "c", "\u0007")
    with_classes(run, names)
    folder = unzipped(run, tmp_path)
    found = [entry["folder"] for entry in read_json(folder / "labels.json")["classes"]]
    assert len({name_key(name) for name in found}) == len(names)
    for name in found:
        assert not set(name) & set('<>:"/\\|?*') and min(map(ord, name)) >= 32
        assert name[-1] not in ". " and name[0] not in ". " and name.split(".")[0].strip().upper() not in ("CON", "NUL", "AUX", "PRN")
        assert len(name) <= 100 and len(name.encode()) < 255
    assert sorted(found) == sorted(path.name for path in (folder / "train").iterdir())


def test_names_of_pictures_do_not_meet_and_end_as_their_content_says(run: RunFolder, tmp_path: Path) -> None:
    """As a zip from the command line leaves them (without an ending), as a project names them, and twice the same name."""
    values = read_json(run.dataset_path)
    items, first = values["dataset"]["items"], paths(run)
    for number, name in enumerate(("000001.bin", f"{items[1]['sha256']}.jpg", "same.png", "other/SAME.PNG")):
        target = tmp_path / "elsewhere" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(first[number], target)
        items[number]["path"] = str(target)
    change(run, items=items)
    files = {row["sha256"]: row["file"] for row in table(unzipped(run, tmp_path) / "dataset.csv")}
    ends = [files[item["sha256"]].split("/", 2)[2] for item in items[:4]]
    kinds = [".png", ".jpg", ".png", ".jpg"]  # of the run's pictures, whatever they are called
    assert ends[0] == "000001" + kinds[0] and ends[1] == items[1]["sha256"][:16] + kinds[1]
    assert sorted(ends[2:]) == ["SAME (2).jpg", "same.png"] or sorted(ends[2:]) == ["SAME.jpg", "same (2).png"]


def test_pictures_that_are_gone_or_others_now_are_left_out_and_listed(run: RunFolder, tmp_path: Path) -> None:
    gone, changed, *_ = paths(run)
    gone.unlink()
    changed.write_bytes(changed.read_bytes() + b"\0")
    folder = unzipped(run, tmp_path)
    left_out = {row["name"]: row["reason"] for row in table(folder / "left-out.csv")}
    assert left_out == {gone.name: "deleted since the training", changed.name: "changed since the training"}
    assert len(table(folder / "dataset.csv")) == len(paths(run)) - 2
    assert "2 of the 12 pictures are left out" in (folder / "README.md").read_text()


def test_a_file_that_is_no_picture_never_travels(run: RunFolder, tmp_path: Path) -> None:
    """A list of pictures from somebody else may name any file of this machine."""
    secret = tmp_path / "id_rsa"
    secret.write_text("-----BEGIN OPENSSH PRIVATE KEY-----")
    items = read_json(run.dataset_path)["dataset"]["items"]
    items[0].update(path=str(secret), sha256=sha256_file(secret))
    items[1].update(path=str(secret))
    change(run, items=items)
    folder = unzipped(run, tmp_path)
    assert sorted(row["reason"] for row in table(folder / "left-out.csv")) == [
        "changed since the training",
        "no picture of a kind that is read",
    ]
    assert not any(path.read_bytes() == secret.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_pictures_of_a_project_that_was_moved_are_found_by_their_content(run: RunFolder, tmp_path: Path) -> None:
    items = read_json(run.dataset_path)["dataset"]["items"]
    for item in items:
        blob = tmp_path / "place" / "images" / item["sha256"][:2] / f"{item['sha256']}{Path(item['path']).suffix}"
        blob.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(item["path"], blob)
    assert len(table(unzipped(run, tmp_path) / "dataset.csv")) == len(items)


def test_no_picture_left_is_an_error_and_no_file(run: RunFolder, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "pictures")
    with pytest.raises(ExportError, match="none of the 12 pictures"):
        write_dataset_zip(run, tmp_path / "dataset.zip", quiet)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["place"]


def test_damaged_lists_are_refused_in_words(run: RunFolder, tmp_path: Path) -> None:
    values = read_json(run.dataset_path)
    for wrong in ({**values, "train": [99]}, {**values, "held_out": "none"}, {**values, "dataset": []}, {**values, "train": [-1]}):
        write_json(run.dataset_path, wrong)
        with pytest.raises(ProjectError):
            write_dataset_zip(run, tmp_path / "dataset.zip", quiet)
    run.dataset_path.unlink()
    with pytest.raises(ExportError, match=r"no dataset\.json"):
        write_dataset_zip(run, tmp_path / "dataset.zip", quiet)


def test_memory_does_not_grow_with_a_picture(run: RunFolder, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    large.write_bytes(paths(run)[0].read_bytes() + bytes(64 << 20))
    items = read_json(run.dataset_path)["dataset"]["items"]
    items[0].update(path=str(large), sha256=sha256_file(large))
    change(run, items=items)
    tracemalloc.start()
    write_dataset_zip(run, tmp_path / "dataset.zip", quiet)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "dataset.zip").stat().st_size > 64 << 20 and peak < 8 << 20


def test_readme_program_finds_pictures_and_true_names(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = unzipped(run, tmp_path)
    text = (folder / "README.md").read_text(encoding="utf-8")
    monkeypatch.chdir(folder)
    values: dict[str, Any] = {}
    exec(compile(text.split("```python\n")[1].split("```")[0], "README.md", "exec"), values)
    for part in ("train", "held_out"):
        assert sorted({name for _, name in values[part]}) == sorted(CLASSES) and len(values[part]) == 6
        assert all(path.is_file() for path, _ in values[part])
    assert str(tmp_path) not in text and "6 pictures that a run was trained on and 6 that were held out" in text


def test_same_run_gives_the_same_bytes_and_its_zip_is_read_by_the_command_line_too(run: RunFolder, tmp_path: Path) -> None:
    for name in ("one.zip", "two.zip"):
        write_dataset_zip(run, tmp_path / name, quiet)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    dataset, left_out = read_zip(tmp_path / "one.zip", tmp_path / "work")
    assert sorted(dataset.class_names) == sorted(CLASSES) and dataset.counts == (4, 4, 4)
    assert {skipped.name for skipped in left_out} == {"README.md", "dataset.csv", "labels.json"}


def test_progress_moves_forward_and_ends_below_one(run: RunFolder, tmp_path: Path) -> None:
    told: list[float] = []
    write_dataset_zip(run, tmp_path / "dataset.zip", lambda stage, fraction: told.append(fraction))
    assert told == sorted(told) and told[0] > 0 and told[-1] < 1 and len(told) == 12
