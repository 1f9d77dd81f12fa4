"""Plots: one SVG for light and dark, in words too, without anything that reaches beyond it."""

from __future__ import annotations

import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from blocklora.ui import plots
from blocklora.ui.theme import TOKENS

POINTS = [{"shots": 2**i, "top1": 0.5 + 0.1 * i, "low": 0.4 + 0.1 * i, "high": 0.6 + 0.1 * i} for i in range(4)]
BINS = [{"n": 5, "confidence": 0.6, "right": 0.5}, {"n": 5, "confidence": 0.9, "right": 0.8}]


@pytest.mark.parametrize("svg", [plots.learning_curve(POINTS, 0.85), plots.learning_curve(POINTS, None), plots.reliability(BINS, BINS)])
def test_a_plot_is_in_the_themes_colours_and_touches_nothing_else(svg: str) -> None:
    ElementTree.fromstring(svg)
    assert "<style" not in svg and "<metadata" not in svg and ' id="figure' not in svg
    used = set(re.findall(r"var\(--s-([a-z0-9-]+), (#[0-9a-f]{6})\)", svg))
    assert used and all(TOKENS[name][0] == colour for name, colour in used)
    bare = set(re.findall(r"#[0-9a-f]{6}\b", re.sub(r"var\([^)]*\)|href=\"[^\"]*\"|url\([^)]*\)|id=\"[^\"]*\"", "", svg)))
    assert not bare  # a colour of matplotlib's own would stay the same in the dark


def test_a_plot_says_itself_in_words() -> None:
    words = re.search(r'aria-label="([^"]*)"', plots.learning_curve(POINTS, 0.85))
    assert words is not None and words[1].endswith("1: 50%, 2: 60%, 4: 70%, 8: 80%; expected with twice the images: 85%.")
    assert "60% sure: 50% right" in plots.reliability(BINS, BINS)


def test_plots_differ_in_their_ids() -> None:
    first, second = plots.learning_curve(POINTS, 0.85), plots.reliability(BINS, BINS)
    ids = [set(re.findall(r'id="([^"]+)"', svg)) for svg in (first, second)]
    assert not ids[0] & ids[1]


def test_the_window_starts_without_matplotlib() -> None:
    code = "import sys, blocklora.ui.shell, blocklora.ui.results_tab; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0
