"""A drawing that nobody pressed for, and a press that is answered while it is on its way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import gradio as gr
import pytest

from blocklora.ui import forms
from blocklora.ui.downloads import Downloads
from blocklora.ui.order import MOST_PAGES, Order
from blocklora.ui.tab import Context


@dataclass(eq=False)
class Room:
    """A component as far as wiring goes: what was wired to it can be called as Gradio would."""

    answers: list[Any] = field(default_factory=list)

    def tick(self, handler: Any, **options: Any) -> None:
        self.answers.append(handler)

    act = tick


@dataclass
class Page:
    """A page with one room, drawn by the timer or a tab (`draw`) and by presses; each call names the window and its open project."""

    room: Room = field(default_factory=Room)
    notice: Room = field(default_factory=Room)
    project: Room = field(default_factory=Room)
    rail: Room = field(default_factory=Room)

    def __post_init__(self) -> None:
        self.during: Any = lambda: None
        studio: Any = SimpleNamespace(library=SimpleNamespace(list=list))
        self.ctx = Context(studio, Downloads(), *(cast(Any, room) for room in (self.project, self.rail, self.notice)), local=True)
        self.ctx.on(self.room.tick, self._drawn, outputs=[self.room])
        self.ctx.on_act(cast(Any, self.room), self._pressed, outputs=[self.room])
        self.ctx.on_act(cast(Any, self.room), self._stepwise, outputs=[self.room])

    def _meanwhile(self) -> None:
        """What a test wants to happen while a handler works, once."""
        during, self.during = self.during, lambda: None
        during()

    def _drawn(self, values: Any) -> dict[Any, Any]:
        self._meanwhile()
        return {self.room: "as it was", self.notice: "told", self.project: "other"}

    def _pressed(self, act: Any, values: Any) -> dict[Any, Any]:
        self._meanwhile()
        return {self.room: "as pressed", self.notice: "done", self.rail: "with p open"}

    def _stepwise(self, act: Any, values: Any) -> Iterator[dict[Any, Any]]:
        yield {self.notice: "wait"}
        self._meanwhile()
        yield {self.room: "as pressed"}

    def draw(self, window: str = "w", project: str = "p") -> Any:
        return self.room.answers[0]({self.project: project}, SimpleNamespace(session_hash=window))

    def press(self, window: str = "w", project: str = "p", stepwise: bool = False) -> Any:
        event, request = SimpleNamespace(_data={"act": "go"}), SimpleNamespace(session_hash=window)
        answer = self.room.answers[2 if stepwise else 1]({self.project: project}, event, request)
        return list(answer) if stepwise else answer


@pytest.mark.parametrize("stepwise", [False, True])
def test_a_late_drawing_leaves_what_a_press_has_filled(stepwise: bool) -> None:
    page = Page()
    page.during = lambda: page.press(stepwise=stepwise)
    assert page.draw() == {page.notice: "told", page.project: "other"}
    assert page.draw()[page.room] == "as it was"  # begun after the press, so it knows of it


@pytest.mark.parametrize("elsewhere", [{"window": "another"}, {"project": "another"}])
def test_a_press_elsewhere_takes_nothing_away(elsewhere: dict[str, str]) -> None:
    page = Page()
    page.during = lambda: page.press(**elsewhere)
    assert page.draw()[page.room] == "as it was"


def test_what_was_on_its_way_when_another_project_was_opened_stays_out_of_its_rooms() -> None:
    page = Page()
    here: dict[Any, Any] = {forms.PAGE: "w"}
    page.ctx.opens(here, "p")
    assert page.press() == {page.room: "as pressed", page.notice: "done", page.rail: "with p open"}
    page.during = lambda: page.ctx.opens(here, "q")
    told = page.press()
    assert set(told) == {page.notice, page.rail} and 'data-current="q"' in told[page.rail]
    page.ctx.opens(here, "p")
    page.during = lambda: page.ctx.opens(here, "q")
    assert page.press(stepwise=True) == [{page.notice: "wait"}, gr.skip()]
    page.ctx.opens(here, "p")
    page.during = lambda: page.ctx.opens(here, "q")
    assert page.draw() == {page.notice: "told"}
    page.during = lambda: page.ctx.opens({forms.PAGE: "another"}, "q")  # that page's own affair
    page.ctx.opens(here, "p")
    assert page.press()[page.room] == "as pressed"


def test_windows_that_were_still_for_longest_are_forgotten() -> None:
    order = Order()
    began = order.begin()
    for number in range(MOST_PAGES + 1):
        order.pressed(f"w{number}", "p", ["room"])
    assert len(order.pages) == MOST_PAGES
    assert order.still_true(began, "w0", "p", {"room": 1}) == {"room": 1}
    assert order.still_true(began, f"w{MOST_PAGES}", "p", {"room": 1}) == {}
