"""The sample project: pictures that come with the product, taken in through the same door as anybody's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from blocklora.projects import intake
from blocklora.projects.names import free_name, name_key

if TYPE_CHECKING:
    from blocklora.projects.project import Project
    from blocklora.services.studio import Studio

SAMPLE = Path(__file__).resolve().parents[2] / "assets" / "sample"
NAME = "Sample"


def make_sample(studio: Studio) -> Project:
    """A new project with the sample's classes and pictures."""
    taken = {name_key(info.name) for info in studio.library.list()}
    project = studio.library.create(free_name(NAME, taken))
    try:
        pictures = SAMPLE / "images"
        plan = intake.plan_folder(project, pictures, local_mode=True, allowed_roots=[pictures])
        intake.accept(project, plan)
        plan.close()
    except BaseException:
        studio.library.delete_forever(studio.library.trash(project.id))
        raise
    return project
