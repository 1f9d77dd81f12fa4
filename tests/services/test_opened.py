"""Files that people open: copied before they are checked, bounded in number, one for each project, and nothing is kept of a bad one."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blocklora.errors import ModelFileError
from blocklora.services import opened
from blocklora.services.opened import OpenedFile, OpenedFiles
from blocklora.services.predicting import Predictors

GOOD = {"created": "2026-01-01T00:00:00Z", "base_model": "tiny", "precision": "fp32", "accuracy": {"held_out": {"n": 30, "correct": 27}}}


class Model:
    """Stands in for an opened file: good, unless its bytes say that they are bad."""

    labels: Sequence[str] = ("apple", "pear")
    provider = "CPUExecutionProvider"

    def __init__(self, path: Path) -> None:
        self.path, self.data = path, path.read_bytes()
        if b"bad" in self.data:
            raise ModelFileError(f"{path.name} uses the operator Loop, which this product never writes.", "Use another.")
        self.metadata: dict[str, Any] = dict(GOOD)

    def predict(self, images: Sequence[np.ndarray], top: int = 5) -> list[Any]:
        return []

    def predict_files(self, paths: Any, top: int = 5) -> Any:
        return iter(())


@pytest.fixture
def files(data_home: Path) -> OpenedFiles:
    return OpenedFiles(data_home, Predictors(Model))


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def left(files: OpenedFiles) -> list[str]:
    return sorted(path.name for path in files.folder.iterdir() if path.is_file())


def test_a_file_is_copied_under_its_hash_and_answers_for_its_project(files: OpenedFiles, data_home: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "fruit.onnx", b"good")
    found = files.open(source, project_id="p1")
    key = hashlib.sha256(b"good").hexdigest()
    assert found == OpenedFile(key, "fruit.onnx", 4, ("apple", "pear"), "2026-01-01T00:00:00Z", "tiny", "fp32", 27, 30)
    assert left(files) == [f"{key}.json", f"{key}.onnx"] and files.path(key).read_bytes() == b"good"
    assert files.chosen("p1") == found and files.chosen("p2") is None and files.chosen() is None
    source.write_bytes(b"bad")  # what lies elsewhere now is nothing to us
    again = OpenedFiles(data_home, Predictors(Model))  # another start of the program
    assert again.chosen("p1") == found and again.predictor(found).path == files.path(key)  # type: ignore[attr-defined]
    again.choose(None, "p1")
    assert files.chosen("p1") is None and files.all() == [found]


def test_what_was_checked_is_what_is_loaded_whatever_happens_to_the_source(data_home: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "x.onnx", b"good")

    def factory(path: Path) -> Any:
        source.write_bytes(b"bad")  # while it is being checked
        assert path.parent == data_home / "opened" and path.stem == hashlib.sha256(b"good").hexdigest()
        return Model(path)

    files = OpenedFiles(data_home, Predictors(factory))
    found = files.open(source)
    assert files.predictor(found).data == b"good"  # type: ignore[attr-defined]


def test_a_refused_file_leaves_nothing_and_changes_nothing(files: OpenedFiles, tmp_path: Path) -> None:
    first = files.open(write(tmp_path / "good.onnx", b"good"), project_id="p1")
    before = left(files)
    with pytest.raises(ModelFileError, match=r"^worse\.onnx uses the operator Loop") as caught:  # not the name of the copy
        files.open(write(tmp_path / "worse.onnx", b"bad"), project_id="p1")
    assert caught.value.advice == "Use another."
    assert left(files) == before and files.chosen("p1") == first


def test_a_copy_that_was_never_found_good_is_none(files: OpenedFiles, tmp_path: Path) -> None:
    """As a power cut between copy and record would leave it."""
    found = files.open(write(tmp_path / "good.onnx", b"good"))
    files._record(found.key).unlink()
    assert files.get(found.key) is None and files.chosen() is None and files.all() == []


def test_the_newest_few_are_kept(files: OpenedFiles, tmp_path: Path) -> None:
    keys = []
    for number in range(opened.KEPT + 3):
        found = files.open(write(tmp_path / f"{number}.onnx", f"good {number}".encode()), project_id=f"p{number}")
        keys.append(found.key)
        os.utime(files._record(found.key), (number, number))
    assert {file.key for file in files.all()} == set(keys[3:])
    assert files.chosen("p0") is None and files.chosen("p5") is not None
    assert set(json.loads(files._choices.read_text())) >= {"p7"} and "p0" not in json.loads(files._choices.read_text())


def test_all_of_them_together_have_a_bound_but_the_newest_stays(
    files: OpenedFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = files.open(write(tmp_path / "a.onnx", b"good one"))
    os.utime(files._record(old.key), (1, 1))
    monkeypatch.setattr(opened, "KEPT_BYTES", 9)
    new = files.open(write(tmp_path / "b.onnx", b"good other"))
    assert files.all() == [new]


def test_halves_of_copies_are_swept(files: OpenedFiles, tmp_path: Path) -> None:
    files.folder.mkdir()
    old, young = files.folder / ".old.part", files.folder / ".young.part"
    for path, age in ((old, opened.HALF_DONE + 9), (young, 9)):
        path.write_bytes(b"x")
        os.utime(path, (time.time() - age,) * 2)
    files.open(write(tmp_path / "a.onnx", b"good"))
    assert not old.exists() and young.exists()


def test_opened_again_under_another_name(files: OpenedFiles, tmp_path: Path) -> None:
    first = files.open(write(tmp_path / "a.onnx", b"good"))
    second = files.open(write(tmp_path / "b.onnx", b"good"), project_id="p")
    assert second == replace(first, name="b.onnx") and files.all() == [second] == [files.chosen("p")]


def test_a_copy_that_was_spoilt_is_made_again(files: OpenedFiles, tmp_path: Path) -> None:
    source = write(tmp_path / "a.onnx", b"good")
    found = files.open(source)
    files.path(found.key).write_bytes(b"bad bytes")
    assert files.open(source) == found and files.path(found.key).read_bytes() == b"good"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names")
def test_pipes_devices_and_folders_are_refused_at_once(files: OpenedFiles, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")  # nobody writes: a plain open would wait for ever
    (tmp_path / "zero.onnx").symlink_to("/dev/zero")
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "nowhere.onnx").symlink_to(tmp_path / "gone")
    for name, reason in (("pipe", "not a regular file"), ("zero", "not a regular file"), ("folder", "not a regular file|cannot be opened")):
        with pytest.raises(ModelFileError, match=reason):
            files.open(tmp_path / f"{name}.onnx")
    for name in ("nowhere.onnx", "gone.onnx", "nu\0ll.onnx"):
        with pytest.raises(ModelFileError, match="cannot be opened"):
            files.open(tmp_path / name)
    assert left(files) == []


def test_a_link_to_a_file_is_the_persons_own_business(files: OpenedFiles, tmp_path: Path) -> None:
    (tmp_path / "link.onnx").symlink_to(write(tmp_path / "good.onnx", b"good"))
    found = files.open(tmp_path / "link.onnx")
    assert not files.path(found.key).is_symlink()


def test_sizes_have_bounds(files: OpenedFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = tmp_path / "large.onnx"
    with large.open("wb") as stream:
        stream.truncate(2**31)  # sparse: takes no room
    with pytest.raises(ModelFileError, match="2,147,483,648 bytes"):
        files.open(large)
    with pytest.raises(ModelFileError, match="no bytes"):
        files.open(write(tmp_path / "empty.onnx", b""))
    monkeypatch.setattr(opened, "ROOM", 2**62)
    with pytest.raises(ModelFileError, match="no room for a copy"):
        files.open(write(tmp_path / "good.onnx", b"good"))
    assert left(files) == []


def test_a_file_that_grows_under_the_copying_is_cut_off(files: OpenedFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened, "MAX_BYTES", 10)
    monkeypatch.setattr(opened.os, "fstat", lambda _: os.stat_result((0o100644, 1, 1, 1, 0, 0, 5, 0, 0, 0)))
    with pytest.raises(ModelFileError, match="more than 10 bytes"):
        files.open(write(tmp_path / "grows.onnx", b"good" * 9))
    assert left(files) == []


def test_names_are_never_paths_and_fit_to_be_shown(files: OpenedFiles, tmp_path: Path) -> None:
    found = files.open(write(tmp_path / "a.onnx", b"good"), "../../\u202egpj\x1b[31m.onnx")
    assert found.name == "../../�gpj�[31m.onnx" and left(files) == [f"{found.key}.json", f"{found.key}.onnx"]
    for key in ("../../etc/passwd", "", "0" * 63, "G" * 64, found.key.upper()):
        assert files.get(key) is None


def test_strange_metadata_are_left_away() -> None:
    for accuracy in (
        None,
        [],
        {"test": 3},
        {"test": {"n": 3, "correct": 4}},
        {"test": {"n": True, "correct": True}},
        {"test": {"n": 0, "correct": 0}},
    ):
        assert opened._figures(accuracy) == (0, 0)
    both = {"held_out": {"n": 3, "correct": 1}, "test": {"n": 9, "correct": 8}}
    assert opened._figures(both) == (8, 9)
    assert opened._word({"a": 1}) == "" and opened._word("\x1b[2J" + "x" * 500) == "\ufffd[2J" + "x" * 75 + "…"


def test_damaged_choices_and_records_are_no_choices(files: OpenedFiles, tmp_path: Path) -> None:
    found = files.open(write(tmp_path / "a.onnx", b"good"))
    for text in ("{", "[]", '{"-": 7}', '{"-": "../x"}'):
        files._choices.write_text(text)
        assert files.chosen() is None
    files.choose(found.key)
    assert files.chosen() == found
    for text in ("{", "[]", "{}", '{"labels": 3}'):
        files._record(found.key).write_text(text)
        assert files.chosen() is None


def test_files_are_found_by_name_or_hash(files: OpenedFiles, tmp_path: Path) -> None:
    first = files.open(write(tmp_path / "a.onnx", b"good"))
    assert files.find("a.onnx") == files.find(first.key) == files.find(f" {first.key[:8]} ") == first
    for word in ("b.onnx", first.key[:7], ""):
        with pytest.raises(ModelFileError, match="no opened file") as caught:
            files.find(word)
        assert f"a.onnx ({first.key[:12]})" in caught.value.advice
    files.open(write(tmp_path / "a.onnx", b"good, too"))
    with pytest.raises(ModelFileError, match="more than one"):
        files.find("a.onnx")


def test_others_answer_while_one_is_being_opened(tmp_path: Path) -> None:
    slow, go = threading.Event(), threading.Event()

    def factory(path: Path) -> Any:
        if path.name == "slow.onnx":
            slow.set()
            assert go.wait(60)
        return Model(path)

    predictors = Predictors(factory)
    quick, late = write(tmp_path / "quick.onnx", b"good"), write(tmp_path / "slow.onnx", b"good")
    made: list[Any] = []
    threads = [threading.Thread(target=lambda: made.append(predictors.get(late))) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert slow.wait(60)
    assert predictors.get(quick) is predictors.get(quick)  # in this thread, now
    go.set()
    for thread in threads:
        thread.join(60)
    assert len(made) == 2 and made[0] is made[1]  # who waited got the one that was made
