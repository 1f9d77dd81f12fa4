"""A project from a zip that claims to be one. Everything in it is a stranger's: read as plain JSON, checked field by field, images
decoded and hashed again, files taken by known names only. No database and no pickle is ever opened."""

from __future__ import annotations

import json
import re
import shutil
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from blocklora.errors import ImportRefused, ProjectError
from blocklora.projects import archive_runs, blobs, classes
from blocklora.projects.archives import MemberError, open_archive, refuse_member, unpack
from blocklora.projects.blobs import SHA256
from blocklora.projects.copies import FORMAT, MANIFEST, VERSION
from blocklora.projects.decoder import Decoder, Inspected, Refused
from blocklora.projects.decoding import WORKERS, map_decoders
from blocklora.projects.limits import DEFAULT_LIMITS, GB, MB, IntakeLimits, words
from blocklora.projects.names import clean_name, shown
from blocklora.projects.plans import Progress
from blocklora.projects.project import Project
from blocklora.projects.records import OTHER_ID, TEST, TRAINING, new_id
from blocklora.projects.run_files import RUN_FILES
from blocklora.projects.sources import Skipped

LIMITS = replace(DEFAULT_LIMITS, files=100_000, archive_members=200_000, archive_directory_bytes=64 * MB, archive_total_bytes=32 * GB)
MANIFEST_BYTES = 128 * MB

_ID = re.compile(r"[ci]_[0-9a-f]{8,32}")


@dataclass(frozen=True)
class Entry:
    """An image as the manifest describes it, checked: the member it lies in, its hash, its class's place (None: something else), id, name,
    time, and the part of the class that it is in."""

    file: str
    sha256: str
    place: int | None
    id: str
    name: str
    added: float
    part: str = TRAINING


def import_zip(path: Path, target: Path, progress: Progress | None, skipped: list[Skipped], limits: IntakeLimits = LIMITS) -> Project:
    """Build a project in the new folder `target` from the archive at `path`; what is left out goes to `skipped`.

    Raises:
        ImportRefused: no project archive, damaged, newer than this program, or beyond the caps.
    """
    try:
        with open_archive(path, limits) as archive:
            members = _members(archive, limits, skipped)
            total = sum(member.file_size for member in members.values())
            if total > shutil.disk_usage(target.parent).free // 2:
                raise ImportRefused(f"There is no room to unpack {words(total)}.", "Free some space on the disk and try again.")
            manifest = _manifest(archive, members, target)
            project = Project.create(target, _name(manifest), target.parent)
            _fill(project, archive, members, manifest, skipped, progress)
            runs = archive_runs.runs(project, archive, members, skipped)
            archive_runs.exports(project, archive, members, skipped)
            archive_runs.settings(project, manifest, runs)
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise
    return project


def _members(archive: zipfile.ZipFile, limits: IntakeLimits, skipped: list[Skipped]) -> dict[str, zipfile.ZipInfo]:
    """Members by name, without those that are unsafe (links, ways out). They are only ever asked for by names made here."""
    large = replace(limits, image_bytes=max(RUN_FILES.values()))
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        refused = None if member.is_dir() or not member.file_size else refuse_member(member, large)
        if refused is not None:
            skipped.append(refused)
        elif not member.is_dir():
            members[member.filename] = member
    return members


def _manifest(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], target: Path) -> dict[str, Any]:
    if MANIFEST not in members:
        raise ImportRefused(
            "This zip is not a project archive.", "To add a zip of pictures, open or make a project first and import it on the Images tab."
        )
    try:
        values = json.loads(_text(archive, members[MANIFEST], MANIFEST_BYTES, target.with_name(target.name + ".json")))
        ok = isinstance(values, dict) and values.get("format") == FORMAT and isinstance(values.get("version"), int)
    except (ValueError, RecursionError, MemberError):
        ok = False
    if not ok:
        raise ImportRefused("This zip's description of the project cannot be read.", "Export the project again where it came from.")
    if values["version"] > VERSION:
        raise ImportRefused(
            f"This archive was written by a newer version (format {values['version']}; this program knows up to {VERSION}).",
            "Update Block-LoRA Studio and import it again.",
        )
    return values


def _text(archive: zipfile.ZipFile, member: zipfile.ZipInfo, cap: int, scratch: Path) -> str:
    try:
        unpack(archive, member, scratch, cap)
        return scratch.read_text(encoding="utf-8")
    finally:
        scratch.unlink(missing_ok=True)


def _name(manifest: dict[str, Any]) -> str:
    try:
        return clean_name(str(manifest.get("name", ""))[:1000], "project")
    except ProjectError:
        return "Imported project"


# ---- classes and images


