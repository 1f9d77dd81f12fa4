"""The colours can be read: contrast as WCAG 2.2 computes it, in both halves."""

from __future__ import annotations

import pytest

from blocklora.ui.theme import OUTWEIGH, TOKENS, stylesheet, tokens_css

TEXT = [
    *((ink, ground) for ink in ("ink", "ink-2", "ink-3") for ground in ("bg", "surface", "sunken")),
    *(("accent", ground) for ground in ("bg", "surface", "accent-soft")),
    *((f"{tone}", ground) for tone in ("danger", "warn") for ground in ("bg", "surface", f"{tone}-soft")),
    ("accent-strong", "accent-soft"),
    ("on-accent", "accent"),
    ("on-accent", "accent-strong"),
]


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_computed_right() -> None:
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize(("ink", "ground"), TEXT)
@pytest.mark.parametrize("half", [0, 1], ids=["light", "dark"])
def test_text_can_be_read(ink: str, ground: str, half: int) -> None:
    assert contrast(TOKENS[ink][half], TOKENS[ground][half]) >= 4.5


def test_rules_use_tokens_that_exist() -> None:
    import re

    used = set(re.findall(r"var\(--s-([\w-]+)", stylesheet().decode()))
    assert used <= {*TOKENS, "font", "mono"}
    assert "--s-accent:#0b6e5a" in tokens_css()


def test_braces_balance_and_animations_are_not_nested() -> None:
    css = stylesheet().decode()
    assert css.count("{") == css.count("}")
    outside = css.split(OUTWEIGH)[0]
    assert "@font-face" in outside
    for block in css.split(OUTWEIGH)[1:]:
        depth = 0
        for position, char in enumerate(block):
            if block.startswith("@keyframes", position):
                assert depth == 0
            depth += {"{": 1, "}": -1}.get(char, 0)
