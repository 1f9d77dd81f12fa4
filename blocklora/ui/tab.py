"""What a tab is to the shell, and what the shell gives to a tab."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import gradio as gr

from blocklora.errors import ProjectError
from blocklora.ui import forms, html
from blocklora.ui.downloads import Downloads
from blocklora.ui.order import Order
from blocklora.ui.rail_view import draw as draw_rail

if TYPE_CHECKING:
    from blocklora.projects.project import Project
    from blocklora.services.studio import Studio

NO_PROJECT = "-"  # the open project's id while there is none; not "", so that the first answer is always a change
DRAWN = "="  # in the id's place where a tab is up to date and wants no drawing


@dataclass(frozen=True)
class Context:
    """What every tab works with.

    `project` holds the open project's id in the browser itself, so it survives a restart of this server; handlers take
    it as an input and turn it into a project by `open_project`. `notice` shows toasts, `rail` is the sidebar's list (an output where
    counts of projects change). `local` says that only this machine can reach the window, so paths that are typed are the person's own.
    """

    studio: Studio
    downloads: Downloads
    project: gr.Textbox
    rail: gr.HTML
    notice: gr.HTML
    local: bool
    order: Order = field(default_factory=Order)

    def open_project(self, values: dict[Any, Any]) -> Project:
        """The open project.

        Raises:
            ProjectError: none is open, or it is gone.
        """
        project = self.maybe_project(values.get(self.project))
        if project is None:
            raise ProjectError("No project is open.", "Create one or choose one on the left.")
        return project

    def maybe_project(self, project_id: object) -> Project | None:
        """The project of that id, or None where no project is open."""
        if not isinstance(project_id, str) or project_id in ("", NO_PROJECT):
            return None
        return self.studio.library.open(project_id)

    def on(self, trigger: Any, handler: forms.Handler, *, inputs: Iterable[Any] = (), outputs: Iterable[Any] = (), **options: Any) -> Any:
        """`forms.wire` with the open project among the inputs and toasts among the outputs.

        It is for what nobody pressed for: a press that is answered while the handler works keeps what it filled.
        """

        def behind(values: forms.Values) -> Any:
            began = self.order.begin()
            return self._here(values, self.order.still_true(began, *self._where(values), handler(values)))

        return forms.wire(trigger, behind, toast=self.notice, inputs=[*inputs, self.project], outputs=outputs, **options)

    def on_act(
        self, element: gr.HTML, handler: forms.ActHandler, *, inputs: Iterable[Any] = (), outputs: Iterable[Any] = (), **options: Any
    ) -> Any:
        """`forms.wire_act` with the open project among the inputs and toasts among the outputs."""

        def noted(act: forms.Act, values: forms.Values) -> Any:
            drawn = handler(act, values)
            self._filled(values, drawn)
            return self._here(values, drawn)

        def noted_stepwise(act: forms.Act, values: forms.Values) -> Any:
            for drawn in handler(act, values):
                self._filled(values, drawn)
                yield self._here(values, drawn)

        chosen = noted_stepwise if inspect.isgeneratorfunction(handler) else noted
        return forms.wire_act(element, chosen, toast=self.notice, inputs=[*inputs, self.project], outputs=outputs, **options)

    def draw_rail(self, project_id: str) -> str:
        """The sidebar's list with that project open."""
        return draw_rail(self.studio.library.list(), project_id)

    def opens(self, values: forms.Values, project_id: str, wish: int | None = None) -> bool:
        """The page that these values are of has this project open from now on, as that wish has it (see `Order.wish`), by default a new
        one; False where a later wish has opened a project there since.
        """
        return self.order.opens(self._where(values)[0], project_id, self.order.wish() if wish is None else wish)

    def now_open(self, values: forms.Values) -> str:
        """The project that the page of these values has open by now; theirs, where nobody opened another one since."""
        page, project_id = self._where(values)
        return self.order.open_in(page) or project_id

    def _here(self, values: forms.Values, drawn: forms.Values | None) -> forms.Values | None:
        """What an answer may still fill. Where another project was opened while it was on its way, its rooms are that one's by now: what
        is left are toasts, and the sidebar with the counts anew.
        """
        project_id, now = self._where(values)[1], self.now_open(values)
        if not drawn or project_id == now:
            return drawn
        left = {component: value for component, value in drawn.items() if component is self.notice}
        return left | ({self.rail: self.draw_rail(now)} if self.rail in drawn else {})

    def _filled(self, values: forms.Values, drawn: forms.Values | None) -> None:
        """A press has been answered. Toasts are not counted: each is shown, whatever came before."""
        self.order.pressed(*self._where(values), [component for component in drawn or () if component is not self.notice])

    def _where(self, values: forms.Values) -> tuple[str, str]:
        """The page and the project of a handler's values."""
        return str(values.get(forms.PAGE)), str(values.get(self.project))


@dataclass(frozen=True)
class Refresh:
    """How a tab is brought up to date.

    `show(project)` gives new values for `outputs`; the project is None while none is open. `tick(values)` gives what has moved by
    itself, in the components `moves`, from the values of `reads`; all tabs share one event for it, since each would cost a request.
    """

    show: Callable[[Project | None], dict[Any, Any]]
    outputs: list[Any]
    tick: Callable[[dict[Any, Any]], dict[Any, Any]] | None = None
    moves: tuple[Any, ...] = ()
    reads: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Tab:
    """A tab of the window: `build(ctx)` runs inside its `gr.Tab` and returns how it is refreshed."""

    key: str
    title: str
    build: Callable[[Context], Refresh]


def needs_project(what: str, icon_name: str = "folder-plus") -> str:
    """What a tab shows while no project is open."""
    return html.empty_state(
        "No project is open",
        what,
        html.local_button("New project", "new-project", kind="primary", icon_name="plus"),
        icon_name,
    )


def refresher(ctx: Context, refresh: Refresh) -> Callable[[dict[Any, Any]], dict[Any, Any]]:
    """The handler that brings a tab up to date with the open project."""

    def handler(show: Callable[[Project | None], dict[Any, Any]], values: dict[Any, Any]) -> dict[Any, Any]:
        project_id = values.get(ctx.project)
        return {} if project_id == DRAWN else show(ctx.maybe_project(project_id))

    return partial(handler, refresh.show)
