"""The Images tab: classes and their pictures. What is shown is drawn by class_cards, gallery and imports; here is what a press does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from blocklora.errors import ProjectError
from blocklora.projects import intake
from blocklora.ui import check_panel, class_cards, forms, gallery, html, imports
from blocklora.ui.class_cards import Cards
from blocklora.ui.forms import Act, notice
from blocklora.ui.gallery import Gallery
from blocklora.ui.imports import Pending, Plans
from blocklora.ui.rail_view import welcome
from blocklora.ui.steps import follow
from blocklora.ui.tab import Context, Refresh, Tab
from blocklora.ui.uploads import forget

if TYPE_CHECKING:
    from blocklora.projects.project import Project

DIRECT = 24  # so many dropped files or fewer go in at once when all of them can; more are shown first
INTAKES = ("add-files", "import-zip", "import-folder", "import-csv", "import-tree")

Drawn = tuple[str, str]  # the new page of the tab, and a toast or ""


class ImagesTab:
    """The handlers of the tab. Where the person is (page, class, preview) travels with each act, so nothing is kept here but previews."""

    def __init__(self, ctx: Context, stage: Any, local_mode: bool) -> None:
        self.ctx, self.stage, self.local_mode = ctx, stage, local_mode
        self.plans = Plans()
        self.steps: dict[str, Callable[[Project, Act], Drawn]] = {
            "cards": lambda project, act: (class_cards.draw(project, Cards(act.number("page"), "")), ""),
            "find": lambda project, act: (class_cards.draw(project, Cards(0, act.text("value"))), ""),
            "gallery": lambda project, act: (gallery.draw(project, Gallery(act.text("class"), act.number("page"), act.text("part"))), ""),
            "add-class": self._add_class,
            "rename": self._rename,
            "place": self._place,
            "delete-class": self._delete_class,
            "move": self._move,
            "part": self._part,
            "delete": self._delete,
            "undo": self._undo,
            "accept": self._accept,
            "discard": self._discard,
        }

    # ---- showing

    def show(self, project: Project | None) -> dict[Any, Any]:
        """The tab as it first opens: an import that waits for its answer, else the classes."""
        if project is None:
            return {self.stage: welcome()}
        waits = self.plans.latest(project)
        return {self.stage: class_cards.draw(project, Cards()) if waits is None else imports.draw(*waits)}

    def redraw(self, project: Project, act: Act) -> str:
        """The view that the person is in, drawn again; the cards where it is gone (its class was deleted)."""
        view = act.inner("view")
        if view.text("at") == "gallery":
            drawn = gallery.draw(project, Gallery(view.text("class"), view.number("page"), view.text("part")))
            if drawn:
                return drawn
        if view.text("at") == "plan" and (waits := self.plans.look(view.text("token"), project)) is not None:
            return imports.draw(view.text("token"), waits)
        return class_cards.draw(project, Cards(view.number("page"), view.text("find")))

    # ---- what a press does

    def answer(self, act: Act, values: dict[Any, Any]) -> Iterator[dict[Any, Any]]:
        """One press in the tab: what it does, then the tab and the sidebar's counts anew."""
        project = self.ctx.open_project(values)
        if act.name in INTAKES:
            yield from self._intake(project, act)
            return
        if act.name not in self.steps:
            raise ValueError(f"the Images tab knows no act {act.name!r}")
        page, toast = self.steps[act.name](project, act)
        yield self._out(project, page, toast)

    def _out(self, project: Project, page: str, toast: str = "") -> dict[Any, Any]:
        return {self.stage: page, self.ctx.rail: self.ctx.draw_rail(project.id)} | ({self.ctx.notice: toast} if toast else {})

    def _add_class(self, project: Project, act: Act) -> Drawn:
        project.add_class(act.text("name"))
        last = (len(project.classes()) - 1) // class_cards.CARDS
        return class_cards.draw(project, Cards(last)), ""

    def _rename(self, project: Project, act: Act) -> Drawn:
        project.rename_class(act.text("id"), act.text("value"))
        return self.redraw(project, act), ""

    def _place(self, project: Project, act: Act) -> Drawn:
        """Put a class before another one (`before`), or last where that is empty."""
        moved, before = act.text("id"), act.text("before")
        order = [info.id for info in project.classes() if info.id != moved]
        order.insert(order.index(before) if before in order else len(order), moved)
        project.reorder_classes(order)
        return self.redraw(project, act), ""

    def _delete_class(self, project: Project, act: Act) -> Drawn:
        token = project.delete_class(act.text("id"))
        return self.redraw(project, act), self._done(project, token)

    def _move(self, project: Project, act: Act) -> Drawn:
        target = act.text("to") or project.add_class(act.text("create"))
        return self._after(project, act, project.move_images(act.texts("ids"), target))

    def _part(self, project: Project, act: Act) -> Drawn:
        """Pictures to those to test with, or back to those to learn from."""
        return self._after(project, act, project.move_part(act.texts("ids"), imports.part_of(act)))

    def _delete(self, project: Project, act: Act) -> Drawn:
        return self._after(project, act, project.delete_images(act.texts("ids")))

    def _after(self, project: Project, act: Act, token: str) -> Drawn:
        return self.redraw(project, act), self._done(project, token)

    def _done(self, project: Project, token: str) -> str:
        """A toast that tells what was done, as the project remembers it, and takes it back."""
        words = next((entry.words for entry in project.undoable() if entry.token == token), "Done.")
        return notice(words, action=html.button("Undo", "undo", kind="quiet", data_to="images", data_token=token, data_project=project.id))

    def _undo(self, project: Project, act: Act) -> Drawn:
        if act.text("project") != project.id:
            raise ProjectError("That step was in another project.", "Open that project to undo it.")
        done = project.undo(act.text("token"))
        return self.redraw(project, act), notice(done.words)

    # ---- intake

    def _intake(self, project: Project, act: Act) -> Iterator[dict[Any, Any]]:
        """Plan what came in. A few files that can all be added are; anything else is shown first."""
        make, uploads = imports.planner(project, act, self.local_mode)
        work, waited = follow(make), False
        try:
            while True:
                try:
                    done, total = next(work)
                except StopIteration as stop:
                    pending = Pending(project.id, stop.value, uploads)
                    break
                waited = True
                yield {self.stage: waiting("Looking at the pictures", done, total)}
        except BaseException as error:  # refused, or the page was closed
            work.close()
            forget(uploads)
            if waited and isinstance(error, Exception):  # nobody waits for it any more
                yield {self.stage: self.redraw(project, act)}
            raise
        plan = pending.plan
        worth_a_look = any(skipped.kind != "hidden" for skipped in plan.skipped) or not plan.n_images or bool(plan.leaks)
        if act.name == "add-files" and not worth_a_look and plan.n_images <= DIRECT:
            yield self._out(project, *self._take_in(project, act, pending))
        else:
            yield {self.stage: imports.draw(self.plans.keep(pending), pending)}

    def _take_in(self, project: Project, act: Act, pending: Pending) -> Drawn:
        try:
            as_others = pending.plan.like_something_else if act.text("others") else ()
            result = intake.accept(project, pending.plan, as_others=as_others)
        finally:
            pending.close()
        return self.redraw(project, act), notice(imports.words(result, len(pending.plan.skipped)), tone="accent")

    def _accept(self, project: Project, act: Act) -> Drawn:
        pending = self.plans.take(act.text("token"), project)
        return _no_longer(project) if pending is None else self._take_in(project, act, pending)

    def _discard(self, project: Project, act: Act) -> Drawn:
        pending = self.plans.take(act.text("token"), project)
        if pending is None:
            return _no_longer(project)
        pending.close()
        return self.redraw(project, act), ""


