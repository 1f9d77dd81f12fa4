"""The door of the Predict tab for a file: open any .onnx file that this studio exported, see what it is, and go back."""

from __future__ import annotations

import calendar
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from blocklora.errors import ImportRefused, ModelFileError, StudioError
from blocklora.projects.names import shown
from blocklora.services.opened import OpenedFile
from blocklora.ui import html
from blocklora.ui.forms import Act, notice
from blocklora.ui.tab import Context
from blocklora.ui.train_backbone import megabytes
from blocklora.ui.uploads import forget, uploaded_files

if TYPE_CHECKING:
    from blocklora.projects.project import Project
    from blocklora.services.studio import Answering

NAMED = 12  # labels that are written out
CHECKING = 'class="file-door checking"'
Update = dict[Any, Any]


@dataclass(frozen=True)
class FileDoor:
    """The handlers. `room` is where the door is drawn; `rest` draws the tab around it, by another model after a file was opened.

    `busy` counts the files that are being checked for a project, so that nothing is drawn over the words that say so.
    """

    ctx: Context
    room: gr.HTML
    rest: Callable[[Project | None], Update]
    busy: dict[str, int] = field(default_factory=dict)

    def show(self, project: Project | None) -> Update:
        """The door as it stands."""
        return {self.room: self._draw(project)}

    def tick(self, values: Update) -> Update:
        """Another page may have opened a file, or gone back."""
        try:
            project = self.ctx.maybe_project(values.get(self.ctx.project))
        except StudioError:  # the project is gone; the sidebar says so
            return {}
        drawn, known = self._draw(project), str(values.get(self.room) or "")
        return {self.room: drawn} if known and drawn != known and not self.busy.get(_key(project)) else {}

    def _draw(self, project: Project | None) -> str:
        file = self.ctx.studio.opened.chosen(_key(project))
        return closed(self.ctx.local) if file is None else opened(file, self.ctx.local, project is not None)

    def answer(self, act: Act, values: Update) -> Iterator[Update]:
        """A press in the door: open an uploaded file, or one on this computer, or go back to the project's own model."""
        project = self.ctx.maybe_project(values.get(self.ctx.project))
        if act.name == "own-model":
            self.ctx.studio.opened.choose(None, _key(project))
            yield {**self.show(project), **self.rest(project)}
        elif act.name == "open-file":
            files = uploaded_files(act.texts("files"))
            if len(files) != 1:
                raise ImportRefused(f"{len(files)} files arrived.", "Open one .onnx file at a time.")
            try:
                yield from self._open(project, files[0])
            finally:
                forget(files)
        elif act.name == "open-path":
            if not self.ctx.local:
                raise ModelFileError("paths are only taken from who sits at this machine.", "Upload the file instead.")
            yield from self._open(project, typed_path(act.text("file")))
        else:
            raise ValueError(f"the door for files knows no act {act.name!r}")

    def _open(self, project: Project | None, path: Path) -> Iterator[Update]:
        key = _key(project)
        self.busy[key] = self.busy.get(key, 0) + 1
        try:
            yield {self.room: checking(path.name)}
            found = self.ctx.studio.opened.open(path, path.name, key)
        except StudioError:
            yield self.show(project)  # what answered before goes on
            raise
        finally:
            self.busy[key] -= 1
        toast = notice(f"{found.name} answers now.", tone="accent")
        yield {**self.show(project), **self.rest(project), self.ctx.notice: toast}


def _key(project: Project | None) -> str:
    return project.id if project is not None else ""


def typed_path(text: str) -> Path:
    """A path as people type and paste it: with blanks or quotes around it, or from their home.

    Raises:
        ModelFileError: it does not say where it begins, or is no path at all.
    """
    typed = text.strip().strip("\"'")
    try:
        path = Path(typed).expanduser()
    except RuntimeError as error:  # a home of nobody
        raise ModelFileError(f"{shown(typed)} is not a path.", "Give it from the top, such as /home/me/model.onnx.") from error
    if not path.is_absolute() or "\0" in typed:
        raise ModelFileError(
            f"{shown(typed) or 'an empty path'} is not a whole path.", "Give it from the top, such as /home/me/model.onnx."
        )
    return path


# ---- what is drawn


def words(model: Answering) -> str:
    """Under the place for pictures: which file answers."""
    assert model.file is not None
    return f"Answered by {model.file.name}, the file that is opened below."


def closed(local: bool) -> str:
    """The quiet way in."""
    buttons = html.local_button("Open an ONNX file…", "predict-open", kind="quiet", icon_name="package")
    if local:
        buttons += html.local_button("By its path…", "predict-open-path", kind="quiet")
    return f'<div class="file-door"><div class="file-ways">{buttons}</div></div>'


def checking(name: str) -> str:
    """A file is on its way in."""
    text = f"Checking {shown(name)}: reading it, then a first run in a process of its own."
    return f'<div {CHECKING} role="status">{html.icon("loader-circle")}<p>{html.escape(text)}</p></div>'


def opened(file: OpenedFile, local: bool, has_project: bool) -> str:
    """The file that answers: its labels, how good it was, when it was made, and the way back."""
    back = html.button("Back to the project's model" if has_project else "Put it away", "own-model", icon_name="undo-2")
    again = html.local_button("Open another…", "predict-open", kind="quiet")
    again += html.local_button("By its path…", "predict-open-path", kind="quiet") if local else ""
    rows = "".join(f"<dt>{html.escape(key)}</dt><dd>{value}</dd>" for key, value in _facts(file))
    head = f'<header>{html.icon("package", 20)}<h3 title="{html.escape(file.key)}">{html.escape(file.name)}</h3></header>'
    body = f'{head}<dl>{rows}</dl><div class="file-ways">{back}{again}</div>'
    return f'<section class="file-door card open" aria-label="The opened file">{body}</section>'


def _facts(file: OpenedFile) -> list[tuple[str, str]]:
    """What the file states of itself, as HTML."""
    names = "".join(f"<li>{html.escape(label)}</li>" for label in file.labels[:NAMED])
    more = f'<li class="more">and {len(file.labels) - NAMED:,} more</li>' if len(file.labels) > NAMED else ""
    facts = [(html.plural(len(file.labels), "label"), f'<ul class="label-list">{names}{more}</ul>')]
    good = f"right on {file.correct:,} of {file.n:,} images it never saw" if file.n else "not stated"
    facts.append(("Accuracy", html.escape(f"{good}, as the file says" if file.n else good)))
    facts.append(("Made", html.escape(moment(file.created))))
    size = megabytes(file.size) if file.size >= 10**7 else f"{file.size / 1e6:.1f} MB"
    kind = " · ".join(part for part in (size, file.precision, file.base_model) if part)
    return [*facts, ("Model", html.escape(kind))]


def moment(created: str) -> str:
    """An ISO moment of UTC as people here write it; what is none is shown as it stands."""
    try:
        seconds = calendar.timegm(time.strptime(created, "%Y-%m-%dT%H:%M:%SZ"))
        return time.strftime("%d %b %Y", time.localtime(seconds))
    except (ValueError, OverflowError, OSError):
        return created or "not stated"
