"""Imports from the page: from what was uploaded or named to a plan, the plan as a preview, and its acceptance."""

from __future__ import annotations

import secrets
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from blocklora.errors import ImportRefused
from blocklora.projects import intake
from blocklora.projects.archives import MemberError, open_archive, refuse_member, unpack
from blocklora.projects.limits import DEFAULT_LIMITS
from blocklora.projects.names import shown
from blocklora.projects.records import TEST, TRAINING
from blocklora.projects.sources import Skipped
from blocklora.ui import html
from blocklora.ui.uploads import forget, kept, scratch_folder, uploaded_file, uploaded_files

if TYPE_CHECKING:
    from blocklora.projects.plans import ImportPlan, ImportResult, Progress
    from blocklora.projects.project import Project
    from blocklora.ui.forms import Act

KEPT = 20  # previews that wait for an answer, over all pages
SHOWN = 5000  # left-out files that a preview lists; the rest is counted


@dataclass
class Pending:
    """A plan that waits for its acceptance, with the uploads it came from."""

    project_id: str
    plan: ImportPlan
    uploads: list[Path] = field(default_factory=list)

    def close(self) -> None:
        self.plan.close()
        forget(self.uploads)


class Plans:
    """Previews that wait for an answer, by name. The oldest is dropped when there are too many."""

    def __init__(self) -> None:
        self._pending: OrderedDict[str, Pending] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, pending: Pending) -> str:
        """Keep a plan; its name."""
        token = secrets.token_urlsafe(12)
        with self._lock:
            self._pending[token] = pending
            dropped = [self._pending.popitem(last=False)[1] for _ in range(len(self._pending) - KEPT)]
        for old in dropped:
            old.close()
        return token

    def look(self, token: str, project: Project) -> Pending | None:
        """The plan of that name, where it is one of `project`'s."""
        with self._lock:
            pending = self._pending.get(token)
        return pending if pending is not None and pending.project_id == project.id else None

    def latest(self, project: Project) -> tuple[str, Pending] | None:
        """The newest of `project`'s, with its name; None where nothing waits."""
        with self._lock:
            found = [(token, pending) for token, pending in self._pending.items() if pending.project_id == project.id]
        return found[-1] if found else None

    def take(self, token: str, project: Project) -> Pending | None:
        """Take a plan out, to accept or discard it; None where it is no longer kept."""
        with self._lock:
            pending = self._pending.get(token)
            return self._pending.pop(token) if pending is not None and pending.project_id == project.id else None


def planner(project: Project, act: Act, local_mode: bool) -> tuple[Callable[[Progress], ImportPlan], list[Path]]:
    """How to plan what an act asks for, and the uploads it is made from.

    Raises:
        ImportRefused: an upload is gone.
    """
    part = part_of(act)
    if act.name == "import-folder":
        folder = act.text("folder")
        return lambda progress: intake.plan_folder(project, folder, local_mode=local_mode, part=part, progress=progress), []
    if act.name == "import-zip":
        archive = uploaded_file(act.text("file"))
        return lambda progress: intake.plan_zip(project, archive, part=part, progress=progress), [archive]
    if act.name == "import-csv":
        return _table(project, act, local_mode)
    if act.name == "import-tree":
        return _tree(project, act)
    uploads = uploaded_files(act.texts("files"))
    files, home = kept(uploads, "files-")
    class_id, class_name = act.text("id") or None, act.text("name") or None
    target = {"class_id": class_id} if class_id else {"class_name": class_name}
    return lambda progress: intake.plan_files(project, files, part=part, progress=progress, **target), [home, *uploads]


def part_of(act: Act) -> str:
    """Whether what an act is about is to test with, or to learn from."""
    return TEST if act.text("part") == TEST else TRAINING


def _table(project: Project, act: Act, local_mode: bool) -> tuple[Callable[[Progress], ImportPlan], list[Path]]:
    """A table of (path, label) whose pictures lie in a folder of this machine, or came with it in a zip."""
    table, part = uploaded_file(act.text("file")), part_of(act)
    if act.text("folder"):
        folder = act.text("folder")
        return lambda progress: intake.plan_csv(project, table, folder, local_mode=local_mode, part=part, progress=progress), [table]
    archive = uploaded_file(act.text("archive"))
    base = scratch_folder("table-")

    def plan(progress: Progress) -> ImportPlan:
        left_out = _unpack_as_named(archive, base)
        made = intake.plan_csv(project, table, base, local_mode=True, allowed_roots=[base], part=part, progress=progress)
        made.skipped.extend(left_out)
        return made

    return plan, [table, archive, base]


def _unpack_as_named(path: Path, base: Path) -> list[Skipped]:
    """Unpack a zip's safe members under their own names, because a table refers to them by name; returns those left out."""
    left_out: list[Skipped] = []
    with open_archive(path) as archive:
        members = []
        for member in archive.infolist():
            refused = None if member.is_dir() else refuse_member(member, DEFAULT_LIMITS)
            if refused is not None:
                left_out.append(refused)
            elif not member.is_dir():
                members.append(member)
        if sum(m.file_size for m in members) > shutil.disk_usage(base).free // 2:
            raise ImportRefused("There is no room to unpack this zip.", "Free some space on the disk and try again.")
        for member in members:
            target = (base / member.filename.replace("\\", "/")).resolve()
            if not target.is_relative_to(base):
                left_out.append(Skipped(shown(member.filename), "unsafe: it would land outside its folder", "unsafe"))
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                unpack(archive, member, target, DEFAULT_LIMITS.image_bytes)
            except MemberError as error:
                left_out.append(Skipped(shown(member.filename), str(error), error.kind))
    return left_out


