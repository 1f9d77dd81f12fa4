"""Whose answer stays: a drawing that nobody pressed for must not take back what was pressed while it was on its way, and nothing of one
project may come into a page that has another one open by then.

Choosing a tab draws it, and the timer draws what moves. Both can take a second on a busy machine, and a press in that second is
answered first; the drawing, made of what was true before, would come after it. Some presses take much longer.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

MOST_PAGES = 200  # open windows that are remembered; beyond it the one that has been still for longest is forgotten


@dataclass
class Order:
    """Counts the drawings of each page, and remembers at which count a press has filled which component with which project, which project
    each page has open, and which of the wishes in the sidebar opened it."""

    count: int = 0
    pages: OrderedDict[str, dict[tuple[str, Any], int]] = field(default_factory=OrderedDict)
    projects: OrderedDict[str, str] = field(default_factory=OrderedDict)
    wishes: int = 0
    opened: OrderedDict[str, int] = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def wish(self) -> int:
        """Something is pressed in a sidebar; its number."""
        with self.lock:
            self.wishes += 1
            return self.wishes

    def opens(self, page: str, project: str, wish: int) -> bool:
        """A page opens a project, as that wish has it; False where a later one has opened a project since."""
        with self.lock:
            if self.opened.get(page, 0) > wish:
                return False
            _remember(self.opened, page, wish)
            _remember(self.projects, page, project)
            return True

    def open_in(self, page: str) -> str:
        """The project that a page has open; '' where it is not known (this server began after the page did)."""
        with self.lock:
            return self.projects.get(page, "")

    def begin(self) -> int:
        """A drawing begins; its place in the order."""
        with self.lock:
            self.count += 1
            return self.count

    def pressed(self, page: str, project: str, filled: Iterable[Any]) -> None:
        """A press in a page has been answered, into these components."""
        with self.lock:
            known = _remember(self.pages, page, self.pages.get(page, {}))
            known.update({(project, component): self.count for component in filled})

    def still_true(self, began: int, page: str, project: str, drawn: Mapping[Any, Any]) -> dict[Any, Any]:
        """A drawing of a page that began at that place, without the components that a press has filled since."""
        with self.lock:
            known = self.pages.get(page, {})
            return {component: value for component, value in drawn.items() if known.get((project, component), 0) < began}


def _remember(known: OrderedDict[str, T], page: str, value: T) -> T:
    """Put a page last, with its value, and forget the first ones of too many."""
    known[page] = value
    known.move_to_end(page)
    while len(known) > MOST_PAGES:
        known.popitem(last=False)
    return value
