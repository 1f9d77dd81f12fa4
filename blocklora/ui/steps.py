"""Long work with a count: done in a thread, told step by step, given up when the page goes away."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from typing import TypeVar

from blocklora.projects.plans import Progress

T = TypeVar("T")

QUIET_SECONDS = 0.5  # work that is done by then shows no progress at all
LOOK_SECONDS = 0.4


class GivenUp(Exception):
    """The page that waited for this work is gone."""


def follow(work: Callable[[Progress], T]) -> Generator[tuple[int, int], None, T]:
    """Run `work(progress)` and yield (done, total) now and then; its result is the generator's.

    Closing the generator makes the next call of `progress` raise, which stops the work where it allows that.
    """
    count = (0, 0)
    over = threading.Event()
    gone = threading.Event()
    results: list[T] = []
    problems: list[BaseException] = []

    def progress(done: int, total: int) -> None:
        nonlocal count
        count = (done, total)
        if gone.is_set():
            raise GivenUp

    def run() -> None:
        try:
            results.append(work(progress))
        except BaseException as error:
            problems.append(error)
        finally:
            over.set()

    threading.Thread(target=run, daemon=True).start()
    try:
        waited = over.wait(QUIET_SECONDS)
        while not waited:
            yield count
            waited = over.wait(LOOK_SECONDS)
    finally:
        gone.set()
    if problems:
        raise problems[0]
    return results[0]
