"""A snapshot of labelled images: what a run trains on, frozen, whatever happens to the project meanwhile."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from blocklora.errors import ProjectError
from blocklora.projects.blobs import SHA256

NO_CLASS = -1
"""The label of a picture of none of the classes."""


@dataclass(frozen=True)
class Item:
    """One image: file path, label (index into the class names), content hash, 64-bit perceptual hash in hex, id."""

    path: str
    label: int
    sha256: str
    phash: str
    image_id: str


@dataclass(frozen=True)
class Dataset:
    """Classes in their order, and images. Classes without images are there too, so that a check can name them.

    `others` are pictures of none of the classes (their label is `NO_CLASS`): never trained on, they say when to answer "none of these".
    """

    class_names: tuple[str, ...]
    class_ids: tuple[str, ...]
    items: tuple[Item, ...]
    others: tuple[Item, ...] = ()

    @property
    def counts(self) -> tuple[int, ...]:
        """Images of each class, in the order of the classes."""
        counts = [0] * len(self.class_names)
        for item in self.items:
            counts[item.label] += 1
        return tuple(counts)

    @property
    def data_hash(self) -> str:
        """SHA-256 over the sorted pairs (content hash, class name): the same images under the same names give the same hash,
        wherever the files lie and in whatever order they came. Pictures of none of the classes count where there are some."""
        pairs: Any = sorted((item.sha256, self.class_names[item.label]) for item in self.items)
        if self.others:
            pairs = {"items": pairs, "others": sorted(item.sha256 for item in self.others)}
        return hashlib.sha256(json.dumps(pairs, ensure_ascii=True, separators=(",", ":")).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        others = {"others": [asdict(item) for item in self.others]} if self.others else {}
        return {
            "class_names": list(self.class_names),
            "class_ids": list(self.class_ids),
            "items": [asdict(item) for item in self.items],
            **others,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Dataset:
        """A snapshot from JSON values.

        Raises:
            ProjectError: they are not those of a snapshot.
        """
        try:
            names, ids = tuple(map(str, values["class_names"])), tuple(map(str, values["class_ids"]))
            items, others = (
                tuple(Item(str(v["path"]), int(v["label"]), str(v["sha256"]), str(v["phash"]), str(v["image_id"])) for v in listed)
                for listed in (values["items"], values.get("others", ()))
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ProjectError(f"This is not a snapshot of labelled images ({error}).", "Start a new run from the project.") from error
        wrong = [item for item in items if not (0 <= item.label < len(names) and SHA256.fullmatch(item.sha256))]
        wrong += [item for item in others if item.label != NO_CLASS or not SHA256.fullmatch(item.sha256)]
        if wrong or len(names) != len(ids):
            raise ProjectError("This snapshot of labelled images contradicts itself.", "Start a new run from the project.")
        return cls(names, ids, items, others)

    def located(self, project: Path) -> Dataset:
        """The same snapshot with its files found by content in the project folder `project`, as far as they are there.

        A run's snapshot says where images lay when it began; a project that was copied, moved or imported has them elsewhere.
        """
        found = {path.stem: path for path in (project / "images").glob("*/*") if SHA256.fullmatch(path.stem)}
        items, others = (tuple(replace(i, path=str(found.get(i.sha256, i.path))) for i in some) for some in (self.items, self.others))
        return replace(self, items=items, others=others)
