"""Handlers inside their fence: errors become toasts, nothing stays nothing."""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr
import pytest

from blocklora.errors import ImportRefused
from blocklora.ui.forms import fence
from blocklora.ui.steps import follow

TOAST = object()


def refused() -> dict[object, str]:
    raise ImportRefused("No zip.", "Choose a zip.")


def halfway() -> Iterator[dict[object, str]]:
    yield {"stage": "one"}
    yield {}
    raise ImportRefused("No zip.", "Choose a zip.")


def test_error_for_people_is_shown_with_its_advice() -> None:
    shown = fence(refused, TOAST)()[TOAST]  # type: ignore[arg-type]
    assert "No zip." in shown
    assert "Choose a zip." in shown
    assert 'role="alert"' in shown


def test_bug_is_logged_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    shown = fence(lambda: {}["secret"], TOAST)()[TOAST]  # type: ignore[arg-type]
    assert "secret" not in shown
    assert "KeyError" in caplog.text


def test_nothing_changed_is_a_skip() -> None:
    assert fence(dict, TOAST)() == gr.skip()  # type: ignore[arg-type]
    assert fence(lambda: None, TOAST)() == gr.skip()  # type: ignore[arg-type]


def test_ticks_keep_errors_for_people_to_themselves_but_not_bugs() -> None:
    assert fence(refused, TOAST, quiet=True)() == gr.skip()  # type: ignore[arg-type]
    assert "went wrong" in fence(lambda: {}["secret"], TOAST, quiet=True)()[TOAST]  # type: ignore[arg-type]


def test_generator_stays_one_and_its_error_is_the_last_step() -> None:
    steps = list(fence(halfway, TOAST)())  # type: ignore[arg-type]
    assert steps[:2] == [{"stage": "one"}, gr.skip()]
    assert "No zip." in steps[2][TOAST]


def finish(work: Iterator[tuple[int, int]]) -> object:
    while True:
        try:
            next(work)
        except StopIteration as stop:
            return stop.value


def test_follow_gives_the_result_and_the_error_of_the_work() -> None:
    assert finish(follow(lambda progress: 7)) == 7
    with pytest.raises(ImportRefused):
        finish(follow(lambda progress: refused()))


def test_work_is_given_up_when_nobody_waits() -> None:
    import threading

    started, stopped = threading.Event(), threading.Event()

    def endless(progress) -> None:  # type: ignore[no-untyped-def]
        done = 0
        try:
            while True:
                done += 1
                progress(done, 0)
                started.set()
        finally:
            stopped.set()

    work = follow(endless)
    assert next(work)[0] > 0
    work.close()
    assert stopped.wait(10)
