"""All projects of one data home: projects/<id>/ for those in use, trash/<id>@<time>/ for those thrown away."""

from __future__ import annotations

import re
import secrets
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from blocklora.errors import ProjectError
from blocklora.projects import archive_in, cleaning, copies
from blocklora.projects.database import FILE_NAME, Database
from blocklora.projects.home import default_home
from blocklora.projects.names import clean_name, free_name, name_key, slug
from blocklora.projects.plans import Progress
from blocklora.projects.project import Project
from blocklora.projects.run_files import finished_runs, rebind
from blocklora.projects.sources import Skipped

_TRASHED = re.compile(r"(.+)@(\d+)")

# Both tell what there is to learn from, as everywhere in the window.
_OWN = "class_id IN (SELECT id FROM classes WHERE role = '')"
_COUNT_IMAGES = f"SELECT COUNT(*) FROM images WHERE deleted_at IS NULL AND part = '' AND {_OWN}"
_COUNT_CLASSES = "SELECT COUNT(*) FROM classes WHERE deleted_at IS NULL AND role = ''"


@dataclass(frozen=True)
class ProjectInfo:
    """A project in a list. `modified`: seconds since the epoch. `problem`: why it cannot be opened, else ''."""

    id: str
    name: str
    path: Path
    n_images: int
    n_classes: int
    modified: float
    problem: str = ""


@dataclass(frozen=True)
class TrashedProject:
    """A project in the trash: `id` for `Library.restore`, when it was put there (seconds since the epoch)."""

    id: str
    name: str
    trashed: float


_NAMING = threading.Lock()
"""Held from the look at which names are taken until another one is."""

# Inside the class below, `list` is the method.
_Projects: TypeAlias = list[ProjectInfo]
_Trashed: TypeAlias = list[TrashedProject]
_Skipped: TypeAlias = list[Skipped]


