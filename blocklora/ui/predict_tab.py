"""The Predict tab: pictures in, answers out: by the published ONNX file of a run, before there is one by the preview, or by a file that
was opened here (see `predict_file`); with such a file, no project is needed.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from blocklora.errors import ImageError, ImportRefused, StudioError
from blocklora.projects import intake
from blocklora.projects.decoder import Refused
from blocklora.projects.decoding import decode_rgb, shared_decoder
from blocklora.services.batch import Batches, Task
from blocklora.services.batch_files import is_zip, list_uploads
from blocklora.services.heat import HeatMaps
from blocklora.services.results import figures
from blocklora.ui import forms, heat_view, html, predict_api, predict_file, predict_table, predict_view
from blocklora.ui.forms import Act, notice
from blocklora.ui.predict_view import Answer
from blocklora.ui.run_list import TITLES, when
from blocklora.ui.tab import Context, Refresh, Tab, needs_project
from blocklora.ui.train_form import TrainForm
from blocklora.ui.train_view import progress
from blocklora.ui.uploads import forget, kept, uploaded_file, uploaded_files

if TYPE_CHECKING:
    from blocklora.jobs.run_folder import RunFolder
    from blocklora.projects.project import Project
    from blocklora.services.previews import Head
    from blocklora.services.studio import Answering, Studio

MAX_FRAME = 4 * 2**20  # characters of a webcam frame as the page sends it (base64)
EMPTY, ALMOST = 'class="empty"', "Almost there"  # what marks a room without a model, and one that is about to have it
Update = dict[Any, Any]


@dataclass(frozen=True)
class PredictTab:
    """The handlers. `frame` is where pictures come in, `one` a picture's answer, `many` the table.

    `pages` remembers where each table was left, `answers` each project's last answer with the model that gave it.
    """

    ctx: Context
    frame: gr.HTML
    one: gr.HTML
    many: gr.HTML
    batches: Batches = field(default_factory=Batches)
    pages: dict[str, int] = field(default_factory=dict)
    answers: dict[str, tuple[str, str]] = field(default_factory=dict)
    maps: HeatMaps = field(default_factory=HeatMaps)

    @property
    def studio(self) -> Studio:
        return self.ctx.studio

    # ---- showing

    def show(self, project: Project | None) -> Update:
        """The tab as it first opens."""
        if project is None and self._answering(None) is None:
            return {
                self.frame: needs_project("Prediction uses the model of a project, or an ONNX file that this studio exported.", "scan"),
                self.one: "",
                self.many: "",
            }
        missing = self._missing(project)
        answer = "" if missing else self._last(project)
        return {self.frame: missing or self._frame(project), self.one: answer, self.many: self._table(project)}

    def _last(self, project: Project | None) -> str:
        """The last answer of the project's current model, so that another tab or a reload does not lose it."""
        model = self._answering(project)
        known = self.answers.get(key_of(project), ("", ""))
        return known[1] if model is not None and known[0] == model.key else predict_view.empty_answer()

    def _answering(self, project: Project | None) -> Answering | None:
        file = self.studio.opened.chosen(key_of(project))
        if file is not None:
            return self.studio.answering_file(file)
        return self.studio.answering(project, TrainForm.kept(project).backbone) if project is not None else None

    def tick(self, values: Update) -> Update:
        """What moves by itself: a table that grows, a model that is being exported."""
        try:
            project = self.ctx.maybe_project(values.get(self.ctx.project))
            if project is None and self._answering(None) is None:
                return {}
            return self._moved(project, str(values.get(self.frame) or ""))
        except StudioError:  # the project is gone; the sidebar says so
            return {}

    def _moved(self, project: Project | None, shown: str) -> Update:
        """What must be drawn again, given what the page shows where pictures come in: it may have been opened before there was a model."""
        missing = self._missing(project)
        drawn: Update = {}
        if missing and (missing.partition("<p>")[0] not in shown or ALMOST in missing):
            drawn = {self.frame: missing}
        elif not missing and EMPTY in shown:
            drawn = {self.frame: self._frame(project), self.one: self._last(project)}
        elif not missing and shown and (frame := self._frame(project)) != shown:  # a newer preview, or a run has taken its place
            drawn = {self.frame: frame}
        return drawn | ({self.many: self._table(project)} if self.batches.latest(key_of(project)) is not None else {})

    def _missing(self, project: Project | None) -> str:
        """Why nothing can be predicted yet, with one button; '' where it can."""
        model = self._answering(project)
        if model is None:
            assert project is not None  # without one, only a file brings anybody here
            return self._no_model(project)
        run = model.run
        if run is None or run.onnx_path.exists():
            return ""
        status = self.studio.status(run.path)
        if status.export == "running":
            label = f"Making the ONNX file: {status.export_stage}"
            bar = progress(status.export_fraction, label)
            return f'<div class="empty">{html.icon("package", 28)}<h2>{ALMOST}</h2><p>{html.escape(label)}</p>{bar}</div>'
        text = "The run is finished, but its ONNX file is not made yet. Prediction uses that file, the same one you would take away."
        return html.empty_state("Export first", text, html.tab_button("Go to Export", "export"), "package")

    def _no_model(self, project: Project) -> str:
        """What to do, or what is being done, about a project that has neither a run nor a preview."""
        preview = self.studio.preview(project, TrainForm.kept(project).backbone)
        if preview is not None and preview.working:
            words = preview.stage or "Starting"
            bar = progress(preview.fraction or None, words)  # nobody knows how far loading is
            title = f"{ALMOST}: a first model, without training"
            return f'<div class="empty">{html.icon("scan", 28)}<h2>{title}</h2><p>{html.escape(words)}</p>{bar}</div>'
        text = "Two classes with two images each are enough for a first model, which needs no training."
        way = html.tab_button("Go to Images", "images")
        if preview is not None and preview.reason:
            text, way = f"{preview.reason} {preview.advice}".strip(), html.tab_button("Go to Train", "train")
        elif not self.studio.not_ready(project):
            text = "Predict uses the model that a training leaves behind. Train once, then try it on any picture."
            way = html.tab_button("Go to Train", "train")
        return html.empty_state("No model yet", text, way, "scan")

    def _frame(self, project: Project | None) -> str:
        model = self._answering(project)
        assert model is not None
        if model.file is not None or project is None:
            return predict_view.frame(project.classes() if project is not None else (), predict_file.words(model))
        if model.run is not None:
            return predict_view.frame(project.classes(), f"Answered by the exported ONNX file. {model_words(model.run)}")
        assert model.preview is not None
        words = f"Answered by the preview, which needs no training: {preview_words(model.preview)} Train for a better one, and for a file."
        return predict_view.frame(project.classes(), words)

    def _table(self, project: Project | None) -> str:
        """The table of the project's latest batch, at the page it was left at."""
        batch = self.batches.latest(key_of(project))
        if batch is None:
            return ""
        downloads = {kind: self.ctx.downloads.offer(path, path.name) for kind, path in batch.files.items()}
        return predict_view.table(batch, self.pages.get(batch.id, 0), downloads, self.ctx.local)

    # ---- one picture

    def pictures(self, act: Act, values: Update) -> Update:
        """Pictures came in: one gets its answer at once, many or a zip become a table."""
        project = self._project(values)
        model, folder = self._model(project), project.exports_dir if project is not None else self.studio.home / "exports"
        if act.name == "folder":
            self.batches.start(key_of(project), predict_table.folder_task(act, model, folder, self.ctx.local), model.open)
            return {self.many: self._table(project)}
        files = uploaded_files(act.texts("files"))
        if not files:
            raise ImportRefused("No picture arrived.", "Choose it again.")
        if len(files) > 1 or is_zip(files[0].name):
            files, home = kept(files, "batch-")
            task = Task(list_uploads([(path.name, path) for path in files]), model.key, folder)
            self.batches.start(key_of(project), task, model.open, lambda: forget([home]))
            return {self.many: self._table(project)}
        drawn = predict_view.answer(self._answer(model, files[0], files[0].name, str(files[0])), teach=project is not None)
        self.answers[key_of(project)] = model.key, drawn
        return {self.one: drawn}

    def _answer(self, answering: Answering, source: Path | bytes, name: str, file: str = "", number: int = 0) -> Answer:
        model = answering.open()
        found = model.predict([decode_rgb(source)])[0]
        preview = shared_decoder().view(source) if file else b""
        return Answer(found, model.provider, name, b"" if isinstance(preview, Refused) else preview, file, number)

    def frames(self, act: Act, values: Update) -> Update:
        """One frame of the camera. The page sends the next one only when this one is answered, so none ever wait."""
        project = self._project(values)
        data = act.data.get("data")
        if not isinstance(data, str) or len(data) > MAX_FRAME:
            raise ImageError("The camera's picture did not arrive.", "Switch the camera off and on.")
        try:
            source = base64.b64decode(data, validate=True)
        except binascii.Error as error:
            raise ImageError("The camera's picture is damaged.", "Switch the camera off and on.") from error
        found = self._answer(self._model(project), source, "camera", number=act.number("number"))
        return {self.one: predict_view.answer(found, teach=project is not None)}

    def _project(self, values: Update) -> Project | None:
        """The open project; None without one, where a file answers.

        Raises:
            ProjectError: there is neither.
        """
        project = self.ctx.maybe_project(values.get(self.ctx.project))
        return project if project is not None or self._answering(None) is not None else self.ctx.open_project(values)

    def _model(self, project: Project | None) -> Answering:
        model = self._answering(project)
        if model is None:
            raise ImportRefused("There is no model yet.", "Train first.")
        return model

    # ---- teaching it better

    def answer(self, act: Act, values: Update) -> Iterator[Update]:
        """A press in the answer: put the picture into a class, or take it out again; or a frame of the camera."""
        if act.name == "frame":
            yield self.frames(act, values)
            return
        if act.name == "why":
            yield from self._why(act, values)
            return
        project = self.ctx.open_project(values)
        if act.name == "add":
            toast = self._add(project, act)
        elif act.name == "take-out":
            project.delete_images(act.text("images").split(","))
            toast = notice("Taken out again.")
        else:
            raise ValueError(f"the Predict tab knows no act {act.name!r}")
        yield {
            self.ctx.notice: toast,
            self.ctx.rail: self.ctx.draw_rail(project.id),
            self.frame: self._missing(project) or self._frame(project),
        }

    def _why(self, act: Act, values: Update) -> Iterator[Update]:
        """The answer with its heat map in the picture's place: first that it is being made, then the map."""
        project, path = self._project(values), uploaded_file(act.text("file"))
        model, key, teach = self._model(project), key_of(project), project is not None
        found = self._answer(model, path, path.name, str(path))
        waiting = model.key, predict_view.answer(replace(found, why=heat_view.busy(found.source, found.name)), teach)
        plain = model.key, predict_view.answer(found, teach)
        yield {self.one: waiting[1]}
        self.answers[key] = plain  # what a reload shows meanwhile, and what stays if nothing comes of it
        try:
            heat = self.maps.get((model.key, str(path)), lambda: model.open().explain(decode_rgb(path)))
        except StudioError:
            yield {self.one: plain[1]}
            raise
        if self.answers.get(key) != plain:  # another picture was asked about meanwhile
            return
        self.answers[key] = model.key, predict_view.answer(replace(found, why=heat_view.figure(heat, found.source, found.name)), teach)
        yield {self.one: self.answers[key][1]}

    def _add(self, project: Project, act: Act) -> str:
        """Put the picture, as it came, into a class; the toast that says so."""
        path = uploaded_file(act.text("file"))
        new = act.text("create") or None
        plan = intake.plan_files(project, [(path.name, path)], class_id=None if new else act.text("id"), class_name=new)
        try:
            if not plan.images:
                reason = plan.skipped[0].reason if plan.skipped else "it holds no picture"
                raise ImportRefused(f"The picture was not added: {reason}.")
            name = plan.classes[0][0]
            result = intake.accept(project, plan)
        finally:
            plan.close()
        undo = html.button("Undo", "take-out", kind="quiet", data_to="predict-one", data_images=",".join(result.image_ids))
        trained = self.studio.finished_run(project) is not None
        learns = "Train again to let the model learn from it." if trained else "The preview takes it in at once."
        return notice(f"Added to {name}.", learns, "accent", action=undo)

    # ---- many pictures

    def lines(self, act: Act, values: Update) -> Update:
        """A press on the table: another page, something to make of it, or put it away."""
        project = self.ctx.maybe_project(values.get(self.ctx.project))
        if act.name == "forget":
            self.batches.forget(key_of(project))
            return {self.many: ""}
        batch = self.batches.latest(key_of(project))
        if batch is not None and act.name == "rows":
            self.pages[batch.id] = act.number("page")
        elif batch is not None:
            predict_table.make(act, batch, self.ctx.local)
        return {self.many: self._table(project)}


