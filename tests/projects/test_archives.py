"""A project out as one zip and back in; and archives that lie."""

from __future__ import annotations

import json
import sqlite3
import stat
import zipfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from projects_helpers import encoded, files_below, fill
from test_library import finished_run

from blocklora.errors import ImportRefused, ProjectError
from blocklora.jobs.spec import RunSpec
from blocklora.projects import archive_in
from blocklora.projects.dataset import Dataset
from blocklora.projects.library import Library
from blocklora.projects.project import Project
from blocklora.projects.sources import Skipped

MakeZip = Callable[..., Path]
Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def full(library: Library) -> Project:
    project = library.create("Fruit")
    fill(project, "Äpfel", range(3))
    fill(project, "Birnen", range(10, 12))
    gone = fill(project, "Deleted", range(20, 22))
    project.delete_class(project.image(gone[0]).class_id)
    project.set_setting("backbone", "ViT-B-32")
    project.set_setting("current_run", "run-1")
    project.set_setting("template", "a photo of a {}.")
    project.set_setting("data_check_kept", [[f"{number:064x}", "c", "apart"] for number in range(1000)])
    finished_run(project)
    (project.exports_dir / "model.onnx").write_bytes(b"onnx")
    return project


@pytest.fixture
def archive(library: Library, full: Project, tmp_path: Path) -> Path:
    return library.export_zip(full.id, tmp_path / "out" / "fruit.zip")


def rewritten(archive: Path, change: Change | None = None, members: dict[str, bytes | None] | None = None) -> Path:
    """The archive with its manifest changed and members added, replaced or (None) left out."""
    with zipfile.ZipFile(archive) as source:
        content = {name: source.read(name) for name in source.namelist()}
    manifest = json.loads(content["project.json"])
    if change:
        change(manifest)
    content["project.json"] = json.dumps(manifest).encode()
    target = archive.with_name("changed.zip")
    with zipfile.ZipFile(target, "w") as out:
        for name, data in {**content, **(members or {})}.items():
            if data is not None:
                out.writestr(zipfile.ZipInfo(name), data)
    return target


def test_round_trip(library: Library, full: Project, archive: Path) -> None:
    skipped: list[Skipped] = []
    seen: list[tuple[int, int]] = []
    copy = library.import_zip(archive, progress=lambda done, total: seen.append((done, total)), skipped=skipped)
    assert skipped == [] and seen == [(n, 5) for n in range(1, 6)]
    assert copy.name == "Fruit (2)" and copy.dataset().data_hash == full.dataset().data_hash
    assert [(c.id, c.name, c.count) for c in copy.classes()] == [(c.id, c.name, c.count) for c in full.classes()]
    assert [i.id for i in copy.images(None).items] == [i.id for i in full.images(None).items] or copy.images(None).total == 5
    assert {i.id: replace(i, class_id="") for i in copy.images(None).items} == {
        i.id: replace(i, class_id="") for i in full.images(None).items
    }
    assert (copy.get_setting("current_run"), copy.get_setting("backbone")) == ("run-1", "ViT-B-32")
    assert copy.get_setting("data_check_kept") == full.get_setting("data_check_kept") and len(copy.kept()) == 1000
    assert {p.name for p in (copy.runs_dir / "run-1").rglob("*") if p.is_file()} == {
        *("spec.json", "dataset.json", "result.json", "parity.json", "export.json"),
        *("adapter.safetensors", "log.txt", "events.jsonl", "model.onnx"),
    }
    assert (copy.exports_dir / "model.onnx").read_bytes() == b"onnx"
    assert len(files_below(copy.path / "images")) == len(files_below(copy.path / "thumbs")) == 5
    assert list(library.staging.iterdir()) == []


