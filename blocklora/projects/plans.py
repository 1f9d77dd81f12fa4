"""What an import would do, before it does it: the preview that a person accepts or not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from blocklora.projects.decoder import Inspected
from blocklora.projects.names import name_key
from blocklora.projects.records import TRAINING
from blocklora.projects.sources import Skipped

NO_CLASS_NAMES = frozenset({"something else", "something_else", "something-else", "else", "none", "none of these", "other", "others"})
NO_CLASS_NAMES |= {"background", "backgrounds", "negative", "negatives", "unknown", "nothing"}
"""What people call a folder of pictures of none of their classes. It decides nothing: the preview of an import asks."""

Progress = Callable[[int, int], None]
"""Called with (done, total). What it raises stops the work and leaves the project as it was."""


@dataclass(frozen=True)
class PlannedImage:
    """A picture that would be added: name and class as people know them, where its bytes lie, what it is.

    `facts.thumbnail` is empty here: the thumbnail waits in `thumbnail`, on disk.
    """

    name: str
    class_name: str
    path: Path
    facts: Inspected
    thumbnail: Path


@dataclass(frozen=True)
class Note:
    """Something worth knowing of a picture that is taken all the same."""

    name: str
    note: str


@dataclass
class ImportPlan:
    """The preview of an import. Nothing of it is in the project before `intake.accept`."""

    folder: Path
    images: list[PlannedImage] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    existing: frozenset[str] = frozenset()
    target_id: str | None = None
    part: str = TRAINING
    """Whether the pictures are to learn from, or the person's own to test with."""
    leaks: list[Note] = field(default_factory=list)
    """Pictures that look like one of the other part: a test picture like one to learn from, or the other way round."""

    @property
    def n_images(self) -> int:
        return len(self.images)

    @property
    def classes(self) -> list[tuple[str, int]]:
        """Classes in the order in which they were found, with the number of their new images."""
        counts: dict[str, tuple[str, int]] = {}
        for image in self.images:
            name, count = counts.get(name_key(image.class_name), (image.class_name, 0))
            counts[name_key(image.class_name)] = name, count + 1
        return list(counts.values())

    @property
    def new_classes(self) -> list[str]:
        """Those of `classes` that the project does not have yet."""
        return [name for name, _ in self.classes if name_key(name) not in self.existing]

    @property
    def like_something_else(self) -> list[str]:
        """Those of `new_classes` whose names say that they are none: a person may want them as pictures of something else."""
        return [name for name in self.new_classes if name_key(name) in NO_CLASS_NAMES]

    @property
    def warnings(self) -> list[str]:
        """The notes, one line each."""
        return [f"{note.name}: {note.note}" for note in self.notes]

    @property
    def skipped_counts(self) -> dict[str, int]:
        """How many files are left out for each kind of reason, most frequent first."""
        counts: dict[str, int] = {}
        for skipped in self.skipped:
            counts[skipped.kind] = counts.get(skipped.kind, 0) + 1
        return dict(sorted(counts.items(), key=lambda pair: -pair[1]))

    def close(self) -> None:
        """Remove what waits on disk."""
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True)
class ImportResult:
    """What an import did: ids of the added images, how many were duplicates by now, names of the classes it made."""

    image_ids: list[str]
    duplicates: int
    classes_created: list[str]

    @property
    def added(self) -> int:
        return len(self.image_ids)
