"""Pictures that look alike: straight, mirrored and cropped copies, and none that only resemble each other a little."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from blocklora.projects.alike import alike_groups
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
    assert alike_groups(hashes, np.array([[1.0, 0.0], [0.0, 1.0]])) == []


def test_the_model_alone_makes_no_copies() -> None:
    hashes = [perceptual_hash(scene(seed)) for seed in range(12)]
    assert alike_groups(hashes, np.ones((12, 1))) == []


def test_groups_are_chains() -> None:
    hashes = ["0" * 16, "0" * 15 + "7", "0" * 14 + "3f", "f" * 16]
    assert alike_groups(hashes, np.eye(4)) == [[0, 1, 2]]


def test_frames_of_a_film_are_one_group() -> None:
    rng = np.random.default_rng(0)
    frames = [f"{1 << int(bit):016x}" for bit in rng.integers(0, 64, 400)]  # two bits apart at most
    others = [f"{value:016x}" for value in rng.integers(0, 2**63, 3, dtype=np.uint64)]
    hashes = [others[0], *frames[:200], others[1], *frames[200:], others[2]]
    (group,) = alike_groups(hashes, np.eye(len(hashes)))
    assert group == [i for i in range(len(hashes)) if i not in (0, 201, len(hashes) - 1)]


def test_groups_are_those_of_all_pairs() -> None:
    """Held against every pair, one after the other."""
    rng = np.random.default_rng(1)
    centres = rng.integers(0, 2**63, 12, dtype=np.uint64)
    bits = [int(centres[i % 12]) ^ sum(1 << int(b) for b in set(rng.integers(0, 64, 5))) for i in range(90)]
    values = rng.normal(size=(90, 4))
    values /= np.linalg.norm(values, axis=1, keepdims=True)

    def alike(i: int, j: int) -> bool:
        differing = bits[i] ^ bits[j]
        straight, mirrored = differing.bit_count(), (differing ^ 0x5555555555555555).bit_count()
        return straight <= 6 or (min(straight, mirrored) <= 16 and float(values[i] @ values[j]) >= 0.92)

    expected: list[set[int]] = [{i} for i in range(90)]
    for i in range(90):
        for j in range(i):
            if alike(i, j):
                one, other = (next(group for group in expected if k in group) for k in (i, j))
                if one is not other:
                    expected.remove(other)
                    one |= other
    found = alike_groups([f"{value:016x}" for value in bits], values)
    assert found == sorted(sorted(group) for group in expected if len(group) > 1)
    assert 5 < len(found) < 40, "this shows nothing: all alike, or none"