def test_an_archive_tells_nothing_of_the_machine_and_a_runs_images_are_found_again(library: Library, archive: Path) -> None:
    with zipfile.ZipFile(archive) as source:
        assert not any("sqlite" in name for name in source.namelist())
        assert all(str(library.home) not in source.read(name).decode("utf-8", "replace") for name in source.namelist())
    copy = library.import_zip(archive)
    run = copy.runs_dir / "run-1"
    snapshot = Dataset.from_dict(json.loads((run / "dataset.json").read_text())["dataset"]).located(copy.path)
    assert len(snapshot.items) == 5 and all(Path(item.path).is_file() for item in snapshot.items)
    spec = RunSpec.from_dict(json.loads((run / "spec.json").read_text()))
    assert (spec.home, spec.project_id, spec.project_name, spec.then) == (str(library.home), copy.id, "Fruit (2)", ())


@pytest.mark.parametrize(
    "spec",
    [
        {"backbone": "/tmp/evil"},
        {"backbone": "../evil"},
        {"training": {"steps": "all"}},
        {"training": {"unknown": 1}},
        {"adapter": []},
        {"created": []},
    ],
)
def test_a_run_that_asks_for_what_it_should_not_is_left_out(library: Library, archive: Path, spec: dict[str, object]) -> None:
    values = RunSpec("builtin", "/elsewhere", then=("evil",)).to_dict()
    good, bad = json.dumps({**values, "surprise": 1}).encode(), json.dumps({**values, **spec}).encode()
    members = {"runs/run-1/spec.json": good, "runs/run-2/spec.json": bad, "runs/run-2/result.json": b"{}"}
    project, skipped = imported(library, rewritten(archive, members=members))
    assert skipped == {"runs/run-2/": "corrupt"} and [p.name for p in project.runs_dir.iterdir()] == ["run-1"]
    assert RunSpec.from_dict(json.loads((project.runs_dir / "run-1" / "spec.json").read_text())).then == ()


def test_export_failures_leave_no_file(library: Library, full: Project, tmp_path: Path) -> None:
    image = full.images(None).items[0]
    original = full.original(image.id)
    data = original.read_bytes()
    original.unlink()
    (tmp_path / "old.zip").write_bytes(b"the archive of yesterday")
    with pytest.raises(ProjectError, match="cannot be written"):
        library.export_zip(full.id, tmp_path / "old.zip")
    assert (tmp_path / "old.zip").read_bytes() == b"the archive of yesterday" and len(list(tmp_path.glob("*.zip*"))) == 1
    original.write_bytes(data)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ProjectError, match="cannot be written to"):
        library.export_zip(full.id, tmp_path / "file" / "x.zip")


# ---- archives that lie


def imported(library: Library, path: Path) -> tuple[Project, dict[str, str]]:
    skipped: list[Skipped] = []
    project = library.import_zip(path, skipped=skipped)
    return project, {entry.name: entry.kind for entry in skipped}


def test_hostile_members_are_left_out(library: Library, full: Project, archive: Path, tmp_path: Path) -> None:
    evil = tmp_path / "evil.sqlite"
    with closing(sqlite3.connect(evil)) as connection:
        connection.execute("CREATE TABLE project (x)")
    path = rewritten(
        archive,
        members={
            "../../evil.json": b"x",
            "runs/../../evil.json": b"x",
            "/etc/evil.json": b"x",
            "project.sqlite": evil.read_bytes(),
            "runs/run-1/evil.pkl": b"x",
            "runs/run-1/checkpoint.safetensors": b"x",
            "runs/run-1/result.json": b"{}",
            "runs/run-2/result.json": b"not json",
            "runs/..evil/result.json": b"{}",
            "exports/run.sh": b"x",
            "exports/sub/model.onnx": b"x",
            "images/extra.png": encoded(99),
        },
    )
    link = zipfile.ZipInfo("exports/link.onnx")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as out:
        out.writestr(link, "/etc/passwd")
    before = {p for p in tmp_path.rglob("*") if library.home not in p.parents}
    project, skipped = imported(library, path)
    assert {p for p in tmp_path.rglob("*") if library.home not in p.parents} == before
    assert skipped == {
        "project.sqlite": "unsupported",
        "runs/run-1/evil.pkl": "unsupported",
        "runs/run-1/checkpoint.safetensors": "unsupported",
        "runs/run-2/result.json": "corrupt",
        "runs/run-2/": "corrupt",
        "runs/..evil/result.json": "hidden",
        **dict.fromkeys(("../../evil.json", "runs/../../evil.json", "/etc/evil.json", "exports/link.onnx"), "unsafe"),
        "exports/run.sh": "unsupported",
        "exports/sub/model.onnx": "unsupported",
    }
    assert project.dataset().data_hash == full.dataset().data_hash
    assert files_below(project.exports_dir) == {"model.onnx"} and not any(p.is_symlink() for p in project.path.rglob("*"))
    assert len(files_below(project.path / "images")) == 5


