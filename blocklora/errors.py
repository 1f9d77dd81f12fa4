"""The whole tree of errors that a person may see.

The root class means "show this message": it is written for the person at the window or the command line and says
what was found, what is allowed and what to do. Anything that is not a `StudioError` is a bug and keeps its traceback.
"""

from __future__ import annotations

__all__ = [
    "AdapterError",
    "BackboneError",
    "ConfigError",
    "ExportError",
    "ImageError",
    "ImportRefused",
    "JobError",
    "ModelFileError",
    "NothingToAdapt",
    "ParityError",
    "ProjectError",
    "StudioError",
    "TrainingError",
]


class StudioError(Exception):
    """A message for a person, with optional advice on what to do next.

    `advice` is kept apart from the message so that a window can set it in its own line.
    """

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.message} {self.advice}".strip()


class ConfigError(StudioError):
    """A setting is outside its declared limits, or two settings contradict each other."""


class ImageError(StudioError):
    """One image file cannot be used: corrupt, too large, of a kind that is not read."""


class ProjectError(StudioError):
    """A project folder, class or image is missing, damaged or newer than this program."""


class ImportRefused(ProjectError):
    """A whole import (zip, folder, CSV, project archive) cannot be accepted."""


class BackboneError(StudioError):
    """A backbone is unknown, missing on this machine, or its file is not what it should be."""


class AdapterError(StudioError):
    """An adapter file is damaged, of an unknown version, or belongs to another base model."""


class NothingToAdapt(AdapterError):
    """The model has no layer of the kinds that an adapter can attach to."""


class TrainingError(StudioError):
    """Training cannot start or go on with this data or on this device."""


class JobError(StudioError):
    """A background job cannot be started, found, stopped or resumed."""


class ExportError(StudioError):
    """An exported file cannot be made."""


class ParityError(ExportError):
    """The exported file disagrees with the model it was made from; nothing was published."""


class ModelFileError(StudioError):
    """An .onnx file is not one that this product wrote, or is not safe to open."""
