"""Fetching a known backbone from a hub on this machine that answers as the real one does, and breaks off as the real one does."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from hub_server import Hub, hub_of

from blocklora.clip import catalog
from blocklora.clip import download as downloading
from blocklora.clip.backbones import load_backbone
from blocklora.clip.catalog import WEIGHTS_FILE, BackboneInfo, is_present, known
from blocklora.clip.download import DownloadProgress, download, files_of, partial_folder
from blocklora.clip.fetch import fetch
from blocklora.clip.fetching import DONE, FAILED, RUNNING, Fetch, read_fetch, write_fetch
from blocklora.errors import BackboneError
from blocklora.files import sha256_file

B32 = known("ViT-B-32")
assert B32 is not None


@pytest.fixture
def hub(backbone_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The real client is pointed at this hub; the list knows the hash of what this hub has, not of 600 MB that nobody fetches."""
    with hub_of(backbone_folder) as made:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", made.address)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        template = huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", made.address + "/" + template.split("/", 3)[3])
        known_here = tuple(replace(info, sha256="") for info in catalog.KNOWN)
        monkeypatch.setattr(catalog, "KNOWN", known_here)
        monkeypatch.setattr(downloading.time, "sleep", lambda seconds: None)
        yield made


def here(name: str = "ViT-B-32") -> BackboneInfo:
    info = known(name)
    assert info is not None
    return info


def test_a_known_backbone_is_fetched_once(hub: Hub, tmp_path: Path) -> None:
    seen: list[DownloadProgress] = []
    first = load_backbone("ViT-B-32", tmp_path, seen.append)
    total = sum(len(hub.files[name]) for name in files_of(here()))
    assert all(0 <= a.done <= b.done <= b.total == total for a, b in itertools.pairwise(seen))
    assert seen[-1].done == total and {p.name for p in seen} == {"ViT-B-32"}
    assert any(0 < p.done < total for p in seen)
    assert sorted(path.name for path in (tmp_path / "backbones").iterdir() if not path.name.endswith(".lock")) == ["ViT-B-32"]
    asked = len(hub.asked)
    second = load_backbone("ViT-B-32", tmp_path)
    assert len(hub.asked) == asked
    assert first.weights_hash == second.weights_hash
    asked_hub = [path for _, path, _ in hub.asked if not path.startswith(("/cdn/", "/api/"))]
    assert asked_hub and all(path.startswith(f"/{B32.repository}/resolve/{B32.revision}/") for path in asked_hub)


