"""A project: one folder with an index, original images, thumbnails, runs and exports. Everything about one goes through here."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from blocklora.errors import ImageError, ProjectError
from blocklora.files import write_atomic
from blocklora.projects import classes, images, kept, undo
from blocklora.projects.blobs import Blobs
from blocklora.projects.database import FILE_NAME, Database
from blocklora.projects.dataset import NO_CLASS, Dataset, Item
from blocklora.projects.decoder import Refused
from blocklora.projects.decoding import shared_decoder
from blocklora.projects.home import default_home
from blocklora.projects.names import clean_name
from blocklora.projects.records import OTHER_ROLE, TEST, TRAINING, ClassInfo, ImageInfo, ImagePage, UndoEntry, UndoResult


class Project:
    """An open project. Holds no connection and no file: any number of them, in any thread or process, may be open on one folder.

    `staging` is where imports wait for their acceptance, outside the project.
    """

    def __init__(self, path: Path, database: Database, staging: Path) -> None:
        self.path = path
        self.database = database
        self.staging = staging
        self.blobs = Blobs(path)

    @classmethod
    def create(cls, path: Path, name: str, staging: Path | None = None) -> Project:
        """A new, empty project in the folder `path`, which must not exist yet.

        Raises:
            ProjectError: the folder exists, or the name is empty or too long.
        """
        cleaned = clean_name(name, "project")
        try:
            path.mkdir(parents=True)
        except FileExistsError as error:
            raise ProjectError(f"The folder {path} exists already.", "Choose another one.") from error
        try:
            database = Database.create(path / FILE_NAME)
            with database.write() as connection:
                connection.execute("INSERT INTO project (one, name, created) VALUES (1, ?, ?)", (cleaned, time.time()))
            return cls.open(path, staging)
        except BaseException:  # a full disk: half a project would stand in the list and could not be opened
            shutil.rmtree(path, ignore_errors=True)
            raise

    @classmethod
    def open(cls, path: Path, staging: Path | None = None) -> Project:
        """The project in the folder `path`, its index brought to the newest schema.

        Raises:
            ProjectError: there is no project, it is damaged, or newer than this program.
        """
        path = Path(path).absolute()
        project = cls(path, Database.open(path / FILE_NAME), staging or default_home() / "staging")
        try:
            for folder in ("images", "thumbs", "runs", "exports"):
                (path / folder).mkdir(exist_ok=True)
        except FileNotFoundError as error:  # moved to the trash at this very moment
            raise ProjectError("This project is no longer there.", "It may have been deleted in another window; choose another.") from error
        return project

    # ---- the project itself

    @property
    def id(self) -> str:
        """The name of its folder: what `Library.open` takes."""
        return self.path.name

    @property
    def name(self) -> str:
        with self.database.read() as connection:
            return str(connection.execute("SELECT name FROM project").fetchone()[0])

    def rename(self, name: str) -> None:
        """Give the project another name; its folder keeps its own."""
        cleaned = clean_name(name, "project")
        with self.database.write() as connection:
            connection.execute("UPDATE project SET name = ?", (cleaned,))

    @property
    def runs_dir(self) -> Path:
        return self.path / "runs"

    @property
    def exports_dir(self) -> Path:
        return self.path / "exports"

    def get_setting(self, key: str, default: Any = None) -> Any:
        """The JSON value kept under `key`, or `default`."""
        with self.database.read() as connection:
            row = connection.execute("SELECT value FROM settings WHERE key = ?", (key,)).fetchone()
        return default if row is None else json.loads(row["value"])

    def set_setting(self, key: str, value: Any) -> None:
        """Keep a JSON value under `key`."""
        with self.database.write() as connection:
            connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (key, json.dumps(value)))

    # ---- classes

    def classes(self) -> list[ClassInfo]:
        """All classes in their order, with the number of their images; what is something else is none of them."""
        with self.database.read() as connection:
            return classes.all_classes(connection)

    def something_else(self) -> ClassInfo:
        """Where pictures of none of the classes are: its id serves wherever images are added, listed, moved or deleted."""
        with self.database.read() as connection:
            return classes.something_else(connection)

    def add_class(self, name: str) -> str:
        """A new class at the end; its id. Raises ProjectError for an empty, over-long or taken name."""
        with self.database.write() as connection:
            return classes.add(connection, name)

    def rename_class(self, class_id: str, name: str) -> None:
        """Another name for a class. Raises ProjectError for an empty, over-long or taken name."""
        with self.database.write() as connection:
            classes.rename(connection, class_id, name)

    def reorder_classes(self, class_ids: Sequence[str]) -> None:
        """All classes in a new order. Raises ProjectError where the ids are not exactly the living classes."""
        with self.database.write() as connection:
            classes.reorder(connection, class_ids)

    def delete_class(self, class_id: str) -> str:
        """Take a class and its images away; the token for `undo`."""
        with self.database.write() as connection:
            return undo.delete_class(connection, class_id)

    # ---- images

    def images(
        self, class_id: str | None, page: int = 0, page_size: int = 60, newest_first: bool = True, part: str = TRAINING
    ) -> ImagePage:
        """One page (from 0; at most 500 images a page) of a class's images, or of all classes; those to learn from, or the `TEST` part."""
        with self.database.read() as connection:
            return images.page(connection, class_id, page, page_size, newest_first, part)

    def image(self, image_id: str) -> ImageInfo:
        """One image, also one whose deletion can still be undone. Raises ProjectError where there is none."""
        with self.database.read() as connection:
            return images.one(connection, image_id)

    def move_images(self, image_ids: Sequence[str], class_id: str) -> str:
        """Move images to another class; the token for `undo`."""
        with self.database.write() as connection:
            return undo.move_images(connection, image_ids, class_id)

    def move_part(self, image_ids: Sequence[str], part: str) -> str:
        """Move images to those to test with (`TEST`) or to learn from (`TRAINING`), within their classes; the token for `undo`."""
        with self.database.write() as connection:
            return undo.move_part(connection, image_ids, part)

    def delete_images(self, image_ids: Sequence[str]) -> str:
        """Take images away; the token for `undo`."""
        with self.database.write() as connection:
            return undo.delete_images(connection, image_ids)

    def living(self, image_ids: Sequence[str]) -> dict[str, ImageInfo]:
        """Those of the given images that are in the project, by id."""
        with self.database.read() as connection:
            return {row["id"]: images.info(row) for row in images.selected(connection, image_ids)}

    def keep_images(self, image_ids: Sequence[str], kind: str = kept.RIGHT) -> str:
        """Remember that images are right as they are, against the data check; the token for `undo`."""
        with self.database.write() as connection:
            return undo.keep_images(connection, image_ids, kind)

    def kept(self) -> set[kept.Entry]:
        """What was kept against the data check: (content hash, class id, kind)."""
        with self.database.read() as connection:
            return kept.entries(connection)

    def undo(self, token: str) -> UndoResult:
        """Bring back what the step of `token` took away. Raises ProjectError where that is not possible (any more)."""
        with self.database.write() as connection:
            return undo.undo(connection, token)

    def undoable(self, limit: int = 10) -> list[UndoEntry]:
        """The latest steps that can be undone, newest first."""
        with self.database.read() as connection:
            return undo.undoable(connection, limit)

    def mark(self) -> str:
        """A short text that is another one whenever labelled images, classes, their names or their order are; cheap to ask for."""
        with self.database.read() as connection:
            return images.mark(connection)

    # ---- files

    def original(self, image_id: str) -> Path:
        """The file as it came, byte for byte: for workers, never for a browser."""
        info = self.image(image_id)
        return self.blobs.original(info.sha256, info.format)

    def thumbnail(self, image_id: str) -> Path:
        """A small re-encoded copy (WebP, no metadata), made once; what a browser sees. Raises ImageError where it cannot be made."""
        info = self.image(image_id)
        path = self.blobs.thumbnail(info.sha256)
        if not _whole(path):
            found = shared_decoder().inspect(self.blobs.original(info.sha256, info.format))
            write_atomic(path, _copy_of(info, found if isinstance(found, Refused) else found.thumbnail))
        return path

    def view(self, image_id: str) -> Path:
        """A larger re-encoded copy (at most 1024 pixels), made once. Raises ImageError where it cannot be made."""
        info = self.image(image_id)
        path = self.blobs.view(info.sha256)
        if not _whole(path):
            write_atomic(path, _copy_of(info, shared_decoder().view(self.blobs.original(info.sha256, info.format))))
        return path

    def dataset(self) -> Dataset:
        """A snapshot of all labelled images to learn from, as training wants it, and of the pictures of something else."""
        with self.database.read() as connection:
            infos, found = classes.all_classes(connection), images.everything(connection)
            others = images.everything(connection, role=OTHER_ROLE)
        return self._snapshot(infos, found, others)

    def test_dataset(self) -> Dataset | None:
        """A snapshot of the person's own test images, under the same classes; None where there are none."""
        with self.database.read() as connection:
            infos, found = classes.all_classes(connection), images.everything(connection, TEST)
        return self._snapshot(infos, found, []) if found else None

    def _snapshot(self, infos: list[ClassInfo], found: list[ImageInfo], others: list[ImageInfo]) -> Dataset:
        label = {info.id: place for place, info in enumerate(infos)}

        def items(some: list[ImageInfo]) -> tuple[Item, ...]:
            paths = ((i, str(self.blobs.original(i.sha256, i.format))) for i in some)
            return tuple(Item(path, label.get(i.class_id, NO_CLASS), i.sha256, i.phash, i.id) for i, path in paths)

        return Dataset(tuple(i.name for i in infos), tuple(i.id for i in infos), items(found), items(others))


def _whole(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _copy_of(info: ImageInfo, found: bytes | Refused) -> bytes:
    if isinstance(found, Refused):
        raise ImageError(f"{info.original_name} cannot be shown: {found.reason}.", "Delete it from the project and add it again.")
    return found
