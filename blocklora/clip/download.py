"""Fetching a known backbone from the Hugging Face hub into `<home>/backbones/<name>`: safetensors only, checked against its hash."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blocklora.clip.catalog import CONFIG_FILE, WEIGHTS_FILE, BackboneInfo
from blocklora.errors import BackboneError
from blocklora.files import publish, sha256_file

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True)
class DownloadProgress:
    """How far a download is: bytes of the file `file` that are `done`, of `total` (0 while that is not known)."""

    name: str
    file: str
    done: int
    total: int


def download(info: BackboneInfo, folder: Path, progress: Callable[[DownloadProgress], None] | None = None) -> None:
    """Fetch the files of `info` into `folder`; the configuration last, so that a folder that has it is complete.

    A broken-off download goes on where it stopped. The weights are held against the SHA-256 that the hub states.

    Raises:
        BackboneError: the hub cannot be reached, has no such file, or sent something else than it stated; names the file and
            where to put it by hand.
    """
    partial = folder.parent / f".{folder.name}.partial"
    names = [*_tokenizer_files(info), WEIGHTS_FILE, CONFIG_FILE]
    try:
        partial.mkdir(parents=True, exist_ok=True)
        for name in names:
            _fetch(info, name, partial, progress)
    except BackboneError:
        raise
    except Exception as error:  # what the hub's client lets through depends on its version and its HTTP library
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise BackboneError(
            f"{info.title} is not on this machine and could not be fetched from huggingface.co/{info.repository} ({reason[0][:160]}).",
            f"Connect to the internet and try again; or download {', '.join(names)} from there elsewhere and put them into {folder}.",
        ) from error
    for name in names:
        publish(partial / name, folder / name)
    shutil.rmtree(partial, ignore_errors=True)


def _tokenizer_files(info: BackboneInfo) -> tuple[str, ...]:
    return TOKENIZER_FILES if "SigLIP" in info.model else ()


def _fetch(info: BackboneInfo, name: str, partial: Path, progress: Callable[[DownloadProgress], None] | None) -> None:
    """One file into `partial`, checked where the hub states its hash (it does for large files)."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    stated = get_hf_file_metadata(hf_hub_url(info.repository, name))
    options: dict[str, Any] = {}
    if progress is not None and "tqdm_class" in inspect.signature(hf_hub_download).parameters:  # older clients have no such door
        options["tqdm_class"] = _bars(lambda done: progress(DownloadProgress(info.name, name, done, stated.size or 0)))
    path = Path(hf_hub_download(info.repository, name, revision=stated.commit_hash, local_dir=partial, **options))
    if stated.etag and len(stated.etag) == 64 and sha256_file(path) != stated.etag:
        path.unlink()
        raise BackboneError(f"{name} of {info.title} arrived damaged.", "Try again.")


def _bars(report: Callable[[int], None]) -> type[Any]:
    """A silent tqdm class that hands the bytes done to `report`, only ever upwards.

    The hub's client makes two bars for some files, one for what travelled and one for what was put together of it.
    """
    from tqdm import tqdm

    furthest = 0

    class Reporting(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            self.done = int(kwargs.get("initial") or 0)
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            nonlocal furthest
            self.done += int(n or 0)
            if self.done > furthest:
                furthest = self.done
                report(furthest)
            return None

    return Reporting
