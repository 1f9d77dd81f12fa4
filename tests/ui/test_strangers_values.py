"""What a stranger's project may hold in the place of a number: no room of the window takes it for markup."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tab_parts import Bench, finish, new_run, publish

from blocklora.files import read_json, write_json
from blocklora.ui.export_tab import ExportTab
from blocklora.ui.predict_tab import PredictTab
from blocklora.ui.results_tab import ResultsTab
from blocklora.ui.train_tab import TrainTab

EVIL = '<img src=x onerror="alert(1)">'
Way = tuple[str | int, ...]


def leaves(value: Any, way: Way = ()) -> Iterator[Way]:
    """The ways to all values; of a list only to its first."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*way, key))
    elif isinstance(value, list) and value:
        yield from leaves(value[0], (*way, 0))
    else:
        yield way


def changed(values: Any, way: Way) -> Any:
    made = copy.deepcopy(values)
    place = made
    for key in way[:-1]:
        place = place[key]
    place[way[-1]] = EVIL
    return made


def drawn(bench: Bench) -> str:
    """All rooms, as far as they can be drawn at all: a refusal is as good as an escape."""
    rooms: Any = [f"room-{number}" for number in range(3)]
    tabs = (ResultsTab(bench.ctx, rooms[0]), TrainTab(bench.ctx, *rooms), ExportTab(bench.ctx, rooms[0]), PredictTab(bench.ctx, *rooms))
    found = []
    for tab in tabs:
        try:
            found.append(json.dumps(list(map(str, tab.show(bench.project).values()))))
        except Exception as error:  # the page says that something went wrong, and escapes it
            found.append(type(error).__name__)
    return "".join(found)


@pytest.mark.parametrize("name", ["result.json", "spec.json", "export/export.json"])
def test_no_value_of_a_strangers_run_becomes_markup(bench: Bench, name: str) -> None:
    other, run = (new_run(bench, f"2026010{number}-000000-quick") for number in (1, 2))
    for one in (other, run):
        result = finish(one, bench, offered=True)
        section = result["held_out"]
        more = {
            "cross_validated": {**section, "folds": 5},
            "others": {"n": 4, "correct": 3},
            "preview": {"n": 20, "correct": 15, "top1": 0.75},
        }
        points = [{"shots": s, "top1": t, "low": t, "high": t} for s, t in ((1, 0.4), (2, 0.55), (4, 0.66), (8, 0.75))]
        rows = [{"n": 10, "confidence": 0.7, "right": 0.7}]
        more |= {"learning_curve": {"points": points, "twice": 0.8}, "temperature": 1.5}
        more |= {"calibration": {"n": 20, "before": rows, "after": rows, "ece_before": 0.2, "ece_after": 0.02}}
        write_json(one.result_path, {**result, **more})
        publish(one)
    assert "<table" in drawn(bench), "this shows nothing: no table was drawn"
    for one in (run, other):  # the one that is shown, and one in the list
        path = Path(one.path) / name
        values = read_json(path)
        for way in leaves(values):
            write_json(path, changed(values, way))
            shown = drawn(bench)
            assert "<img src=x" not in shown, f"{name}: {way}"
        write_json(path, values)