def _no_longer(project: Project) -> Drawn:
    """What is there now, where a preview is shown that waits no longer: nothing could be pressed in it."""
    words = "It was answered in another window, or is no longer kept. If pictures are missing, import them again."
    return class_cards.draw(project, Cards()), notice("This import waits no longer.", words, "warn")


def waiting(words: str, done: int, total: int) -> str:
    """Long work under way, with how far it is."""
    share = 100 * done / total if total else 0
    count = f"{done:,} of {total:,}" if total else "Starting"
    return (
        f'<div class="images busy" role="status"><div class="waiting"><h2>{html.escape(words)}</h2>'
        f'<div class="track"><span class="fill" style="width:{share:.1f}%"></span></div><p>{count}</p></div></div>'
    )


def build(ctx: Context) -> Refresh:
    """The tab's component, the data check above it, and their events."""
    check, stage = forms.stage("check"), forms.stage("images")
    tab = ImagesTab(ctx, stage, ctx.local)
    ctx.on_act(stage, tab.answer, outputs=[stage, ctx.rail], trigger_mode="multiple")
    panel = check_panel.build(ctx, check, stage, tab.redraw)

    def show(project: Project | None) -> dict[Any, Any]:
        return tab.show(project) | panel.show(project)

    return Refresh(show, [stage, check], panel.tick, moves=(check,), reads=(check,))


TAB = Tab("images", "Images", build)