def _fill(
    project: Project,
    archive: zipfile.ZipFile,
    members: dict[str, zipfile.ZipInfo],
    manifest: dict[str, Any],
    skipped: list[Skipped],
    progress: Progress | None,
) -> None:
    labels = _classes(project, manifest, skipped)
    entries = list(_entries(manifest, len(labels), members, skipped))
    scratch = project.path / "incoming"
    scratch.mkdir()

    def unpacked() -> Iterator[tuple[Entry, Path | Refused]]:
        for number, entry in enumerate(entries):
            target = scratch / f"{number:06d}.bin"
            try:
                unpack(archive, members[entry.file], target, LIMITS.image_bytes)
                yield entry, target
            except MemberError as error:
                yield entry, Refused(error.kind, str(error))

    def work(decoder: Decoder, job: tuple[Entry, Path | Refused]) -> Inspected | Refused:
        return job[1] if isinstance(job[1], Refused) else decoder.inspect(job[1])

    written: list[tuple[Entry, Inspected]] = []
    for done, ((entry, path), found) in enumerate(map_decoders(work, unpacked(), WORKERS)):
        if isinstance(found, Inspected) and isinstance(path, Path):
            if found.sha256 == entry.sha256:
                project.blobs.put(path, found.sha256, found.format)
                _keep_thumbnail(project, found)
                written.append((entry, found))
            else:
                skipped.append(Skipped(entry.name, "its content is not what the archive says", "corrupt"))
            path.unlink()
        elif isinstance(found, Refused):
            skipped.append(Skipped(entry.name, found.reason, found.kind))
        if progress:
            progress(done + 1, len(entries))
    shutil.rmtree(scratch)
    blobs.flush(project.blobs.original(found.sha256, found.format) for _, found in written)
    _insert(project, labels, written)


def _classes(project: Project, manifest: dict[str, Any], skipped: list[Skipped]) -> list[str | None]:
    """Class ids in the manifest's order (None where the entry is no class); ids are kept where they are ours, runs refer to them."""
    ids: list[str | None] = []
    seen: set[str] = set()
    with project.database.write() as connection:
        for entry in _list(manifest, "classes")[:10_000]:
            name = str(entry.get("name", ""))
            try:
                made = classes.add(connection, name)
            except ProjectError as error:
                skipped.append(Skipped(shown(name), f"this class is left out: {error.message}", "unlabelled"))
                ids.append(None)
                continue
            wanted = str(entry.get("id", ""))
            if _ID.fullmatch(wanted) and wanted.startswith("c_") and wanted not in seen:
                connection.execute("UPDATE classes SET id = ? WHERE id = ?", (wanted, made))
                made = wanted
            seen.add(made)
            ids.append(made)
    return ids


def _entries(manifest: dict[str, Any], n_classes: int, members: dict[str, zipfile.ZipInfo], skipped: list[Skipped]) -> Iterator[Entry]:
    seen: set[str] = set()
    ids: set[str] = set()
    for values in _list(manifest, "images")[: LIMITS.files]:
        name = shown(str(values.get("name", "")))
        sha256, file, place = str(values.get("sha256", "")), str(values.get("file", "")), values.get("class")
        else_, part = "class" in values and place is None, values.get("part", TRAINING)
        known = else_ or (isinstance(place, int) and not isinstance(place, bool) and 0 <= place < n_classes)
        if not known or part not in ((TRAINING,) if else_ else (TRAINING, TEST)) or not SHA256.fullmatch(sha256):
            skipped.append(Skipped(name, "its entry in the archive names no image or no class", "corrupt"))
            continue
        if Path(file).stem != sha256 or not file.startswith("images/") or sha256 in seen:
            skipped.append(Skipped(name, "its entry in the archive contradicts itself", "corrupt"))
            continue
        if file not in members:
            skipped.append(Skipped(name, "its file is not in the archive", "missing"))
            continue
        seen.add(sha256)
        wanted = str(values.get("id", ""))
        own = wanted if _ID.fullmatch(wanted) and wanted.startswith("i_") and wanted not in ids else new_id("i")
        ids.add(own)
        yield Entry(file, sha256, place, own, name, _time(values.get("added")), part)


def _insert(project: Project, labels: list[str | None], written: list[tuple[Entry, Inspected]]) -> None:
    def home(entry: Entry) -> str | None:
        return OTHER_ID if entry.place is None else labels[entry.place]

    with project.database.write() as connection:
        connection.executemany(
            "INSERT INTO images (id, class_id, sha256, format, width, height, bytes, phash, original_name, added, part) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (entry.id, home(entry), f.sha256, f.format, f.width, f.height, f.size, f.phash, entry.name, entry.added, entry.part)
                for entry, f in written
                if home(entry) is not None
            ],
        )


def _keep_thumbnail(project: Project, found: Inspected) -> None:
    path = project.blobs.thumbnail(found.sha256)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(found.thumbnail)


def _list(manifest: dict[str, Any], key: str) -> list[dict[str, Any]]:
    values = manifest.get(key)
    return [v if isinstance(v, dict) else {} for v in values] if isinstance(values, list) else []


def _time(value: Any) -> float:
    ok = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= time.time()
    return float(value) if ok else time.time()
