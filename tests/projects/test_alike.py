"""Pictures that look alike: straight, mirrored and cropped copies, and none that only resemble each other a little."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from blocklora.projects.alike import alike_groups, alike_pairs
from blocklora.projects.near import perceptual_hash


def scene(seed: int) -> Image.Image:
    """A smooth random picture, as photographs are."""
    small = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((240, 180), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(
    "copy", [ImageOps.mirror, lambda picture: picture.crop((12, 9, 228, 171)), lambda picture: picture.resize((96, 72))]
)
def test_copies_are_alike_where_the_model_says_so_too(copy) -> None:  # type: ignore[no-untyped-def]
    pictures = [scene(1), scene(2), copy(scene(1))]
    hashes = [perceptual_hash(picture) for picture in pictures]
    assert alike_groups(hashes, np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])) == [[0, 2]]


def test_a_mirrored_copy_needs_the_model() -> None:
    hashes = [perceptual_hash(scene(3)), perceptual_hash(ImageOps.mirror(scene(3)))]
    assert alike_pairs(hashes, np.array([[1.0, 0.0], [0.0, 1.0]])) == []


def test_the_model_alone_makes_no_copies() -> None:
    hashes = [perceptual_hash(scene(seed)) for seed in range(12)]
    assert alike_pairs(hashes, np.ones((12, 1))) == []


def test_groups_are_chains() -> None:
    hashes = ["0" * 16, "0" * 15 + "7", "0" * 14 + "3f", "f" * 16]
    assert alike_groups(hashes, np.eye(4)) == [[0, 1, 2]]
