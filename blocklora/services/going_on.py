"""Training again from where a run ended, after its images were mended or added to: what has changed, and whether that can be done."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Any

from blocklora.errors import TrainingError
from blocklora.files import read_json, write_json
from blocklora.jobs.run_folder import RunFolder
from blocklora.projects.dataset import Dataset
from blocklora.projects.splits import Split, split_after


@dataclass(frozen=True)
class Changes:
    """What is another than when a run began: numbers of images, and names of classes."""

    moved: int = 0
    deleted: int = 0
    added: int = 0
    new_classes: tuple[str, ...] = ()
    lost_classes: tuple[str, ...] = ()
    apart: int = 0
    """Images that are still there, to test with or as something else, and not learned from any more."""

    def __bool__(self) -> bool:
        return bool(self.moved or self.deleted or self.added or self.new_classes or self.lost_classes or self.apart)

    @property
    def words(self) -> str:
        """As in "2 images moved, 1 added"; '' where nothing has changed."""
        counts = ((self.moved, "moved to another class"), (self.deleted, "deleted"), (self.added, "added"), (self.apart, "set apart"))
        parts = [f"{n} image{'' if n == 1 else 's'} {what}" for n, what in counts if n]
        parts += [f"new class {name}" for name in self.new_classes] + [f"class {name} deleted" for name in self.lost_classes]
        return ", ".join(parts)


@dataclass(frozen=True)
class GoingOn:
    """A finished run that another one is to go on from."""

    run: RunFolder
    dataset: Dataset
    held_out: frozenset[str]
    """Contents of the images that it held out."""
    result: dict[str, Any]

    @classmethod
    def of(cls, run: RunFolder) -> GoingOn | None:
        """The run, or None where it lacks something of that: it is not finished, or an older version wrote it."""
        result, values = run.result(), read_json(run.dataset_path)
        if not isinstance(result, dict) or not isinstance(values, dict) or "choice" not in result or not run.measured_path.is_file():
            return None
        dataset = Dataset.from_dict(values["dataset"])
        return cls(run, dataset, frozenset(dataset.items[i].sha256 for i in values["held_out"]), result)

    def changes(self, now: Dataset, tests: Dataset | None = None) -> Changes:
        """What is another in the images as they are now, `tests` being the test images. An image is known by its content, a class by its
        id."""
        before = {item.sha256: self.dataset.class_ids[item.label] for item in self.dataset.items}
        after = {item.sha256: now.class_ids[item.label] for item in now.items}
        names = dict(zip(self.dataset.class_ids, self.dataset.class_names, strict=True))
        kept = {item.sha256 for item in (*now.others, *(tests.items if tests is not None else ()))} & before.keys()
        return Changes(
            apart=len(kept),
            moved=sum(before[sha] != class_id for sha, class_id in after.items() if sha in before),
            deleted=len(before.keys() - after.keys() - kept),
            added=len(after.keys() - before.keys()),
            new_classes=tuple(name for class_id, name in zip(now.class_ids, now.class_names, strict=True) if class_id not in names),
            lost_classes=tuple(name for class_id, name in names.items() if class_id not in now.class_ids),
        )

    def split(self, now: Dataset, share: float, seed: int) -> Split:
        """The split of the run that goes on.

        Raises:
            TrainingError: a class of this run is gone, or one would have no image to train on.
        """
        lost = self.changes(now).lost_classes
        if lost:
            raise TrainingError(f"the classes are others: {', '.join(lost)} is gone.", "Start a new training in Train.")
        # An image that only an earlier run learned from, and that was away meanwhile, is known to the adapters all the same.
        before = dict.fromkeys(self._learned_earlier(), False) | {item.sha256: item.sha256 in self.held_out for item in self.dataset.items}
        parts = split_after(now, before, share, seed)
        seen = {now.items[i].label for i in parts.train}
        empty = [name for label, name in enumerate(now.class_names) if label not in seen]
        if empty:
            raise TrainingError(f"{', '.join(empty)} would have no image to train on.", "Add images, or start a new training in Train.")
        return parts

    def write(self, run: RunFolder) -> None:
        """Lay down in the folder of the new run what it begins with, so that it needs this one no longer."""
        sha = {item.image_id: item.sha256 for item in self.dataset.items}
        rows = self.result["held_out"]["images"]
        answers = {sha[row["image_id"]]: self.dataset.class_ids[row["predicted"]] for row in rows if row.get("image_id") in sha}
        shutil.copyfile(self.run.measured_path, run.start_path)
        seen = {item.sha256 for item in self.dataset.items} - self.held_out | self._learned_earlier()
        write_json(run.start_info_path, {"run": self.run.name, "choice": self.result["choice"], "answers": answers, "seen": sorted(seen)})

    def _learned_earlier(self) -> set[str]:
        """Contents of the images that the runs learned from which this one goes on from itself."""
        return set((read_json(self.run.start_info_path) or {}).get("seen", ()))
