"""Sorting pictures into folders: nothing overwritten, nothing outside, the pictures untouched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from blocklora.errors import ExportError
from blocklora.projects.safe_names import folder_names, numbered, safe_name
from blocklora.services import sorting
from blocklora.services.batch_files import list_paths
from blocklora.services.batch_table import Table
from blocklora.services.sorting import Sorted, sort_into

JPEG = b"\xff\xd8\xff\xe0"


def make(root: Path, named: dict[str, str], known: bool | None = None) -> Table:
    """A finished table of the files in `root`; `named` gives each file's label, its content is its path."""
    for name in named:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(JPEG + name.encode())
    table = Table(None, "m", 1)
    table.set_files(list_paths([root], relative=True))
    for row in table.waiting():
        if named[row.name]:
            table.answer(row, [(named[row.name], 0.5)], known)
        else:
            table.refuse(row, "damaged")
    return table


def tree(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes()[len(JPEG) :] for path in sorted(root.rglob("*")) if path.is_file()}


def test_same_names_are_numbered_and_doing_it_again_changes_nothing(tmp_path: Path) -> None:
    named = {"a/1.jpg": "cat", "b/1.jpg": "cat", "c/1.jpg": "dog", "d/1.jpg": ""}
    table = make(tmp_path / "in", named)
    before = tree(tmp_path / "in")
    assert sort_into(table, tmp_path / "out") == Sorted(3, 0, 0)
    wanted = {"cat/1 (2).jpg": b"b/1.jpg", "cat/1.jpg": b"a/1.jpg", "dog/1.jpg": b"c/1.jpg"}
    assert tree(tmp_path / "out") == wanted
    assert sort_into(table, tmp_path / "out") == Sorted(3, 0, 0) and tree(tmp_path / "out") == wanted
    assert sort_into(make(tmp_path / "in", named), tmp_path / "out") == Sorted(3, 0, 0)  # a table that knows nothing of the copies
    assert tree(tmp_path / "out") == wanted and tree(tmp_path / "in") == before


def test_equal_pictures_are_two_copies(tmp_path: Path) -> None:
    table = make(tmp_path / "in", {"a/1.jpg": "cat", "b/1.jpg": "cat"})
    (tmp_path / "in/b/1.jpg").write_bytes((tmp_path / "in/a/1.jpg").read_bytes())
    for _ in range(2):
        sort_into(table, tmp_path / "out")
        assert list(tree(tmp_path / "out")) == ["cat/1 (2).jpg", "cat/1.jpg"]


def test_what_lies_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out/cat").mkdir(parents=True)
    (tmp_path / "out/cat/1.jpg").write_bytes(JPEG + b"mine")
    (tmp_path / "elsewhere").write_bytes(b"")
    (tmp_path / "out/cat/1 (2).jpg").symlink_to(tmp_path / "elsewhere")
    sort_into(make(tmp_path / "in", {"1.jpg": "cat"}), tmp_path / "out")
    assert tree(tmp_path / "out") == {"cat/1 (2).jpg": b"", "cat/1 (3).jpg": b"1.jpg", "cat/1.jpg": b"mine"}
    assert (tmp_path / "elsewhere").read_bytes() == b""


def test_nothing_lands_outside(tmp_path: Path) -> None:
    table = make(tmp_path / "in", {"1.jpg": "../../evil", "2.jpg": "..", "3.jpg": "/etc", "4.jpg": "CON", "5.jpg": "a\0b", "6.jpg": "."})
    sort_into(table, tmp_path / "x" / "out")
    folders = sorted(path.name for path in (tmp_path / "x" / "out").iterdir())
    assert folders == sorted(["．.／..／evil", "．．", "／etc", "ＣON", "ab", "．"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "x"] and len(tree(tmp_path / "x")) == 6


def test_a_class_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "private").mkdir()
    (tmp_path / "out" / "cat").symlink_to(tmp_path / "private")
    with pytest.raises(ExportError, match="in the way"):
        sort_into(make(tmp_path / "in", {"1.jpg": "cat"}), tmp_path / "out")
    assert not list((tmp_path / "private").iterdir())


def test_links_are_hard_where_possible_else_symbolic_else_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = make(tmp_path / "in", {"1.jpg": "cat"})
    source = tmp_path / "in" / "1.jpg"
    assert sort_into(table, tmp_path / "hard", link=True) == Sorted(1, 1, 0)
    assert (tmp_path / "hard/cat/1.jpg").stat().st_ino == source.stat().st_ino
    assert sort_into(table, tmp_path / "hard", link=True) == Sorted(1, 1, 0) and len(tree(tmp_path / "hard")) == 1

    def refuse(*_: object) -> None:
        raise OSError("not here")

    monkeypatch.setattr(sorting.os, "link", refuse)
    assert sort_into(table, tmp_path / "soft", link=True) == Sorted(1, 1, 0)
    assert (tmp_path / "soft/cat/1.jpg").is_symlink() and (tmp_path / "soft/cat/1.jpg").resolve() == source
    monkeypatch.setattr(sorting.os, "symlink", refuse)
    assert sort_into(table, tmp_path / "copy", link=True) == Sorted(1, 0, 0)
    assert (tmp_path / "copy/cat/1.jpg").stat().st_ino != source.stat().st_ino
    assert not any(name.endswith(".tmp") for _, _, names in os.walk(tmp_path) for name in names)


def test_pictures_that_are_gone_are_counted(tmp_path: Path) -> None:
    table = make(tmp_path / "in", {"1.jpg": "cat", "2.jpg": "cat"})
    (tmp_path / "in" / "1.jpg").unlink()
    assert sort_into(table, tmp_path / "out") == Sorted(1, 0, 1)


def test_strangers_have_a_folder_of_their_own(tmp_path: Path) -> None:
    sort_into(make(tmp_path / "in", {"1.jpg": "cat"}, known=False), tmp_path / "out")
    assert list(tree(tmp_path / "out")) == ["unknown/1.jpg"]


def test_class_names_become_folders_that_every_system_takes() -> None:
    assert folder_names(["Cat", "cat", "a/b", "a／b", "nul.txt", "dot.", "  "]) == {
        "Cat": "Cat",
        "cat": "cat (2)",
        "a/b": "a／b",
        "a／b": "a／b (2)",
        "nul.txt": "ｎul.txt",
        "dot.": "dot．",
        "  ": "_",
    }
    assert len(safe_name("ä" * 500).encode()) <= 200 and len(safe_name("x" * 500)) == 80
    assert numbered("x" * 500 + ".jpg", 2).endswith("x (2).jpg"), "a long name keeps its ending"
    assert numbered("x/../a b.tar.gz", 2) == "a b.tar (2).gz" and numbered("c\\d.png", 1) == "d.png"
