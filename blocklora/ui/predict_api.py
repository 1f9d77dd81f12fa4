"""The one call that programs may make: `predict`, through the same published file as the Predict tab.

from gradio_client import Client, handle_file

studio = Client("http://127.0.0.1:7860")
studio.predict(image=handle_file("photo.jpg"), project="Sample", api_name="/predict")
# {"label": "mug", "probability": 0.93, "known": True, "top": [["mug", 0.93], ...], "milliseconds": 8.1, ...}

A project's own model answers, whatever a person is trying out in the window, unless the call names a file that was opened there:
studio.predict(image=handle_file("photo.jpg"), model="model.onnx", api_name="/predict").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.events import api as program_call

from blocklora.errors import JobError, ProjectError, StudioError
from blocklora.projects.decoding import decode_rgb
from blocklora.ui.train_form import TrainForm
from blocklora.ui.uploads import uploaded_file

if TYPE_CHECKING:
    from blocklora.projects.project import Project
    from blocklora.services.studio import Answering, Studio

DESCRIPTION = (
    "Label one picture with a project's published model, or before one is trained with its preview (run is then empty). "
    "image: an uploaded file (handle_file). project: its name or id; empty means the one worked on last. "
    "model: empty for the project's own, else a file opened on the Predict tab, by its name or the beginning of its SHA-256. "
    "Returns label, probability, known (false: of none of the classes; null: the model has no rule for that), "
    "top ([label, probability] pairs), milliseconds, provider, project, run, model."
)


def endpoint(studio: Studio) -> Callable[[dict, str], dict]:
    """The call itself, over a studio."""

    def predict(image: dict, project: str = "", model: str = "") -> dict:
        try:
            name, answering = find_model(studio, project, model)
            path = uploaded_file(str(image.get("path") or "") if isinstance(image, dict) else "")
            opened = answering.open()
            found = opened.predict([decode_rgb(path)])[0]
        except StudioError as error:
            raise gr.Error(str(error), print_exception=False) from error
        return {
            "label": found.label,
            "probability": round(float(found.probability), 6),
            "known": found.known,
            "top": [[label, round(float(probability), 6)] for label, probability in found.top],
            "milliseconds": round(float(found.milliseconds), 2),
            "provider": opened.provider,
            "project": name,
            "run": answering.run.name if answering.run is not None else "",
            "model": answering.file.name if answering.file is not None else "",
        }

    return predict


def find_model(studio: Studio, project: str, model: str) -> tuple[str, Answering]:
    """What answers a call, and the name of the project it answers for ('' for an opened file).

    Raises:
        StudioError: there is no such project or file, or the project has no model yet.
    """
    if model.strip():
        return "", studio.answering_file(studio.opened.find(model))
    chosen = find_project(studio, project)
    answering = studio.answering(chosen, TrainForm.kept(chosen).backbone)
    if answering is None:
        raise JobError(f"the project {chosen.name!r} has no finished training yet.", "Train it first.")
    return chosen.name, answering


def find_project(studio: Studio, wanted: str) -> Project:
    """The project of that id or name, the one worked on last where neither is given.

    Raises:
        ProjectError: there is none.
    """
    projects = studio.library.list()
    key = wanted.strip().casefold()
    found = next((info for info in projects if not key or info.id == wanted.strip() or info.name.casefold() == key), None)
    if found is None:
        raise ProjectError(f"there is no project {wanted!r}." if key else "there is no project yet.", "See the window for the names.")
    return studio.library.open(found.id)


def add(studio: Studio) -> Any:
    """Let programs call it; must run inside the page's blocks."""
    return program_call(endpoint(studio), api_name="predict", api_description=DESCRIPTION, concurrency_limit=2, api_visibility="public")
