"""Fetching a known backbone, with a hub that lives in a folder."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from blocklora.clip.backbones import load_backbone
from blocklora.clip.catalog import known
from blocklora.clip.download import DownloadProgress, download
from blocklora.errors import BackboneError


@dataclass
class Stated:
    """What the hub says of a file before it is fetched."""

    size: int
    etag: str
    commit_hash: str = "c0ffee"


class FolderHub:
    """Stands in for the hub's three functions that are used; serves the files of a folder in two pieces."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        self.damage = False

    def url(self, repository: str, name: str) -> str:
        return f"{repository}/{name}"

    def metadata(self, url: str) -> Stated:
        data = (self.folder / url.rsplit("/", 1)[1]).read_bytes()
        return Stated(len(data), hashlib.sha256(data).hexdigest())

    def fetch(self, repository: str, name: str, revision: str, local_dir: Path, tqdm_class: Any = None) -> str:
        self.asked.append(f"{repository}@{revision}/{name}")
        data = (self.folder / name).read_bytes()
        if tqdm_class is not None:
            bar = tqdm_class(total=len(data), initial=0, desc=name, name="huggingface_hub.http_get")
            bar.update(len(data) // 2)
            bar.update(len(data) - len(data) // 2)
            bar.close()
            behind = tqdm_class(total=len(data), initial=0, desc=name)  # the second bar that the client makes for some files
            behind.update(len(data) // 3)
            behind.close()
        target = Path(local_dir) / name
        target.write_bytes(data[:-1] if self.damage else data)
        return str(target)


@pytest.fixture
def hub(backbone_folder: Path, monkeypatch: pytest.MonkeyPatch) -> FolderHub:
    made = FolderHub(backbone_folder)
    monkeypatch.setattr(huggingface_hub, "hf_hub_url", made.url)
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", made.metadata)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", made.fetch)
    return made


def test_a_known_backbone_is_fetched_once(hub: FolderHub, tmp_path: Path) -> None:
    seen: list[DownloadProgress] = []
    first = load_backbone("ViT-B-32", tmp_path, seen.append)
    assert hub.asked == [
        "laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K@c0ffee/open_clip_model.safetensors",
        "laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K@c0ffee/open_clip_config.json",
    ]
    size = (hub.folder / "open_clip_model.safetensors").stat().st_size
    weights = [(p.done, p.total) for p in seen if p.file == "open_clip_model.safetensors"]
    assert weights == [(size // 2, size), (size, size)]
    assert {p.name for p in seen} == {"ViT-B-32"}
    assert sorted(path.name for path in (tmp_path / "backbones").iterdir()) == ["ViT-B-32"]
    second = load_backbone("ViT-B-32", tmp_path)
    assert len(hub.asked) == 2
    assert first.weights_hash == second.weights_hash


def test_tokenizer_files_come_along_where_they_are_needed(hub: FolderHub, tmp_path: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (hub.folder / name).write_text("{}", encoding="utf-8")
    info = known("SigLIP2-B-32")
    assert info is not None
    download(info, tmp_path / "siglip")
    assert [name.rsplit("/", 1)[1] for name in hub.asked][-1] == "open_clip_config.json"
    assert (tmp_path / "siglip" / "tokenizer.json").is_file()


def test_a_file_that_is_not_what_the_hub_stated_is_refused(hub: FolderHub, tmp_path: Path) -> None:
    hub.damage = True
    with pytest.raises(BackboneError, match=r"open_clip_model\.safetensors of CLIP ViT-B/32 \(DataComp\) arrived damaged"):
        load_backbone("ViT-B-32", tmp_path)
    assert not (tmp_path / "backbones" / "ViT-B-32").exists()


def test_without_a_network_it_says_which_file_and_where_to_put_it(tmp_path: Path) -> None:
    """The real library, in its offline mode."""
    with pytest.raises(BackboneError, match=r"huggingface\.co/laion/CLIP-ViT-B-32-DataComp\.XL-s13B-b90K") as caught:
        load_backbone("ViT-B-32", tmp_path)
    assert "open_clip_model.safetensors" in caught.value.advice
    assert str(tmp_path / "backbones" / "ViT-B-32") in caught.value.advice
    assert not (tmp_path / "backbones" / "ViT-B-32").exists()


def test_an_error_of_the_http_library_is_told_the_same_way(hub: FolderHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class ConnectError(Exception):
        """As the HTTP library's own: not an OSError."""

    def fail(url: str) -> Stated:
        raise ConnectError("name or service not known")

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", fail)
    with pytest.raises(BackboneError, match=r"could not be fetched .*\(name or service not known\)"):
        load_backbone("ViT-B-32", tmp_path)


def test_a_missing_file_on_the_hub_is_told_the_same_way(hub: FolderHub, tmp_path: Path) -> None:
    (hub.folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(BackboneError, match="could not be fetched"):
        load_backbone("ViT-B-32", tmp_path)
