"""Datasets without a project, for the command line: a folder of class folders, or a zip of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from blocklora.errors import ImportRefused
from blocklora.projects.archives import from_zip
from blocklora.projects.database import FILE_NAME
from blocklora.projects.dataset import NO_CLASS, Dataset, Item
from blocklora.projects.decoder import Decoder, Inspected, Refused
from blocklora.projects.decoding import WORKERS, map_decoders
from blocklora.projects.limits import DEFAULT_LIMITS, IntakeLimits
from blocklora.projects.names import name_key
from blocklora.projects.plans import Progress
from blocklora.projects.project import Project
from blocklora.projects.sources import Candidate, Skipped, Source, from_folder


def read_class_folders(
    folder: Path | str, progress: Progress | None = None, keep_duplicates: bool = False, limits: IntakeLimits = DEFAULT_LIMITS
) -> tuple[Dataset, list[Skipped]]:
    """The labelled images of a folder of class folders, classes sorted by name, and what was left out and why.

    A project's folder gives that project's images, its classes in their own order.

    With `keep_duplicates` the same picture may come again (measuring on a test folder counts every file).

    Raises:
        ImportRefused: no folder, too many files, or no picture in it.
        ProjectError: a project that is damaged or newer than this program.
    """
    root = Path(folder).expanduser().resolve()
    if (root / FILE_NAME).is_file():
        return Project.open(root).dataset(), []
    return _read(from_folder(root, limits=limits), str(folder), progress, keep_duplicates)


def read_zip(
    path: Path | str, work_dir: Path, progress: Progress | None = None, keep_duplicates: bool = False, limits: IntakeLimits = DEFAULT_LIMITS
) -> tuple[Dataset, list[Skipped]]:
    """The same of a zip, its pictures unpacked into `work_dir` (made where missing), which must outlive the dataset.

    Raises:
        ImportRefused: no zip, beyond the caps, or no picture in it.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    return _read(from_zip(Path(path), work_dir, limits=limits), str(path), progress, keep_duplicates)


def read_loose(
    path: Path | str, work_dir: Path, progress: Progress | None = None, limits: IntakeLimits = DEFAULT_LIMITS
) -> tuple[tuple[Item, ...], list[Skipped]]:
    """The pictures of a folder or a zip whatever folders they lie in, as pictures of none of the classes; and what was left out.

    Raises:
        ImportRefused: no folder or zip, beyond the caps, or no picture in it.
    """
    root = Path(path).expanduser()
    if root.is_file():
        work_dir.mkdir(parents=True, exist_ok=True)
        source = from_zip(root, work_dir, "loose", limits)
    else:
        source = from_folder(root.resolve(), "loose", limits)
    dataset, skipped = _read(source, str(path), progress, keep_duplicates=False)
    return tuple(replace(item, label=NO_CLASS) for item in dataset.items), skipped


def _read(source: Source, where: str, progress: Progress | None, keep_duplicates: bool) -> tuple[Dataset, list[Skipped]]:
    def work(decoder: Decoder, entry: Candidate | Skipped) -> Inspected | Refused | None:
        return decoder.inspect(entry.path) if isinstance(entry, Candidate) else None

    taken: list[tuple[Candidate, Inspected]] = []
    skipped: list[Skipped] = []
    first: dict[str, Candidate] = {}
    for done, (entry, found) in enumerate(map_decoders(work, source.entries, WORKERS)):
        if isinstance(entry, Skipped):
            skipped.append(entry)
        elif isinstance(found, Refused):
            skipped.append(Skipped(entry.name, found.reason, found.kind))
        elif found is not None:
            before = first.setdefault(found.sha256, entry)
            if before is entry or keep_duplicates:
                taken.append((entry, found))
            else:
                skipped.append(Skipped(entry.name, f"the same picture as {before.name}", "duplicate"))
        if progress:
            progress(done + 1, source.total)
    if not taken:
        raise ImportRefused(f"No picture was found in {where}.", "It should hold one folder of pictures for each class.")
    return _dataset(taken), skipped


def _dataset(taken: list[tuple[Candidate, Inspected]]) -> Dataset:
    names: dict[str, str] = {}
    for entry, _ in taken:
        names.setdefault(name_key(entry.class_name), entry.class_name)
    order = sorted(names, key=lambda key: names[key])
    label = {key: place for place, key in enumerate(order)}
    items = (
        Item(str(entry.path), label[name_key(entry.class_name)], found.sha256, found.phash, found.sha256[:16]) for entry, found in taken
    )
    class_names = tuple(names[key] for key in order)
    return Dataset(class_names, class_names, tuple(items))
