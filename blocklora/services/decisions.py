"""What a person has said of images that looked wrong: "its class is right". Kept with the project, by content and class."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blocklora.projects.project import Project

SETTING = "kept_labels"
"""{SHA-256 of the image: id of the class that is right}; another class later is another question."""


def kept(project: Project) -> dict[str, str]:
    """Contents of images whose class was said to be right, each with that class."""
    values = project.get_setting(SETTING, {})
    return {str(key): str(value) for key, value in values.items()} if isinstance(values, dict) else {}


def keep(project: Project, image_id: str) -> None:
    """The image's class is right: it is not asked about again while it is in that class."""
    info = project.image(image_id)
    project.set_setting(SETTING, {**kept(project), info.sha256: info.class_id})


def ask_again(project: Project, image_id: str) -> None:
    """Take `keep` back."""
    sha = project.image(image_id).sha256
    project.set_setting(SETTING, {key: value for key, value in kept(project).items() if key != sha})
