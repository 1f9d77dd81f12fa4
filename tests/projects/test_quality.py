"""Poor pictures: each kind is told from a sharp, well-lit one, and what is normal among the pictures is no mistake."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from blocklora.projects.quality import kind_of, measure, poor


def sharp(side: int = 220) -> Image.Image:
    """Shapes with hard edges on a light ground."""
    picture = Image.new("RGB", (side, side), (205, 200, 190))
    pen = ImageDraw.Draw(picture)
    for number in range(12):
        x, y = (number * 53) % side, (number * 97) % side
        pen.rectangle((x, y, x + side // 6, y + side // 5), fill=(20 * number, 90, 255 - 20 * number))
    return picture


def kind(picture: Image.Image) -> str:
    return kind_of(measure(np.asarray(picture)))


def test_a_good_picture_has_no_kind() -> None:
    assert kind(sharp()) == ""


@pytest.mark.parametrize(
    ("wanted", "picture"),
    [
        ("blurry", sharp().filter(ImageFilter.GaussianBlur(4))),
        ("blurry", sharp().filter(ImageFilter.BoxBlur((0, 9)))),  # moved while the shutter was open
        ("dark", ImageEnhance.Brightness(sharp()).enhance(0.2)),
        ("washed out", Image.eval(sharp(), lambda value: min(255, value * 2 + 110))),
        ("tiny", sharp().resize((60, 80))),
    ],
)
def test_each_kind_is_found(wanted: str, picture: Image.Image) -> None:
    assert kind(picture) == wanted


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (65, 9000), (64, 64)])
def test_odd_shapes_are_measured(size: tuple[int, int]) -> None:
    assert kind(Image.new("RGB", size, (120, 130, 140))) in ("", "tiny")


def test_a_plain_surface_is_not_called_blurry() -> None:
    assert kind(Image.new("RGB", (200, 200), (180, 180, 180))) == ""


def test_what_most_pictures_are_like_is_no_mistake() -> None:
    good, small = measure(np.asarray(sharp())), measure(np.zeros((40, 40, 3), np.uint8))
    assert poor([good] * 9 + [small, None]) == [""] * 9 + ["tiny", ""]
    assert poor([good, good, small, small]) == [""] * 4
