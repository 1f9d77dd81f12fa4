"""A run done again from its folder: bit by bit the same here, and what differs is said in figures."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blocklora.cli.parser import main
from blocklora.errors import JobError
from blocklora.files import read_json, write_json
from blocklora.jobs.run_folder import STOP, RunFolder
from blocklora.services.reproduce import differences, held_against, prepare, tensors_hash, words
from blocklora.training.environment import commit
from blocklora.training.worker import work


def worked(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """The run after its worker, in this process."""
    monkeypatch.setattr("os._exit", lambda code: None)
    assert work(run) == 0, run.log_tail()
    return run


@pytest.fixture
def old(make_tiny_run: Callable[..., RunFolder], monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    return worked(make_tiny_run("old"), monkeypatch)


def test_the_same_comes_out_bit_by_bit(old: RunFolder, tiny_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = worked(prepare(old, tmp_path / "new", tiny_home), monkeypatch)
    found = held_against(old, new)
    assert found.adapter and found.answers and found.flipped == 0 and found.n > 0 and found.weight == 0 and found.probability == 0
    assert words(found)[0].startswith("The same, bit by bit")
    assert new.spec()["training"] == old.spec()["training"] and new.spec()["then"] == []
    assert not list(differences(old.environment(), new.environment()))


def test_another_seed_is_noticed(old: RunFolder, tiny_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = prepare(old, tmp_path / "new", tiny_home)
    spec = new.spec()
    write_json(new.spec_path, {**spec, "training": {**spec["training"], "seed": 99}})
    found = held_against(old, worked(new, monkeypatch))
    assert not found.adapter and found.weight and found.probability > 0
    said = "\n".join(words(found))
    assert "bit by bit:" not in said and "Largest difference of a probability" in said


def test_pictures_are_found_by_content(
    old: RunFolder, sample_pictures: Path, tiny_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for number, path in enumerate(sorted(sample_pictures.rglob("*.png"))):
        shutil.move(path, elsewhere / f"renamed-{number}.bin")
    with pytest.raises(JobError, match="24 of 24 pictures of this run are gone") as told:
        prepare(old, tmp_path / "new", tiny_home)
    assert "--pictures" in told.value.advice and not (tmp_path / "new").exists()
    found = held_against(old, worked(prepare(old, tmp_path / "new", tiny_home, elsewhere), monkeypatch))
    assert found.adapter and found.answers


def test_a_picture_that_was_changed_is_not_taken(old: RunFolder, sample_pictures: Path, tiny_home: Path, tmp_path: Path) -> None:
    victim = next(sample_pictures.rglob("*.png"))
    victim.write_bytes(victim.read_bytes() + b"x")
    with pytest.raises(JobError, match="1 of 24 pictures"):
        prepare(old, tmp_path / "new", tiny_home)


def test_a_folder_that_holds_a_run_is_left_alone(old: RunFolder, tiny_home: Path, make_tiny_run: Callable[..., RunFolder]) -> None:
    taken = make_tiny_run("taken")
    with pytest.raises(JobError, match="already holds a run"):
        prepare(old, taken.path, tiny_home)
    with pytest.raises(JobError, match="no result"):
        prepare(taken, old.path.parent / "new", tiny_home)


def test_what_a_run_was_made_with_is_written_down(old: RunFolder) -> None:
    known = old.environment()
    assert known["packages"]["torch"] and known["threads"] >= 1 and known["blocklora"] and known["platform"] and known["python"]
    assert known["commit"] == commit(Path(__file__).parents[2]) and "began_with" not in known
    assert str(old.path) not in str(known)
    changed: dict[str, Any] = {**known, "threads": 77, "packages": {**known["packages"], "torch": "0"}}
    assert {line[0] for line in differences(known, changed)} == {"threads", "torch"}


def test_what_cannot_be_repeated_is_said(old: RunFolder, tiny_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = worked(prepare(old, tmp_path / "new", tiny_home), monkeypatch)
    old.request(STOP)
    old.environment_path.unlink()
    said = " ".join(held_against(old, new).notes)
    assert "stopped by hand" in said and "before versions and machine were written down" in said


def test_the_hash_is_that_of_the_tensors_alone(old: RunFolder, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = load_file(old.adapter_path)
    save_file(dict(reversed(tensors.items())), tmp_path / "other.safetensors", {"time": "another"})
    assert tensors_hash(tmp_path / "other.safetensors") == tensors_hash(old.adapter_path) != ""
    name = next(iter(tensors))
    save_file({**tensors, name: tensors[name] + 1e-6}, tmp_path / "other.safetensors")
    assert tensors_hash(tmp_path / "other.safetensors") != tensors_hash(old.adapter_path)
    assert tensors_hash(tmp_path / "nothing") == ""


def test_the_command_trains_again_beside_the_old_run(
    old: RunFolder, tiny_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BLOCKLORA_HOME", str(tiny_home))
    assert main(["reproduce", str(old.path)]) == 0
    said = capsys.readouterr().out
    assert "The same, bit by bit" in said and str(old.path.parent / "old-again") in said
    assert read_json(old.path.parent / "old-again" / "spec.json")["created"] > old.spec()["created"]
    assert main(["reproduce", str(old.path / "nowhere")]) == 1
