"""Bringing pictures into a project in two steps: a plan that changes nothing, and its acceptance, which does all of it or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from blocklora.errors import ImportRefused
from blocklora.projects import classes, content, staging
from blocklora.projects.accepting import accept
from blocklora.projects.archives import from_zip
from blocklora.projects.content import Place
from blocklora.projects.decoder import Decoder, Inspected, Refused
from blocklora.projects.decoding import WORKERS, map_decoders
from blocklora.projects.formats import FORMATS, mislabelled
from blocklora.projects.limits import DEFAULT_LIMITS, IntakeLimits
from blocklora.projects.names import clean_name, name_key
from blocklora.projects.plans import ImportPlan, ImportResult, Note, PlannedImage, Progress
from blocklora.projects.project import Project
from blocklora.projects.records import TEST, TRAINING
from blocklora.projects.sources import Candidate, Skipped, Source, from_bytes, from_files, from_folder
from blocklora.projects.tables import from_csv

__all__ = ["ImportPlan", "ImportResult", "accept", "discard", "plan_bytes", "plan_csv", "plan_files", "plan_folder", "plan_zip"]

FEW = 6
"""So many files or fewer are decoded by one child: starting a second would take longer."""


def plan_files(
    project: Project,
    paths: Sequence[Path | str | tuple[str, Path | str]],
    *,
    class_id: str | None = None,
    class_name: str | None = None,
    part: str = TRAINING,
    progress: Progress | None = None,
    limits: IntakeLimits = DEFAULT_LIMITS,
) -> ImportPlan:
    """A plan for files that people picked or dropped, all for one class, existing (`class_id`) or named (`class_name`).

    A path may come with the name that the person knows it by: (name, path).

    Raises:
        ImportRefused: no class given, or too many files.
        ProjectError: no such class, or the name cannot be one.
    """
    pairs = [(p[0], Path(p[1])) if isinstance(p, tuple) else (Path(p).name, Path(p)) for p in paths]
    if len(pairs) > limits.files:
        raise ImportRefused(f"{len(pairs):,} files at once; at most {limits.files:,} are allowed.", "Add them in parts.")
    target = _target(project, class_id, class_name)
    return _plan(project, lambda folder: from_files(pairs, target), class_id, progress, limits, part)


def plan_bytes(
    project: Project,
    pictures: Sequence[tuple[str, bytes]],
    *,
    class_id: str | None = None,
    class_name: str | None = None,
    progress: Progress | None = None,
    limits: IntakeLimits = DEFAULT_LIMITS,
) -> ImportPlan:
    """A plan for pictures that never were files (webcam burst, clipboard): (name, encoded bytes) each. Raises as `plan_files`."""
    target = _target(project, class_id, class_name)
    return _plan(project, lambda folder: from_bytes(pictures, target, folder), class_id, progress, limits)


def plan_zip(
    project: Project,
    path: Path | str,
    *,
    loose_class: str = "",
    part: str = TRAINING,
    progress: Progress | None = None,
    limits: IntakeLimits = DEFAULT_LIMITS,
) -> ImportPlan:
    """A plan for a zip whose folders are classes; pictures in no folder go to `loose_class` where it is given.

    With `part` TEST they are to test with: only folders of classes that the project has are taken.

    Raises:
        ImportRefused: no zip, damaged, or beyond the caps on members, size and density.
    """
    return _plan(project, lambda folder: from_zip(Path(path), folder, loose_class, limits), None, progress, limits, part)


def plan_folder(
    project: Project,
    path: Path | str,
    *,
    local_mode: bool,
    allowed_roots: Sequence[Path] | None = None,
    loose_class: str = "",
    part: str = TRAINING,
    progress: Progress | None = None,
) -> ImportPlan:
    """A plan for a folder of class folders on this machine.

    `local_mode` says that the person asking sits at this machine; `allowed_roots` (default: their home folder) bounds what may be read.
    `part` as for `plan_zip`.

    Raises:
        ImportRefused: not local, outside the allowed folders, no folder, or too many files.
    """
    folder = allowed_folder(path, local_mode, allowed_roots)
    return _plan(project, lambda _: from_folder(folder, loose_class), None, progress, DEFAULT_LIMITS, part)


def plan_csv(
    project: Project,
    path: Path | str,
    base_folder: Path | str | None = None,
    *,
    local_mode: bool,
    allowed_roots: Sequence[Path] | None = None,
    part: str = TRAINING,
    progress: Progress | None = None,
) -> ImportPlan:
    """A plan for a table of (path, label); paths are relative to `base_folder`, by default the folder the table lies in.

    Raises:
        ImportRefused: not local, outside the allowed folders, or no table that can be read.
    """
    base = allowed_folder(base_folder if base_folder is not None else Path(path).parent, local_mode, allowed_roots)
    return _plan(project, lambda _: from_csv(Path(path), base), None, progress, DEFAULT_LIMITS, part)


def discard(plan: ImportPlan) -> None:
    """Forget a plan; nothing of it was in the project."""
    plan.close()


# ---- making a plan


def _target(project: Project, class_id: str | None, class_name: str | None) -> str:
    """The name of the class that files are for."""
    if class_id is not None:
        with project.database.read() as connection:
            return str(classes.living(connection, class_id)["name"])
    if class_name is None:
        raise ImportRefused("No class is chosen for these images.", "Choose a class or type a name for a new one.")
    return clean_name(class_name)


def allowed_folder(path: Path | str, local_mode: bool, allowed_roots: Sequence[Path] | None) -> Path:
    """The real folder at `path`, where it may be used: by a person who sits at this machine, in `allowed_roots` (default: their home).

    Raises:
        ImportRefused: not local, outside the allowed folders, or no folder.
    """
    if not local_mode:
        raise ImportRefused("Folders are only read where the studio runs on your own machine.", "Upload a zip instead.")
    roots = [Path.home()] if allowed_roots is None else list(allowed_roots)
    try:
        folder = Path(path).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise ImportRefused(f"{str(path)[:200]!r} is not a folder.", "Give the path of a folder on this machine.") from error
    if not any(folder.is_relative_to(root.resolve()) for root in roots):
        raise ImportRefused(f"{folder} lies outside {' and '.join(map(str, roots))}.", "Move the folder there, or make a zip of it.")
    if not folder.is_dir():
        raise ImportRefused(f"{folder} is not a folder.", "Give the path of a folder on this machine.")
    return folder


def _plan(
    project: Project,
    make: Callable[[Path], Source],
    class_id: str | None,
    progress: Progress | None,
    limits: IntakeLimits,
    part: str = TRAINING,
) -> ImportPlan:
    folder = staging.new_folder(project.staging)
    plan = ImportPlan(folder, target_id=class_id, part=part)
    try:
        source = make(folder)
        present = content.present(project)
        plan.existing = frozenset(name_key(info.name) for info in project.classes())
        for done, (entry, found) in enumerate(_inspected(source, limits)):
            _place(plan, entry, found, present, done)
            if progress:
                progress(done + 1, source.total)
        content.note_leaks(project, plan)
    except BaseException:
        plan.close()
        raise
    return plan


def _inspected(source: Source, limits: IntakeLimits) -> Iterator[tuple[Candidate | Skipped, Inspected | Refused | None]]:
    def work(decoder: Decoder, entry: Candidate | Skipped) -> Inspected | Refused | None:
        return decoder.inspect(entry.path) if isinstance(entry, Candidate) else None

    return map_decoders(work, source.entries, 1 if source.total <= FEW else WORKERS, limits)


def _place(plan: ImportPlan, entry: Candidate | Skipped, found: Inspected | Refused | None, present: dict[str, Place], number: int) -> None:
    """Put one inspected file where it belongs in the plan: an image, or left out. `present` learns it."""
    if isinstance(entry, Skipped):
        plan.skipped.append(entry)
        return
    if not isinstance(found, Inspected):
        assert found is not None
        plan.skipped.append(Skipped(entry.name, found.reason, found.kind))
        return
    if plan.part == TEST and plan.target_id is None and name_key(entry.class_name) not in plan.existing:
        plan.skipped.append(Skipped(entry.name, f"the project has no class {entry.class_name!r}, so it tests nothing", "unlabelled"))
        return
    here = Place(entry.class_name, plan.part)
    elsewhere = present.setdefault(found.sha256, here)
    if elsewhere is not here:
        plan.skipped.append(Skipped(entry.name, content.reason(elsewhere, here), "duplicate"))
        return
    thumbnail = plan.folder / f"{number:06d}.webp"
    thumbnail.write_bytes(found.thumbnail)
    plan.images.append(PlannedImage(entry.name, entry.class_name, entry.path, replace(found, thumbnail=b""), thumbnail))
    note = mislabelled(entry.name, found.format)
    if note:
        plan.notes.append(Note(entry.name, note))
    if found.frames > 1:
        title = FORMATS[found.format].title
        plan.notes.append(Note(entry.name, f"{title} with {found.frames} pictures in it; the first is used"))
