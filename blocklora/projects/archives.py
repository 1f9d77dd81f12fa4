"""Zip files from strangers: listed and unpacked within caps, under names of our own, whatever their table of contents claims."""

from __future__ import annotations

import errno
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from blocklora.errors import ImportRefused
from blocklora.files import CHUNK
from blocklora.projects.formats import HEAD
from blocklora.projects.limits import DEFAULT_LIMITS, IntakeLimits, words
from blocklora.projects.names import shown
from blocklora.projects.sources import Candidate, Skipped, Source, common_top, is_hidden, label_of, refuse_head

UTF8 = 0x800  # flag of a member: its name is in UTF-8
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, struct.error, ValueError)


class MemberError(Exception):
    """One member cannot be unpacked; the message is the reason for people, `kind` that for programs."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


@contextmanager
def open_archive(path: Path, limits: IntakeLimits = DEFAULT_LIMITS) -> Iterator[zipfile.ZipFile]:
    """Open a zip after weighing its table of contents.

    Raises:
        ImportRefused: no zip, damaged, more members or bytes than allowed, or as dense as only bombs are.
    """
    try:
        members, directory = _announced(path)
        if members > limits.archive_members or directory > limits.archive_directory_bytes:
            raise _too_many(path, members, "members", limits.archive_members)
        archive = _named_as_meant(zipfile.ZipFile(path))
    except _BROKEN as error:
        raise ImportRefused(f"{path.name} is not a zip file that can be read.", "Make a new zip and try again.") from error
    with archive:
        _weigh(archive, path, limits)
        yield archive


def _named_as_meant(archive: zipfile.ZipFile) -> zipfile.ZipFile:
    """The archive with names in UTF-8 where their writer did not say that they are, as macOS's Finder does: zipfile reads such bytes as
    those of the first PCs. What is no UTF-8 stays as it was read.
    """
    for member in archive.infolist():
        if not member.flag_bits & UTF8:
            with suppress(UnicodeError):
                member.filename = member.filename.encode("cp437").decode("utf-8")
    return archive


def _announced(path: Path) -> tuple[int, int]:
    """Members and size of the table of contents, as the end record says: before zipfile reads that table into memory."""
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        start = max(0, size - 65_557 - 56 - 20)
        stream.seek(start)
        tail = stream.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise zipfile.BadZipFile("no end record")
    _, _, _, _, members, directory, _, _ = _END.unpack_from(tail, at)
    at64 = tail.rfind(b"PK\x06\x06")
    if at64 >= 0 and len(tail) - at64 >= _END64.size:
        fields = _END64.unpack_from(tail, at64)
        members, directory = max(members, fields[7]), max(directory, fields[8])
    return members, directory


def _weigh(archive: zipfile.ZipFile, path: Path, limits: IntakeLimits) -> None:
    members = archive.infolist()
    total, packed = sum(m.file_size for m in members), max(1, path.stat().st_size)
    if len(members) > limits.archive_members:
        raise _too_many(path, len(members), "members", limits.archive_members)
    if total > limits.archive_total_bytes:
        raise ImportRefused(
            f"{path.name} unpacks to {words(total)}; at most {words(limits.archive_total_bytes)} are allowed.",
            "Split it into several zips.",
        )
    if total > limits.archive_ratio_from and total > packed * limits.archive_ratio:
        raise ImportRefused(
            f"{path.name} has {words(packed)} and would unpack to {words(total)}: no pictures pack that well, so it was not opened.",
            "Make a new zip of the pictures themselves.",
        )


def _too_many(path: Path, found: int, what: str, allowed: int) -> ImportRefused:
    return ImportRefused(f"{path.name} has {found:,} {what}; at most {allowed:,} are allowed.", "Split it into several zips.")


def unsafe_name(name: str) -> str:
    """Why a member's name must not be followed ('' where it may): absolute, a drive, or a way out of the folder."""
    plain = name.replace("\\", "/")
    if plain.startswith("/") or (len(plain) > 1 and plain[1] == ":"):
        return "its path starts at the root of a disk"
    if ".." in PurePosixPath(plain).parts:
        return "its path leads out of the zip (..)"
    return "its name is broken" if "\0" in name or not plain.strip("/ .") else ""