def test_a_connection_that_breaks_goes_on_where_it_broke(hub: Hub, tmp_path: Path) -> None:
    size = len(hub.files[WEIGHTS_FILE])
    hub.breaks = [size // 3, size // 3]
    download(here(), tmp_path / "b")
    assert hub.fetched(WEIGHTS_FILE) == ["", f"bytes={size // 3}-", f"bytes={2 * (size // 3)}-"]
    assert (tmp_path / "b" / WEIGHTS_FILE).read_bytes() == hub.files[WEIGHTS_FILE]


def test_a_server_that_knows_no_ranges_sends_all_of_it_again(hub: Hub, tmp_path: Path) -> None:
    hub.breaks, hub.ranges = [5000], False
    download(here(), tmp_path / "b")
    assert (tmp_path / "b" / WEIGHTS_FILE).read_bytes() == hub.files[WEIGHTS_FILE]


def test_it_gives_up_where_nothing_comes_and_keeps_what_came(hub: Hub, tmp_path: Path) -> None:
    hub.breaks = [9000, 0, 0, 0, 0]
    with pytest.raises(BackboneError, match="could not be fetched") as caught:
        download(here(), tmp_path / "b")
    assert "what has arrived is kept" in caught.value.advice
    assert not is_present(tmp_path / "b")
    download(here(), tmp_path / "b")
    assert hub.fetched(WEIGHTS_FILE)[-1] == "bytes=9000-"


def test_a_server_that_never_gets_anywhere_is_given_up(hub: Hub, tmp_path: Path) -> None:
    """Neither more bytes than were stated nor a file that starts anew each time is progress."""
    hub.more = 5000
    with pytest.raises(BackboneError, match="longer than was stated"):
        download(here(), tmp_path / "grows")
    hub.more, hub.ranges, hub.breaks = 0, False, [40_000, 36_000, 39_000, 20_000, 38_000, 10_000, 30_000, 20_000]
    with pytest.raises(BackboneError, match="peer closed connection"):
        download(here(), tmp_path / "shrinks")
    assert len(hub.breaks) == 3  # one try that brought something, and four that did not


def test_a_file_that_is_not_whole_is_not_taken_for_whole(hub: Hub, tmp_path: Path) -> None:
    partial = partial_folder(tmp_path / "b")
    partial.mkdir()
    (partial / WEIGHTS_FILE).write_bytes(b"half")
    download(here(), tmp_path / "b")
    assert (tmp_path / "b" / WEIGHTS_FILE).read_bytes() == hub.files[WEIGHTS_FILE]


def test_a_disk_that_fills_up_is_not_called_a_network(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(downloading, "_append", full)
    with pytest.raises(BackboneError, match=r"cannot be written to .* No space left on device") as caught:
        download(here(), tmp_path / "b")
    assert "internet" not in caught.value.advice


def test_checking_is_told_while_the_hash_is_computed(hub: Hub, tmp_path: Path) -> None:
    seen: list[DownloadProgress] = []
    download(here(), tmp_path / "b", seen.append)
    (checking,) = [progress for progress in seen if progress.checking]
    assert checking.file == WEIGHTS_FILE and checking.done == len(hub.files[WEIGHTS_FILE])


def test_what_is_not_what_was_stated_is_refused_and_fetched_anew(hub: Hub, tmp_path: Path) -> None:
    good = hub.files[WEIGHTS_FILE]
    hub.stated_hash = "0" * 64
    with pytest.raises(BackboneError, match=r"open_clip_model\.safetensors of CLIP ViT-B/32 \(DataComp\) arrived damaged"):
        download(here(), tmp_path / "b")
    assert not (tmp_path / "b").exists()
    hub.stated_hash = ""
    download(here(), tmp_path / "b")
    assert hub.fetched(WEIGHTS_FILE) == ["", ""]
    assert (tmp_path / "b" / WEIGHTS_FILE).read_bytes() == good


def test_weights_that_this_program_does_not_know_are_not_even_fetched(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"another open_clip_model\.safetensors"):
        download(B32, tmp_path / "b")  # with the hash of the real ones
    assert not hub.fetched(WEIGHTS_FILE)


def test_a_full_disk_is_told_before_anything_is_fetched(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(BackboneError, match="The disk is too full"):
        download(here(), tmp_path / "b")
    assert not hub.fetched(WEIGHTS_FILE)


def test_tokenizer_files_come_along_where_they_are_needed(hub: Hub, tmp_path: Path) -> None:
    hub.files |= dict.fromkeys(("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"), b"{}")
    download(here("SigLIP2-B-32"), tmp_path / "siglip")
    assert (tmp_path / "siglip" / "tokenizer.json").is_file()


@pytest.mark.parametrize("status", [404, 503])
def test_a_hub_that_says_no_is_told_with_what_to_do_by_hand(hub: Hub, tmp_path: Path, status: int) -> None:
    hub.status = status
    with pytest.raises(BackboneError, match=r"could not be fetched from huggingface\.co/laion") as caught:
        download(here(), tmp_path / "backbones" / "ViT-B-32")
    assert "open_clip_model.safetensors" in caught.value.advice
    assert str(tmp_path / "backbones" / "ViT-B-32") in caught.value.advice


def test_without_a_network_it_says_which_file_and_where_to_put_it(tmp_path: Path) -> None:
    """The real library, in its offline mode."""
    with pytest.raises(BackboneError, match=r"huggingface\.co/laion/CLIP-ViT-B-32-DataComp\.XL-s13B-b90K") as caught:
        load_backbone("ViT-B-32", tmp_path)
    assert "open_clip_model.safetensors" in caught.value.advice
    assert str(tmp_path / "backbones" / "ViT-B-32") in caught.value.advice
    assert not (tmp_path / "backbones" / "ViT-B-32").exists()


# ---- the worker


def test_the_worker_says_how_far_it_is_and_how_it_ended(hub: Hub, tmp_path: Path) -> None:
    fetch(tmp_path, "ViT-B-32")
    state = read_fetch(tmp_path, "ViT-B-32")
    assert state is not None and state.state == DONE and state.done == state.total > 0
    hub.status = 503
    with pytest.raises(BackboneError):
        fetch(tmp_path, "ViT-B-16")
    state = read_fetch(tmp_path, "ViT-B-16")
    assert state is not None and state.state == FAILED and "could not be fetched" in state.message and "put them into" in state.advice


def test_a_failure_keeps_what_is_known_and_even_a_bug_is_told(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_fetch(tmp_path, Fetch("ViT-B-32", done=5, total=10))
    hub.status = 503
    with pytest.raises(BackboneError):
        fetch(tmp_path, "ViT-B-32")
    state = read_fetch(tmp_path, "ViT-B-32")
    assert state is not None and (state.done, state.total) == (5, 10)

    def broken(*args: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("blocklora.clip.fetch.download", broken)
    with pytest.raises(RuntimeError):
        fetch(tmp_path, "ViT-B-16")
    state = read_fetch(tmp_path, "ViT-B-16")
    assert state is not None and state.state == FAILED and "a bug" in state.message and "fetch.log" in state.advice


def test_a_killed_worker_leaves_what_came_and_the_next_goes_on(backbone_folder: Path, tmp_path: Path) -> None:
    """A real process, killed in the middle of a slow download."""
    program = (
        "import sys; from dataclasses import replace; from blocklora.clip import catalog, fetch\n"
        "catalog.KNOWN = tuple(replace(i, sha256='') for i in catalog.KNOWN); fetch.EVERY = 0.0\n"
        "fetch.fetch(__import__('pathlib').Path(sys.argv[1]), 'ViT-B-32')"
    )
    folder = tmp_path / "backbones" / "ViT-B-32"
    part = partial_folder(folder) / f"{WEIGHTS_FILE}.part"
    with hub_of(backbone_folder, delay=0.02) as hub:
        environment = {**os.environ, "HF_ENDPOINT": hub.address, "HF_HUB_OFFLINE": "0"}
        command = [sys.executable, "-c", program, str(tmp_path)]
        worker = subprocess.Popen(command, env=environment)
        deadline = time.monotonic() + 60
        while not (part.exists() and part.stat().st_size > 10_000):
            assert time.monotonic() < deadline and worker.poll() is None
            time.sleep(0.02)
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
        state = read_fetch(tmp_path, "ViT-B-32")
        assert state is not None and state.state == RUNNING and 0 < state.done < state.total
        assert not is_present(folder)
        arrived, hub.delay = part.stat().st_size, 0.0
        subprocess.run(command, env=environment, check=True)
        assert hub.fetched(WEIGHTS_FILE)[-1] == f"bytes={arrived}-"
    assert sha256_file(folder / WEIGHTS_FILE) == sha256_file(backbone_folder / WEIGHTS_FILE)
    assert not partial_folder(folder).exists()