def _tree(project: Project, act: Act) -> tuple[Callable[[Progress], ImportPlan], list[Path]]:
    """Folders that were dropped on the page: the page tells each file's folder, which a plain upload loses."""
    files, folders = uploaded_files(act.texts("files")), act.texts("folders")
    base = scratch_folder("tree-")
    last = {path: number for number, path in enumerate(files)}  # the same file in several folders is one upload
    for number, (path, name) in enumerate(zip(files, folders, strict=True)):
        home = base / (name.replace("/", " ").replace("\\", " ").lstrip(".") or "pictures")[:150]
        home.mkdir(exist_ok=True)
        target = home / path.name
        free = target if not target.exists() else home / f"{number}-{path.name}"
        if last[path] == number:
            path.replace(free)
        else:
            shutil.copyfile(path, free)

    def plan(progress: Progress) -> ImportPlan:
        return intake.plan_folder(project, base, local_mode=True, allowed_roots=[base], part=part_of(act), progress=progress)

    return plan, [base]


def draw(token: str, pending: Pending) -> str:
    """The preview: what would be added, what not and why, and the two buttons."""
    plan = pending.plan
    new = {name.casefold() for name in plan.new_classes}
    mark = html.badge("new", "accent")
    rows = [(html.escape(name) + (mark if name.casefold() in new else ""), f"{count:,}") for name, count in plan.classes]
    what = "test picture" if plan.part == TEST else "picture"
    head = f"{html.plural(plan.n_images, what)} in {html.plural(len(plan.classes), 'class', 'classes')}"
    table = html.table(("Class", "Pictures"), rows, numbers=(1,))
    accept = html.button(f"Add {html.plural(plan.n_images, what)}", "accept", kind="primary", data_token=token)
    other = plan.like_something_else
    if other and plan.n_images:
        quoted = " and ".join(f"“{name}”" for name in other)
        accept += html.button(f"Add, with {quoted} as Something else", "accept", data_token=token, data_others="yes")
    discard = html.button("Discard" if plan.n_images else "Back", "discard", data_token=token)
    nothing = html.note("None of these files can be added.", "The list below says why.", "warn")
    body = table if plan.n_images else nothing
    return (
        f'<div class="images preview" data-view="{html.escape(_view(token))}"><div class="toolbar"><h2>Look before you add</h2>'
        f'<span class="count">{head}</span></div><p class="hint">Nothing has been added yet.</p>'
        f"{_leaks(plan)}{html.card(body)}{_left_out(plan)}{_notes(plan)}"
        f'<div class="decide">{accept if plan.n_images else ""}{discard}</div></div>'
    )


def _view(token: str) -> str:
    return f'{{"at": "plan", "token": "{token}"}}'


def _left_out(plan: ImportPlan) -> str:
    if not plan.skipped:
        return ""
    kinds = "".join(html.badge(f"{count:,} {kind}", "warn") for kind, count in plan.skipped_counts.items())
    listed = sorted(plan.skipped, key=lambda s: s.kind == "hidden")  # what systems put beside pictures comes last
    rows = [(html.escape(s.name), html.escape(s.reason)) for s in listed[:SHOWN]]
    more = f'<p class="hint">and {len(plan.skipped) - SHOWN:,} more</p>' if len(plan.skipped) > SHOWN else ""
    table = html.table(("File", "Why"), rows)
    return html.card(
        f'<div class="kinds">{kinds}</div>', table, more, title=f"{html.plural(len(plan.skipped), 'file')} left out", kind="left-out"
    )


def _leaks(plan: ImportPlan) -> str:
    """Pictures that look like one of the other part: a test with them would test memory."""
    if not plan.leaks:
        return ""
    one, n = len(plan.leaks) == 1, len(plan.leaks)
    mine, theirs = ("test picture", "pictures to learn from") if plan.part == TEST else ("picture", "test pictures")
    title = f"{html.plural(n, mine)} {'looks' if one else 'look'} like {theirs}"
    hint = "They would test memory. Added all the same, Results tells the figure without such test pictures."
    rows = [(html.escape(leak.name), html.escape(leak.note)) for leak in plan.leaks[:SHOWN]]
    return html.card(f'<p class="hint">{hint}</p>', html.table(("Picture", "Why"), rows), title=title, kind="left-out")


def _notes(plan: ImportPlan) -> str:
    if not plan.notes:
        return ""
    rows = [(html.escape(n.name), html.escape(n.note)) for n in plan.notes[:SHOWN]]
    return html.card(html.table(("File", "What"), rows), title="Worth knowing")


def words(result: ImportResult, skipped: int) -> str:
    """What an import did, in one line."""
    parts = [f"{html.plural(result.added, 'picture')} added"]
    if result.classes_created:
        made = result.classes_created
        parts.append(f"new: {', '.join(made[:3])}" + (f" and {len(made) - 3} more" if len(made) > 3 else ""))
    if result.duplicates + skipped:
        parts.append(f"{result.duplicates + skipped} left out")
    return ", ".join(parts) + "."
