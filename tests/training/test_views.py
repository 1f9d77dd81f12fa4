"""Kept views: the same picture for the same number, in memory or in a file, as many as fit."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch

from blocklora.clip.pixels import normalise
from blocklora.errors import TrainingError
from blocklora.preprocess import Preprocess
from blocklora.training import views
from blocklora.training.device import Compute
from blocklora.training.image_cache import ImageCache
from blocklora.training.sampling import PIXELS, generator_of
from blocklora.training.views import FILE, GROUP, MOST, Below, Views

SIZE, IMAGES = 16, GROUP + 5
PREPROCESS = Preprocess(SIZE, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
CPU = Compute(torch.device("cpu"), "fp32")


@pytest.fixture
def cache() -> ImageCache:
    made = ImageCache(SIZE, 0.3)
    draw = np.random.default_rng(0)
    for _ in range(IMAGES):
        made.add(draw.integers(0, 256, (20, 24, 3), dtype=np.uint8))
    return made


class Lower:
    """Stands in for the frozen layers: a few numbers of each image, and how often it was asked."""

    def __init__(self) -> None:
        self.groups: list[int] = []

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self.groups.append(len(images))
        return images.flatten(2).transpose(1, 2)[:, :4]  # (B, 4, 3)


def made(cache: ImageCache, lower: Lower, count: int = 3, folder: Path | None = None) -> Views:
    return Views(cache, Below(lower, PREPROCESS, CPU), 7, count, folder)


def test_a_view_is_what_the_frozen_layers_give_for_its_crop(cache: ImageCache) -> None:
    kept = made(cache, Lower())
    found = kept.batch([(1, 2), (1, GROUP + 3), (4, 2), (0, 2)])
    crops = cache.batch(range(GROUP), generator_of(7, PIXELS, 0 * MOST + 1), CPU.device)
    torch.testing.assert_close(found[0], Lower()(normalise(crops, PREPROCESS))[2], atol=2e-3, rtol=2e-3)
    assert torch.equal(found[0], found[2])  # seen for the fifth time: the second view again
    assert not torch.equal(found[0], found[3])


def test_every_group_is_computed_once(cache: ImageCache) -> None:
    lower = Lower()
    kept = made(cache, lower)
    assert lower.groups == [1]  # only to know the shape
    for seen in range(9):
        kept.batch([(seen, index) for index in range(IMAGES)])
    assert lower.groups == [1] + [GROUP, 5] * 3


def test_a_group_that_memory_does_not_hold_goes_in_pieces(cache: ImageCache) -> None:
    class Scarce(Lower):
        def __call__(self, images: torch.Tensor) -> torch.Tensor:
            if len(images) > 9:
                raise torch.OutOfMemoryError("pretend")
            return super().__call__(images)

    scarce = Scarce()
    pairs = [(view, index) for view in range(2) for index in range(IMAGES)]
    assert torch.equal(made(cache, scarce).batch(pairs), made(cache, Lower()).batch(pairs))
    assert scarce.groups == [1] + [8, 8, 8, 8, 5] * 2


def test_the_order_of_asking_changes_nothing(cache: ImageCache) -> None:
    first, second = made(cache, Lower()), made(cache, Lower())
    second.batch([(2, 30), (0, 1)])
    pairs = [(view, index) for view in range(3) for index in range(IMAGES)]
    assert torch.equal(first.batch(pairs), second.batch(pairs))


def test_what_memory_does_not_hold_goes_into_a_file_and_is_removed(
    cache: ImageCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = made(cache, Lower()).batch([(v, 0) for v in range(3)])
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    kept = made(cache, Lower(), folder=tmp_path)
    assert kept.count == 3 and (tmp_path / FILE).stat().st_size == 3 * IMAGES * 12 * 2
    assert torch.equal(kept.batch([(v, 0) for v in range(3)]), expected)
    kept.close()
    assert not (tmp_path / FILE).exists()


def test_fewer_views_where_there_is_little_room_and_a_reason_where_there_is_none(
    cache: ImageCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = IMAGES * 12 * 2
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=4 * one * 2))
    assert made(cache, Lower()).count == 2
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=0))
    monkeypatch.setattr(views.shutil, "disk_usage", lambda folder: SimpleNamespace(free=0))
    with pytest.raises(TrainingError, match="of memory or disk"):
        made(cache, Lower(), folder=tmp_path)


def test_more_images_behind_the_known_ones_cost_only_themselves_and_the_last_group(cache: ImageCache) -> None:
    lower = Lower()
    growing = Views(cache.only(range(GROUP + 2)), Below(lower, PREPROCESS, CPU), 7, 2, None, IMAGES)
    pairs = [(0, index) for index in range(GROUP + 2)]
    before = growing.batch(pairs)
    growing.grow(cache)
    growing.grow(cache)
    after = growing.batch([*pairs, (0, IMAGES - 1)])
    assert lower.groups == [1, GROUP, 2, 5]
    assert torch.equal(after[:GROUP], before[:GROUP])
    assert torch.equal(after, made(cache, Lower()).batch([*pairs, (0, IMAGES - 1)]))


def test_a_part_shows_the_same_views_under_its_own_numbers(cache: ImageCache) -> None:
    lower = Lower()
    whole = made(cache, lower)
    part = whole.part([GROUP + 1, 4, 7], 2)
    assert torch.equal(part.batch([(0, 0), (1, 2), (3, 1)]), whole.batch([(0, GROUP + 1), (1, 7), (1, 4)]))
    part.close()
    whole.batch([(0, 0)])
    assert lower.groups == [1, 5, GROUP, GROUP]
    assert whole.part([0], 99).count == whole.count == 3
