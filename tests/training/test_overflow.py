"""Decoded pictures beyond what memory is to hold: the same pictures from a file that nobody has to clear away."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from blocklora.errors import TrainingError
from blocklora.preprocess import Preprocess
from blocklora.speeds import CACHE_BYTES, Footprint
from blocklora.training import overflow
from blocklora.training.image_cache import ImageCache
from blocklora.training.overflow import Overflow


def pictures(n: int) -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    return [draw.integers(0, 256, (10 + number, 12, 3), dtype=np.uint8) for number in range(n)]


def filled(folder: Path | None, limit: int, n: int = 6) -> ImageCache:
    cache = ImageCache(16, 0.3, folder, limit)
    for picture in pictures(n):
        cache.add(picture)
    return cache


def batch(cache: ImageCache) -> torch.Tensor:
    return cache.batch([5, 0, 3], torch.Generator().manual_seed(4), torch.device("cpu"))


@pytest.mark.parametrize("limit", [0, 3 * 11 * 12 * 3, 10**9])
def test_pictures_are_the_same_wherever_they_lie(tmp_path: Path, limit: int) -> None:
    cache, whole = filled(tmp_path, limit), filled(None, limit)
    assert torch.equal(batch(cache), batch(whole))
    preprocess = Preprocess(16, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    for mine, theirs in zip(cache.inputs(preprocess), whole.inputs(preprocess), strict=True):
        assert torch.equal(mine, theirs)


def test_memory_holds_no_more_than_the_limit(tmp_path: Path) -> None:
    limit = 2 * 11 * 12 * 3
    cache = filled(tmp_path, limit)
    held = [image for image in cache._images if isinstance(image, torch.Tensor)]
    assert 0 < sum(image.nbytes for image in held) <= limit and len(held) < 6
    assert all(isinstance(image, torch.Tensor) for image in filled(None, limit)._images)  # without a folder there is only memory


def test_parts_and_copies_share_the_file_and_grow_apart(tmp_path: Path) -> None:
    cache = filled(tmp_path, 0)
    early = batch(cache)  # the file is mapped before it grows
    more, some = cache.copy(), cache.only([5, 0, 3])
    more.add(pictures(1)[0])
    assert len(more) == 7 and len(cache) == 6 and len(some) == 3
    assert torch.equal(batch(more), early) and torch.equal(batch(cache), early)
    same = some.batch([0, 1, 2], torch.Generator().manual_seed(4), torch.device("cpu"))
    assert torch.equal(same, early)
    assert torch.equal(more._image(6), more._image(0))


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    cache = filled(tmp_path, 0)
    batch(cache)
    del cache
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def close(self) -> None: ...

        def seek(self, offset: int) -> None: ...

        def write(self, data: bytes) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(overflow.tempfile, "TemporaryFile", lambda **more: Full())
    with pytest.raises(TrainingError, match="No space left on device"):
        Overflow(tmp_path).add(np.zeros(3, dtype=np.uint8))


def test_the_memory_estimate_knows_the_limit() -> None:
    size = Footprint(100, 20, 3)
    assert size.bytes(1, 10, cached=10 * CACHE_BYTES) == size.bytes(1, 10, cached=CACHE_BYTES) > size.bytes(1, 10, cached=1000)
