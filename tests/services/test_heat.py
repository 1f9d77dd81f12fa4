"""Heat maps as pictures and in words: colours that can be read without seeing hues, margins that are not looked at, honest words."""

from __future__ import annotations

import numpy as np
import pytest

from blocklora.services.heat import MARGIN, HeatMap, HeatMaps, Reason, blended, css_ramp, layer, percent, ramp, words

# Machado, Oliveira and Fernandes 2009: what is left of linear RGB without cones for red, green, blue light.
BLIND = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def map_of(
    heat: np.ndarray, height: int = 40, width: int = 40, box: tuple[int, int, int, int] | None = None, flat: bool = False
) -> HeatMap:
    reason = Reason("mug", 0.9, 0.2, heat.astype(np.float32), flat)
    return HeatMap((reason,), "mug", height, width, box or (0, 0, height, width), 49, 0.1)


def luminance(colours: np.ndarray, sight: list[list[float]] | None = None) -> np.ndarray:
    """Relative luminance (WCAG) of colours as a kind of eyes sees them."""
    coded = colours / 255
    linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    return (linear if sight is None else np.clip(linear @ np.array(sight).T, 0, 1)) @ np.array([0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("sight", [None, *BLIND])
def test_the_ramp_gets_lighter_at_every_step_for_all_eyes(sight: str | None) -> None:
    light = luminance(ramp(np.linspace(0, 1, 64)).astype(float), BLIND[sight] if sight else None)
    assert (np.diff(light) > 0).all() and light[0] < 0.02 and light[-1] > 0.7
    assert css_ramp(3).count("#") == 3


def test_the_map_keeps_the_pictures_proportions_and_its_margins_are_grey() -> None:
    found = map_of(np.eye(8), height=100, width=200, box=(0, 50, 100, 100))
    drawn = layer(found, found.reasons[0], long_side=100)
    assert drawn.shape == (50, 100, 3)
    assert (drawn[:, :24] == MARGIN).all() and (drawn[:, 76:] == MARGIN).all() and not (drawn[:, 30:70] == MARGIN).all(axis=-1).any()
    assert blended(np.zeros((100, 200, 3), np.uint8), found, found.reasons[0]).startswith(b"\x89PNG")


@pytest.mark.parametrize("size", [(1, 4000), (4000, 1), (3, 3)])
def test_odd_sizes_are_drawn(size: tuple[int, int]) -> None:
    side = min(size)
    found = map_of(np.ones((4, 4)), *size, box=((size[0] - side) // 2, (size[1] - side) // 2, side, side))
    assert layer(found, found.reasons[0]).ndim == 3


def test_words_do_not_promise_more_than_the_figures() -> None:
    assert "it goes from 90 % to 20 %" in words(Reason("mug", 0.9, 0.2, np.ones((2, 2)), False))
    assert "stays at over 99 %: no part decides alone" in words(Reason("mug", 0.9999, 0.995, np.ones((2, 2)), False))
    assert words(Reason("mug", 0.5, 0.5, np.zeros((2, 2)), True)).startswith("No part of the picture decides")
    assert [percent(share) for share in (0.0, 0.004, 0.5, 0.999, 1.0)] == ["under 1 %", "under 1 %", "50 %", "over 99 %", "over 99 %"]


def test_a_map_is_made_once() -> None:
    made: list[int] = []
    maps, found = HeatMaps(), map_of(np.ones((2, 2)))

    def make() -> HeatMap:
        made.append(1)
        return found

    assert maps.get("a", make) is maps.get("a", make) is found and len(made) == 1
    for number in range(40):
        maps.get(number, lambda: found)
    maps.get("a", make)
    assert len(made) == 2  # the oldest was forgotten
