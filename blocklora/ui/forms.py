"""From what the page sends to what a service takes: acts read field by field, and handlers wired in one way.

A handler takes the act (what was pressed) and the values of its inputs keyed by component, and returns a dict of
component -> new value, with as few entries as changed. `wire` and `wire_act` put the same fence around each of them: a
`StudioError` is shown as it is, anything else is a bug and goes to the log with its traceback.
"""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from blocklora.errors import StudioError
from blocklora.ui import html

log = logging.getLogger("blocklora.ui")

Values = dict[Any, Any]
Handler = Callable[[Values], Any]
ActHandler = Callable[["Act", Values], Any]

TEXT_LIMIT = 4000
PAGE = "page"  # beside the components in a handler's values: which open page it answers


@dataclass(frozen=True)
class Act:
    """Something a person did in a piece of our HTML: its name and its fields as the page sent them (so: to be doubted)."""

    name: str
    data: Mapping[str, Any]

    @classmethod
    def of(cls, event: gr.EventData) -> Act:
        data = event._data if isinstance(event._data, dict) else {}
        return cls(str(data.get("act", ""))[:80], data)

    def text(self, field: str, default: str = "") -> str:
        """A field as text, cut at `TEXT_LIMIT` characters."""
        value = self.data.get(field, default)
        return str(value)[:TEXT_LIMIT] if isinstance(value, (str, int, float)) else default

    def number(self, field: str, default: int = 0) -> int:
        """A field as a whole number not below 0."""
        try:
            return max(0, int(self.data.get(field, default)))
        except (TypeError, ValueError):
            return default

    def inner(self, field: str) -> Act:
        """A field that holds fields of its own (the view that the person is in)."""
        value = self.data.get(field)
        return Act(self.name, value if isinstance(value, dict) else {})

    def texts(self, field: str, most: int = 20_000) -> list[str]:
        """A field as a list of texts."""
        values = self.data.get(field)
        return [str(value)[:TEXT_LIMIT] for value in values[:most]] if isinstance(values, list) else []


def notice(text: str, advice: str = "", tone: html.Tone = "", *, action: str = "") -> str:
    """A toast for `ctx.notice`. `action` is HTML of one button, as `html.button` makes it (Undo)."""
    more = f"<small>{html.escape(advice)}</small>" if advice else ""
    alert = "alert" if tone in ("danger", "warn") else "status"
    stamp = time.monotonic_ns()  # the same words twice are two toasts
    return f'<div class="toast {tone}" role="{alert}" data-stamp="{stamp}"><p>{html.escape(text)}{more}</p>{action}</div>'


def failure(error: BaseException) -> str:
    """The toast for an error: its own words where it was written for people, else where to find the traceback."""
    if isinstance(error, StudioError):
        return notice(error.message, error.advice, "danger")
    log.error("a handler failed", exc_info=error)
    return notice("Something went wrong inside the studio.", "The details are in logs/studio.log in the data folder.", "danger")


def fence(handler: Callable[..., Any], toast: gr.HTML, quiet: bool = False) -> Callable[..., Any]:
    """`handler` with a toast in place of what it raises; a generator stays one (each result is shown as it comes).

    An empty result means that nothing changed; Gradio wants that said in its own way. `quiet` is for what nobody asked for
    (ticks): a StudioError of it is not worth a toast every second.
    """

    def once(*given: Any) -> Any:
        try:
            return handler(*given) or gr.skip()
        except Exception as error:
            return gr.skip() if quiet and isinstance(error, StudioError) else {toast: failure(error)}

    def stepwise(*given: Any) -> Iterator[Any]:
        try:
            for values in handler(*given):
                yield values or gr.skip()
        except Exception as error:
            yield {toast: failure(error)}

    return stepwise if inspect.isgeneratorfunction(handler) else once


def wire(trigger: Any, handler: Handler, *, toast: gr.HTML, inputs: Iterable[Any] = (), outputs: Iterable[Any] = (), **options: Any) -> Any:
    """Let `handler(values)` answer `trigger` (a `.click`, `.change`, `.tick` ... of a component)."""
    safe = fence(handler, toast, quiet=getattr(trigger, "event_name", "") == "tick")

    def answer(values, request):  # type: ignore[no-untyped-def]
        return safe({**values, PAGE: request.session_hash})

    answer.__annotations__["request"] = gr.Request
    return trigger(answer, **_options(inputs, outputs, toast, options))


def wire_act(
    element: gr.HTML, handler: ActHandler, *, toast: gr.HTML, inputs: Iterable[Any] = (), outputs: Iterable[Any] = (), **options: Any
) -> Any:
    """Let `handler(act, values)` answer what people press in `element` (an HTML made by `stage`)."""
    safe = fence(handler, toast)

    def answer(values, event, request):  # type: ignore[no-untyped-def]
        return safe(Act.of(event), {**values, PAGE: request.session_hash})

    def answer_stepwise(values, event, request):  # type: ignore[no-untyped-def]
        yield from safe(Act.of(event), {**values, PAGE: request.session_hash})

    chosen = answer_stepwise if inspect.isgeneratorfunction(handler) else answer
    # Gradio reads the annotations to see who wants the event and the page; they must be the classes themselves, not their names.
    chosen.__annotations__.update(event=gr.EventData, request=gr.Request)
    return element.act(chosen, **_options(inputs, outputs, toast, options))


def _options(inputs: Iterable[Any], outputs: Iterable[Any], toast: gr.HTML, options: dict[str, Any]) -> dict[str, Any]:
    wanted = list(dict.fromkeys([*outputs, toast]))
    common: dict[str, Any] = {"inputs": set(inputs), "outputs": wanted, "api_visibility": "private", "show_progress": "hidden"}
    return common | {"concurrency_limit": 8} | options


def stage(room: str, *, elem_id: str | None = None, value: str = "", elem_classes: list[str] | None = None) -> gr.HTML:
    """An HTML component whose buttons (`data-act`) reach `wire_act`; `room` is its name in studio.js."""
    return gr.HTML(
        value,
        elem_id=elem_id or f"{room}-room",
        elem_classes=elem_classes,
        apply_default_css=False,
        js_on_load=f"studio.attach('{room}', element, (data) => trigger('act', data), watch, props)",
    )
