"""Class folders or tar shards -> one uint8 array on disk, decoded once.

Both sources are read the same way: the folder that directly holds an image is its class id. Decoding takes longer
than a small network's forward pass, so it happens once and the array is memory-mapped from then on.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image

from blocklora.errors import TrainingError
from blocklora.files import publish
from blocklora.preprocess import central_square, to_rgb

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})


@dataclass(frozen=True)
class ImageArray:
    """Decoded images with the index of each one's class."""

    images: torch.Tensor
    """uint8 (N, 3, S, S), memory-mapped on the CPU."""
    labels: torch.Tensor
    """int64 (N,), positions in `ids`."""
    ids: tuple[str, ...]
    """Class ids in the order of the labels."""


def read_classes(path: Path) -> dict[str, list[str]]:
    """`classes.json`: class id -> its names, the most usual first. Raises TrainingError for any other shape."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"Cannot read the class names in {path}: {error}. Give a JSON file: id -> list of names.") from error
    if not isinstance(found, dict) or not found:
        raise TrainingError(f"{path} holds no classes. It must be a JSON object: id -> list of names.")
    for key, names in found.items():
        if not isinstance(names, list) or not names or not all(isinstance(n, str) and n.strip() for n in names):
            raise TrainingError(f"Class {key!r} in {path} has the names {names!r}. Give it a list of at least one name.")
    return found


def iterate_source(source: Path) -> Iterator[tuple[str, str, bytes]]:
    """Yield (class id, member name, file content) of every image in a tar file or a folder of class folders."""
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
                yield path.parent.name, str(path.relative_to(source)), path.read_bytes()
        return
    try:
        with tarfile.open(source) as tar:
            for member in tar:
                name = PurePosixPath(member.name)
                if not member.isfile() or name.suffix.lower() not in IMAGE_SUFFIXES or not name.parent.name:
                    continue
                stream = tar.extractfile(member)
                if stream is not None:
                    yield name.parent.name, member.name, stream.read()
    except (OSError, tarfile.TarError) as error:
        raise TrainingError(
            f"Cannot read {source}: {error}. Give a tar file with members <class id>/<image>, or a folder of class folders."
        ) from error


def decode(content: bytes, size: int) -> np.ndarray:
    """One image file -> uint8 (3, size, size): the central square, scaled."""
    with Image.open(io.BytesIO(content)) as image:
        pixels = to_rgb(image)
    if pixels.shape[:2] != (size, size):
        top, left, side = central_square(*pixels.shape[:2])
        square = Image.fromarray(pixels[top : top + side, left : left + side])
        pixels = np.asarray(square.resize((size, size), Image.Resampling.BICUBIC))
    return pixels.transpose(2, 0, 1)


def _fingerprint(sources: Sequence[Path], ids: Sequence[str], size: int) -> str:
    """Changes when a source file, the class list or the size does; content is not read for it."""
    described: list[object] = [size, list(ids)]
    for source in sources:
        files = sorted(p for p in source.rglob("*") if p.is_file()) if source.is_dir() else [source]
        described.extend([str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns] for p in files)
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]


def load_images(sources: Sequence[Path], ids: Sequence[str], size: int, cache: Path) -> ImageArray:
    """All images of `sources` whose class is in `ids`, decoded into `cache` at the first call.

    Raises:
        TrainingError: a source is missing, none of its images belongs to a class, or a file is no image.
    """
    for source in sources:
        if not source.exists():
            raise TrainingError(f"There is no {source}. Give tar shards or a folder of class folders.")
    stem = cache / f"images-{size}-{_fingerprint(sources, ids, size)}"
    pixels, labels = stem.with_suffix(".npy"), stem.with_suffix(".labels.npy")
    if not (pixels.exists() and labels.exists()):
        _decode_into(sources, ids, size, pixels, labels)
    # mode "c" (copy on write): torch wants a writable array, and the file must stay as it is
    images = torch.from_numpy(np.load(pixels, mmap_mode="c"))
    return ImageArray(images, torch.from_numpy(np.load(labels)), tuple(ids))


def _decode_into(sources: Sequence[Path], ids: Sequence[str], size: int, pixels: Path, labels: Path) -> None:
    pixels.parent.mkdir(parents=True, exist_ok=True)
    index = {class_id: position for position, class_id in enumerate(ids)}
    raw = pixels.with_suffix(f".{os.getpid()}.raw")
    found: list[int] = []
    strangers: set[str] = set()
    with raw.open("wb") as stream:  # streamed, so that the size of the data never has to fit in memory
        for source in sources:
            for class_id, name, content in iterate_source(source):
                if class_id not in index:
                    strangers.add(class_id)
                    continue
                try:
                    stream.write(decode(content, size).tobytes())
                except (OSError, Image.DecompressionBombError) as error:
                    raise TrainingError(f"{name} in {source} is no readable image: {error}. Remove or replace it.") from error
                found.append(index[class_id])
    if not found:
        raise TrainingError(
            f"No image in {', '.join(map(str, sources))} belongs to a class of the class file "
            f"(folders found: {', '.join(sorted(strangers)[:5]) or 'none'}). Folder names must be the ids of the class file."
        )
    array = np.memmap(raw, dtype=np.uint8, mode="r", shape=(len(found), 3, size, size))
    finished = pixels.with_suffix(f".{os.getpid()}.tmp")
    with finished.open("wb") as stream:
        np.lib.format.write_array(stream, array)
    labels_finished = labels.with_suffix(f".{os.getpid()}.tmp")
    with labels_finished.open("wb") as stream:
        np.save(stream, np.asarray(found, dtype=np.int64))
    publish(labels_finished, labels)
    publish(finished, pixels)
    del array  # Windows removes no file that is mapped
    raw.unlink()