def test_images_that_are_not_what_the_archive_says(library: Library, full: Project, archive: Path) -> None:
    one, two, three, *_ = (f"images/{full.original(image.id).name}" for image in full.images(None, newest_first=False).items)
    names = {f"images/{full.original(i.id).name}": i.original_name for i in full.images(None).items}
    path = rewritten(archive, members={one: encoded(77), two: b"no picture", three: None})
    project, skipped = imported(library, path)
    assert skipped == {names[one]: "corrupt", names[two]: "unsupported", names[three]: "missing"}
    assert project.images(None).total == 2


def spoil(values: dict[str, Any]) -> None:
    first, second, third, fourth, fifth = values["images"]
    first["class"] = 17
    second["file"] = "project.json"
    third["sha256"] = "../" + third["sha256"][3:]
    fourth.update(id="'; DROP TABLE images; --", added="yesterday", name="a\u202eb", width="huge")
    fifth["class"] = True
    values["images"] += ["nonsense", dict(fourth)]
    values["classes"] += [{"name": "äpfel"}, {"name": ""}, None, {"id": "c_../../x", "name": "Quitten"}]
    values["name"] = " \0 "
    values["settings"] = {"current_run": "../../x", "backbone": "/tmp/evil", "form": {"backbone": "/tmp"}, "template": "{}"}
    values["settings"] |= {"UPPER": 1, "big": "x" * 100_000, "../x": 1}


def test_a_manifest_full_of_nonsense(library: Library, archive: Path) -> None:
    project, _ = imported(library, rewritten(archive, spoil))
    assert project.name == "Imported project" and [info.name for info in project.classes()] == ["Äpfel", "Birnen", "Quitten"]
    (image,) = project.images(None).items
    assert image.id.startswith("i_") and image.width == 48 and "\u202e" not in image.original_name
    assert project.get_setting("current_run") is None and project.get_setting("backbone") is None
    assert (
        project.get_setting("form") is None
        and project.get_setting("template") == "{}"
        and project.get_setting("big") is None
        and project.get_setting("UPPER") is None
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v.update(version=3), "newer version"),
        (lambda v: v.update(version="1"), "cannot be read"),
        (lambda v: v.update(format="other"), "cannot be read"),
    ],
)
def test_manifests_that_are_refused(library: Library, archive: Path, change: Change, words: str) -> None:
    with pytest.raises(ImportRefused, match=words):
        library.import_zip(rewritten(archive, change))
    assert len(library.list()) == 1 and list(library.staging.iterdir()) == []


def test_other_zips_are_refused(library: Library, make_zip: MakeZip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImportRefused, match="not a project archive"):
        library.import_zip(make_zip({"cats/1.png": encoded(1)}))
    for text in (b"[]", b"{", b"\xff", b"[" * 100_000, b"null"):
        with pytest.raises(ImportRefused, match="cannot be read"):
            library.import_zip(make_zip({"project.json": text}))
    with pytest.raises(ImportRefused):
        library.import_zip(tmp_path / "gone.zip")
    monkeypatch.setattr(archive_in, "MANIFEST_BYTES", 100)
    with pytest.raises(ImportRefused, match="cannot be read"):
        library.import_zip(make_zip({"project.json": b"[" + b" " * 200 + b"]"}))
    bomb = make_zip({"project.json": b" " * (120 << 20)}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ImportRefused, match="pack that well"):
        library.import_zip(bomb)
    assert library.list() == [] and list(library.staging.iterdir()) == []


def test_a_stopped_import_leaves_nothing(library: Library, archive: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        library.import_zip(archive, progress=stop)
    assert len(library.list()) == 1 and list(library.staging.iterdir()) == []