def key_of(project: Project | None) -> str:
    """What a project's answers, table and opened file go by; '' where none is open."""
    return project.id if project is not None else ""


def model_words(run: RunFolder) -> str:
    """Which run the current model comes from, and how good it is."""
    found, spec = figures(run), run.spec()
    good = f", right on {found.correct} of {found.n} {found.which}" if found.n else ""
    title = TITLES.get(str(spec["training"]["preset"]), "This")
    return f"{title} run of {when(spec.get('created'))}{good}."


def preview_words(head: Head) -> str:
    """How good a preview is, and on what."""
    return f"right on {head.correct:,} of {head.n:,} images, each compared with the others alone."


def build(ctx: Context) -> Refresh:
    """The tab's rooms and their events, and the call for programs."""
    with gr.Column(elem_id="predict-page", min_width=0):
        gr.HTML("", elem_id="predict-camera", apply_default_css=False)  # the page puts its video here; Python never draws over it
        frame, file = forms.stage("predict"), forms.stage("predict-file")
        one, many = forms.stage("predict-one"), forms.stage("predict-many")
    tab = PredictTab(ctx, frame, one, many)
    door = predict_file.FileDoor(ctx, file, tab.show)
    ctx.on_act(frame, tab.pictures, outputs=[one, many], trigger_mode="multiple")
    ctx.on_act(file, door.answer, outputs=[file, frame, one, many], trigger_mode="multiple", concurrency_limit=2)
    ctx.on_act(one, tab.answer, outputs=[one, frame, ctx.rail], trigger_mode="multiple", concurrency_limit=2)
    ctx.on_act(many, tab.lines, outputs=[many], trigger_mode="multiple")
    predict_api.add(ctx.studio)

    def show(project: Project | None) -> Update:
        return {**tab.show(project), **door.show(project)}

    def tick(values: Update) -> Update:
        return {**tab.tick(values), **door.tick(values)}

    return Refresh(show, [frame, file, one, many], tick, moves=(frame, file, one, many), reads=(frame, file))


TAB = Tab("predict", "Predict", build)