class Library:
    """The projects below the data home `home` (default: see `default_home`)."""

    def __init__(self, home: Path | None = None) -> None:
        self.home = Path(home).expanduser().absolute() if home is not None else default_home()
        self.projects = self.home / "projects"
        self.trash_dir = self.home / "trash"
        self.staging = self.home / "staging"

    def list(self) -> _Projects:
        """All projects, latest change first. One that cannot be opened is listed with its problem."""
        folders = self.projects.iterdir() if self.projects.is_dir() else ()
        found = [_info(folder) for folder in folders if (folder / FILE_NAME).is_file()]
        return sorted(found, key=lambda info: (-info.modified, info.name))

    def create(self, name: str) -> Project:
        """A new, empty project. Raises ProjectError for an empty, over-long or taken name."""
        cleaned = clean_name(name, "project")
        with _NAMING:
            if name_key(cleaned) in self._names():
                raise ProjectError(f"There is already a project named {cleaned!r}.", "Choose another name, or open that one.")
            return Project.create(self._new_folder(cleaned), cleaned, self.staging)

    def open(self, project_id: str) -> Project:
        """The project of this id. Raises ProjectError where there is none, or it is damaged or newer than this program."""
        project = Project.open(self.folder(project_id), self.staging)
        cleaning.clean_sometimes(project.database, project.blobs)
        return project

    def rename(self, project_id: str, name: str) -> None:
        """Another name for a project; its id stays. Raises ProjectError for an empty, over-long or taken name."""
        project = self.open(project_id)
        with _NAMING:
            if name_key(clean_name(name, "project")) in self._names() - {name_key(project.name)}:
                raise ProjectError(f"There is already a project named {name.strip()!r}.", "Choose another name.")
            project.rename(name)

    def duplicate(self, project_id: str, name: str | None = None) -> Project:
        """A full copy (images, settings, finished runs) under another name, by default 'NAME (2)'."""
        source = self.open(project_id)
        wanted = clean_name(name or source.name, "project")
        return self._adopt(copies.duplicate(source, self._building(), wanted), wanted)

    def add_folder(self, path: Path | str) -> Project:
        """A copy of a project folder that lies elsewhere on this machine (a copied or shared one), under its own name where that is free.

        Raises:
            ProjectError: there is no project, it is damaged, or newer than this program.
        """
        source = Project.open(Path(path).expanduser(), self.staging)
        return self._adopt(copies.duplicate(source, self._building(), source.name), source.name)

    def export_zip(self, project_id: str, target: Path | str, progress: Progress | None = None) -> Path:
        """Write the whole project as one zip to the file `target` (atomically); the path written."""
        return copies.export_zip(self.open(project_id), Path(target), progress)

    def import_zip(self, path: Path | str, progress: Progress | None = None, skipped: _Skipped | None = None) -> Project:
        """A new project from a zip that `export_zip` wrote, or a stranger says so: every image is decoded and hashed again.

        What is left out is added to `skipped`.

        Raises:
            ImportRefused: no such archive, damaged, newer than this program, or beyond the caps.
        """
        built = archive_in.import_zip(Path(path), self._building(), progress, skipped if skipped is not None else [])
        return self._adopt(built, built.name)

    # ---- trash

    def trash(self, project_id: str) -> str:
        """Put a project into the trash; the id that `restore` takes. A run in progress must be stopped first (the caller sees to it)."""
        folder = self.folder(project_id)
        self.trash_dir.mkdir(parents=True, exist_ok=True)
        trash_id = f"{folder.name}@{int(time.time() * 1000)}"
        _move(folder, self.trash_dir / trash_id)
        return trash_id

    def trashed(self) -> _Trashed:
        """What is in the trash, latest first."""
        folders = self.trash_dir.iterdir() if self.trash_dir.is_dir() else ()
        matches = [(folder, _TRASHED.fullmatch(folder.name)) for folder in folders]
        known = [(_info(folder), match) for folder, match in matches if match]
        found = [TrashedProject(info.id, match[1] if info.problem else info.name, int(match[2]) / 1000) for info, match in known]
        return sorted(found, key=lambda entry: -entry.trashed)

    def restore(self, trash_id: str) -> Project:
        """Take a project out of the trash; it gets another name where its own is taken by now.

        Raises:
            ProjectError: it is not there; or it is back, and cannot be opened.
        """
        folder, match = self._trashed_folder(trash_id)
        home = self.projects / match
        target = home if not home.exists() else self._new_folder(match)
        target.parent.mkdir(parents=True, exist_ok=True)
        with _NAMING:
            name = free_name(_info(folder).name, self._names())
            _move(folder, target)
            project = Project.open(target, self.staging)
            if project.name != name:
                project.rename(name)
        return project

    def delete_forever(self, trash_id: str) -> None:
        """Remove one project in the trash from the disk."""
        shutil.rmtree(self._trashed_folder(trash_id)[0])

    # ---- folders

    def folder(self, project_id: str) -> Path:
        """The folder of a project, also of one that cannot be opened; an id is one plain folder name, never a way to elsewhere.

        Raises:
            ProjectError: there is none.
        """
        folder = self.projects / project_id
        try:
            there = (folder / FILE_NAME).is_file()
        except OSError:  # a name that no file system takes
            there = False
        if not project_id or folder.name != project_id or project_id in (".", "..") or not there:
            raise ProjectError("This project is no longer there.", "It may have been deleted in another window; choose another project.")
        return folder

    def _trashed_folder(self, trash_id: str) -> tuple[Path, str]:
        match, folder = _TRASHED.fullmatch(trash_id), self.trash_dir / trash_id
        if match is None or folder.name != trash_id or not folder.is_dir():
            raise ProjectError("This project is no longer in the trash.", "It may have been restored or deleted already.")
        return folder, match[1]

    def _new_folder(self, name: str) -> Path:
        return self.projects / f"{slug(name)}-{secrets.token_hex(3)}"

    def _building(self) -> Path:
        """A folder to build a project in, outside the list until it is whole."""
        self.staging.mkdir(parents=True, exist_ok=True)
        return self.staging / f"project-{secrets.token_hex(8)}"

    def _adopt(self, built: Project, name: str) -> Project:
        """Move a finished project from where it was built into the list, under that name or, where it is taken, one like it."""
        with _NAMING:
            name = free_name(name, self._names())
            target = self._new_folder(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            built.rename(name)
            try:
                for run in finished_runs(built.path):
                    rebind(run, self.home, target.name, name)
            except ProjectError:
                shutil.rmtree(built.path, ignore_errors=True)
                raise
            _move(built.path, target)
        return Project.open(target, self.staging)

    def _names(self) -> set[str]:
        return {name_key(info.name) for info in self.list()}


def _move(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError as error:
        raise ProjectError(f"The project's folder cannot be moved ({error.strerror}).", "Close what uses it and try again.") from error


def _info(folder: Path) -> ProjectInfo:
    index = folder / FILE_NAME
    try:
        modified = max(path.stat().st_mtime for path in (index, index.with_name(index.name + "-wal")) if path.exists())
        with Database.open(index).read() as connection:
            name = str(connection.execute("SELECT name FROM project").fetchone()[0])
            n_images = int(connection.execute(_COUNT_IMAGES).fetchone()[0])
            n_classes = int(connection.execute(_COUNT_CLASSES).fetchone()[0])
    except ProjectError as error:
        return ProjectInfo(folder.name, folder.name, folder, 0, 0, index.stat().st_mtime, str(error))
    except (OSError, ValueError, TypeError):
        return ProjectInfo(folder.name, folder.name, folder, 0, 0, 0.0, "It cannot be read.")
    return ProjectInfo(folder.name, name, folder, n_images, n_classes, modified)
