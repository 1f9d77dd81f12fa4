"""From a wrong picture to a better model: put it into another class, delete it, or say that it is right; then train again from here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from blocklora.errors import ProjectError, StudioError
from blocklora.projects.kept import RIGHT
from blocklora.ui import html
from blocklora.ui.forms import Act, notice
from blocklora.ui.results_view import Shot
from blocklora.ui.routes import thumb_url, view_url

if TYPE_CHECKING:
    from blocklora.jobs.run_folder import RunFolder
    from blocklora.projects.project import Project
    from blocklora.services.going_on import Changes
    from blocklora.services.studio import Studio

ACTS = ("mend-move", "mend-delete", "mend-keep", "mend-undo", "again")


def shots(project: Project, result: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], Shot | None]:
    """How a picture of a run's result is in the project now."""
    dataset, tests = project.dataset(), project.test_dataset()
    items = (*dataset.items, *(tests.items if tests is not None else ()))
    where = {item.image_id: (dataset.class_ids[item.label], item.sha256) for item in items}
    none_of_them = {item.image_id for item in dataset.others}
    names = dict(zip(dataset.class_ids, dataset.class_names, strict=True))
    kept, ids = project.kept(), [str(class_id) for class_id in result.get("class_ids", [])]

    def shot(row: Mapping[str, Any]) -> Shot | None:
        image_id = str(row.get("image_id") or "")
        if gone := image_id not in where and image_id not in none_of_them:
            try:  # deleted, but it can be undone; a look into the index that the others do not need
                project.image(image_id)
            except StudioError:
                return None
        urls = thumb_url(project.id, image_id), view_url(project.id, image_id)
        if image_id in none_of_them:
            return Shot(*urls, now=f"now in {project.something_else().name}")
        if gone:
            return Shot(*urls, now="deleted since")
        class_id, sha = where[image_id]
        was, said = (ids[row[key]] if row[key] < len(ids) else "" for key in ("label", "predicted"))
        if class_id != was:
            return Shot(*urls, now=f"now in {names[class_id]}")
        if (sha, class_id, RIGHT) in kept:
            return Shot(*urls, now="you said it is right", kept=True)
        if was == said:
            return Shot(*urls)
        button = html.local_button(
            "Mend…", "mend", kind="quiet", data_image=image_id, data_said=said if said in names else "", data_name=names.get(said, "")
        )
        return Shot(*urls, mend=button)

    return shot


def again(changes: Changes, busy: bool) -> str:
    """What was mended since the run began, and the way to let the model learn it; nothing where nothing was."""
    if not changes:
        return ""
    words = f"Since this run: {changes.words}."
    if changes.lost_classes:
        return html.note(words, "The classes are others now: start a new training in Train.")
    button = html.button("Train again from here", "again", kind="primary", icon_name="refresh-cw", disabled=busy)
    how = "It begins with what this run has learned and takes half the time of a whole training. "
    how += "What was held out stays so, to compare both on."
    text = f'<div><p>{html.escape(words)}</p><p class="advice">{how}</p></div>'
    return f'<div class="again note accent">{html.icon("info")}{text}{button}</div>'


def answer(studio: Studio, project: Project, run: RunFolder, act: Act) -> str:
    """One of `ACTS`; the toast that tells of it."""
    image = act.text("image")
    if act.name == "mend-move":
        target = act.text("to") or project.add_class(act.text("create"))
        return _done(project, project.move_images([image], target))
    if act.name == "mend-delete":
        return _done(project, project.delete_images([image]))
    if act.name == "mend-keep":
        return _done(project, project.keep_images([image], RIGHT), "It is not asked about again, here and in the data check.")
    if act.name == "mend-undo":
        if act.text("project") != project.id:
            raise ProjectError("That step was in another project.", "Open that project to undo it.")
        return notice(project.undo(act.text("token")).words)
    studio.train_again(project, run)
    return notice("Training again from here.", "Train shows how far it is.", "accent")


def _done(project: Project, token: str, more: str = "Train again, and the model learns it.") -> str:
    words = next((entry.words for entry in project.undoable() if entry.token == token), "Done.")
    undo = html.button("Undo", "mend-undo", kind="quiet", data_to="results", data_token=token, data_project=project.id)
    return notice(words, more, action=undo)
