"""The data check as a person meets it: what was found (see `findings`), without what was dealt with, and with what a training adds to it.

Nothing here computes on pictures: the record lies on disk, and a picture that was moved, deleted or kept since drops out of it at once.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from blocklora.files import read_json
from blocklora.jobs.liveness import alive
from blocklora.jobs.run_folder import RunFolder
from blocklora.projects.kept import APART, RIGHT, Entry
from blocklora.projects.project import Project
from blocklora.projects.records import TRAINING, ClassInfo, ImageInfo
from blocklora.services.findings import Check, Doubt, latest, recent
from blocklora.services.previews import PreviewFolder

LISTED = 2.5
"""Log of the odds from which a doubt is shown: 12 to 1. Chosen by the planted-errors benchmark, as is the next."""
MOST, AT_LEAST = 0.05, 3
"""No more doubts at once than this share of the pictures (but three): with a weak backbone the odds alone would list too many."""
SURE, ADDS = 0.8, 1.5
"""A trained model that never saw a picture and is this sure moves the log of the odds by this much, towards the class that it says."""
FEW = 8
"""A class with fewer pictures than this is said to have few."""
UNEVEN = 3
"""A class with less than one part in so many of what classes usually have is said to be small."""

Answers = Mapping[str, tuple[str, str, float]]  # of pictures that a trained model did not see: class, class said (ids), probability


@dataclass(frozen=True)
class Suspect:
    """A picture that may be in the wrong class; `confirmed` says that a trained model thinks so too."""

    image: ImageInfo
    labelled: ClassInfo
    likelier: ClassInfo
    confirmed: bool


@dataclass(frozen=True)
class Found:
    """What there is to look at. `looking` says that the pictures have changed and are being looked at; `n` were looked at."""

    n: int
    looking: bool = False
    suspects: tuple[Suspect, ...] = ()
    alike: tuple[tuple[ImageInfo, ...], ...] = ()
    far: tuple[ImageInfo, ...] = ()
    poor: tuple[tuple[ImageInfo, str], ...] = ()
    few: tuple[ClassInfo, ...] = ()
    uneven: tuple[ClassInfo, ...] = ()
    usual: int = 0

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to mend."""
        return not (self.suspects or self.alike or self.far or self.poor or self.few or self.uneven)


def look(project: Project, backbone: str, run: RunFolder | None = None) -> Found | None:
    """The findings of a project; None while its pictures were never looked at.

    Args:
        run: a finished run, whose answers about pictures that it had not seen count too.
    """
    folder = PreviewFolder.of(project.path, backbone)
    check, mark = recent(folder.check), project.mark()
    if check is None:
        return Found(0, looking=True) if alive(folder.heartbeat) else None
    looking = latest(folder.check, mark) is None and alive(folder.heartbeat)
    answers = answers_of(run, project.path) if run is not None else {}
    return found(check, project.classes(), _images(project, check), project.kept(), answers, looking)


def _images(project: Project, check: Check) -> dict[str, ImageInfo]:
    """The pictures that a record speaks of, as far as they are still there."""
    ids = [doubt.image for doubt in check.doubts] + [image for group in check.alike for image in group]
    return project.living([*ids, *check.far, *(image for image, _ in check.poor)])


def found(
    check: Check, classes: list[ClassInfo], images: Mapping[str, ImageInfo], kept: set[Entry], answers: Answers, looking: bool = False
) -> Found:
    """A record made into what a person sees now."""
    known = {info.id: info for info in classes}
    images = {key: image for key, image in images.items() if image.class_id in known and image.part == TRAINING}
    right = {image.id for image in images.values() if (image.sha256, image.class_id, RIGHT) in kept}
    suspects = _suspects(check, known, images, right, answers)
    said = right | {suspect.image.id for suspect in suspects}
    far = [images[image] for image in check.far if image in images and image not in said]
    poor = [(images[image], kind) for image, kind in check.poor if image in images and image not in right]
    counts = [info.count for info in classes]
    usual = int(statistics.median(counts)) if counts else 0
    few = tuple(info for info in classes if info.count < FEW)
    uneven = tuple(info for info in classes if info.count >= FEW and info.count * UNEVEN < usual)
    return Found(check.n, looking, tuple(suspects), _groups(check, images, kept), tuple(far), tuple(poor), few, uneven, usual)


def _suspects(
    check: Check, known: Mapping[str, ClassInfo], images: Mapping[str, ImageInfo], right: set[str], answers: Answers
) -> list[Suspect]:
    weighed = [(_weighed(doubt, answers), doubt) for doubt in check.doubts]
    weighed = sorted((entry for entry in weighed if entry[0] > LISTED), key=lambda entry: -entry[0])
    rows = []
    for _, doubt in weighed[: max(AT_LEAST, -int(-MOST * check.n // 1))]:
        image, likelier = images.get(doubt.image), known.get(doubt.likelier)
        if image is None or likelier is None or image.class_id != doubt.labelled or image.id in right:
            continue
        rows.append(Suspect(image, known[image.class_id], likelier, _agrees(doubt, answers)))
    return rows


def _weighed(doubt: Doubt, answers: Answers) -> float:
    """The log of the odds, with what a trained model says."""
    labelled, said, probability = answers.get(doubt.image, ("", "", 0.0))
    if labelled != doubt.labelled or probability < SURE or said not in (doubt.labelled, doubt.likelier):
        return doubt.odds
    return doubt.odds + (ADDS if said == doubt.likelier else -ADDS)


def _agrees(doubt: Doubt, answers: Answers) -> bool:
    labelled, said, probability = answers.get(doubt.image, ("", "", 0.0))
    return labelled == doubt.labelled and said == doubt.likelier and probability >= SURE


def _groups(check: Check, images: Mapping[str, ImageInfo], kept: set[Entry]) -> tuple[tuple[ImageInfo, ...], ...]:
    """Groups of pictures that look alike, those across classes first; one goes when all of it was kept, or one picture is left."""
    rows = []
    for group in check.alike:
        here = [images[image] for image in group if image in images]
        if len(here) > 1 and not all((image.sha256, image.class_id, APART) in kept for image in here):
            rows.append(tuple(sorted(here, key=lambda image: (-image.width * image.height, image.added, image.id))))
    return tuple(sorted(rows, key=lambda group: len({image.class_id for image in group}) == 1))


# ---- what a training adds


def answers_of(run: RunFolder, project: Path) -> Answers:
    """What a finished run said of pictures that its model had not seen, by image id."""
    try:
        stamp = run.result_path.stat().st_mtime_ns
    except OSError:
        return {}
    return _answers(run.result_path, run.dataset_path, stamp)


@lru_cache(maxsize=8)
def _answers(result_path: Path, dataset_path: Path, stamp: int) -> Answers:
    result, dataset = read_json(result_path, {}), read_json(dataset_path, {})
    try:
        ids = [str(value) for value in dataset["dataset"]["class_ids"]]
        rows = images_judged(result)
        return {str(row["image_id"]): (ids[row["label"]], ids[row["predicted"]], float(row["probability"])) for row in rows}
    except (KeyError, IndexError, TypeError, ValueError):  # of a version that wrote less
        return {}


def images_judged(result: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """The rows of pictures that were judged by a model that had not seen them: all of them where there was time, else the held-out ones."""
    section = result.get("cross_validated") or result.get("held_out") or {}
    return [row for row in section.get("images", []) if row.get("image_id")]