def refuse_member(member: zipfile.ZipInfo, limits: IntakeLimits) -> Skipped | None:
    """What a member's entry in the table of contents tells already."""
    name = shown(member.filename)
    unsafe = unsafe_name(member.orig_filename) or unsafe_name(member.filename)
    if unsafe:
        return Skipped(name, f"unsafe: {unsafe}", "unsafe")
    mode = member.external_attr >> 16
    if stat.S_ISLNK(mode):
        return Skipped(name, "unsafe: a link, not a file", "unsafe")
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return Skipped(name, "unsafe: not a regular file", "unsafe")
    if any(is_hidden(part) for part in PurePosixPath(member.filename.replace("\\", "/")).parts):
        return Skipped(name, "hidden file", "hidden")
    if member.flag_bits & 0x1:
        return Skipped(name, "needs a password", "unsupported")
    if member.file_size == 0:
        return Skipped(name, "empty file (0 bytes)", "empty")
    if member.file_size > limits.image_bytes:
        return Skipped(name, f"{words(member.file_size)}; one picture may have at most {words(limits.image_bytes)}", "too large")
    return None


def unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, cap: int) -> None:
    """Write a member's bytes to `target`, at most `cap` of them whatever the member claims.

    Raises:
        MemberError: damaged, needs a password, or larger than `cap`.
    """
    try:
        with archive.open(member) as stream, target.open("wb") as out:
            written = 0
            while piece := stream.read(CHUNK):
                written += len(piece)
                if written > cap:
                    raise MemberError("too large", f"unpacks to more than {words(cap)}")
                out.write(piece)
    except _BROKEN as error:
        target.unlink(missing_ok=True)
        if getattr(error, "errno", None) == errno.ENOSPC:
            raise ImportRefused("The disk is full; nothing was imported.", "Free some space and try again.") from error
        raise MemberError("corrupt", "damaged inside the zip: it cannot be unpacked") from error
    except MemberError:
        target.unlink(missing_ok=True)
        raise


def from_zip(path: Path, staging: Path, loose_class: str = "", limits: IntakeLimits = DEFAULT_LIMITS) -> Source:
    """A zip whose folders are classes, unpacked one picture at a time into `staging` as the source is walked.

    Raises:
        ImportRefused: no zip, damaged, or beyond the caps; or the disk has no room for it.
    """
    with open_archive(path, limits) as archive:
        members = [member for member in archive.infolist() if not member.is_dir() or unsafe_name(member.orig_filename)]
        total = sum(member.file_size for member in members)
    if len(members) > limits.files:
        raise _too_many(path, len(members), "files", limits.files)
    if total > shutil.disk_usage(staging).free // 2:
        raise ImportRefused(f"There is no room to unpack {words(total)}.", "Free some space on the disk and try again.")
    return Source(len(members), _members(path, members, staging, loose_class, limits))


def _members(
    path: Path, members: list[zipfile.ZipInfo], staging: Path, loose_class: str, limits: IntakeLimits
) -> Iterator[Candidate | Skipped]:
    refused = {id(member): refuse_member(member, limits) for member in members}
    ways = {id(member): PurePosixPath(member.filename.replace("\\", "/")) for member in members if refused[id(member)] is None}
    strip = common_top(list(ways.values()))
    with open_archive(path, limits) as archive:
        for number, member in enumerate(members):
            reason = refused[id(member)]
            yield reason or _one(archive, member, staging / f"{number:06d}.bin", label_of(ways[id(member)], strip, loose_class), limits)


def _one(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, label: str | Skipped, limits: IntakeLimits
) -> Candidate | Skipped:
    """Look at a member's first bytes, and unpack it where they are a picture's."""
    name = shown(member.filename)
    try:
        with archive.open(member) as stream:
            refused = refuse_head(name, stream.read(HEAD))
        if refused:
            return refused
        if isinstance(label, Skipped):
            return label
        unpack(archive, member, target, limits.image_bytes)
    except MemberError as error:
        return Skipped(name, str(error), error.kind)
    except _BROKEN:
        return Skipped(name, "damaged inside the zip: it cannot be unpacked", "corrupt")
    return Candidate(name, label, target)
