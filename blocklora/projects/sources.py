"""Where pictures come from: dropped files, bytes, a folder, a table. Each source names its candidates, and what it leaves out and why.

Nothing is decoded here and nothing is written but what must be unpacked, into a staging folder with names of our own.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from blocklora.errors import ImportRefused, ProjectError
from blocklora.projects.formats import FORMATS, HEAD, PICTURE_EXTENSIONS, RAW_EXTENSIONS, READABLE, extension_of, sniff
from blocklora.projects.limits import DEFAULT_LIMITS, IntakeLimits
from blocklora.projects.names import clean_name, shown

CLUTTER = frozenset({"thumbs.db", "desktop.ini", "ehthumbs.db", "__macosx", "$recycle.bin", "system volume information"})


@dataclass(frozen=True)
class Skipped:
    """A file that is left out: its name as people know it, the reason in words, and the kind of reason for programs.

    Kinds: hidden, empty, corrupt, unsupported, too large, huge, slow, crashed, missing, duplicate, unsafe, unlabelled.
    """

    name: str
    reason: str
    kind: str


@dataclass(frozen=True)
class Candidate:
    """A file that may be a picture: its name as people know it, the class it is for, where its bytes lie."""

    name: str
    class_name: str
    path: Path


@dataclass(frozen=True)
class Source:
    """`total` entries, to be walked once: each a candidate, or left out with its reason."""

    total: int
    entries: Iterator[Candidate | Skipped]


def is_hidden(part: str) -> bool:
    """Whether a file or folder of this name is one that systems make and people do not mean."""
    return part.startswith(".") or part.lower() in CLUTTER


def refuse_head(name: str, head: bytes) -> Skipped | None:
    """What the first bytes of a file tell already: empty, or no picture of a kind that is read."""
    if not head:
        return Skipped(name, "empty file (0 bytes)", "empty")
    extension = extension_of(name)
    if extension in RAW_EXTENSIONS:
        return Skipped(name, f"camera raw files ({extension}) are not read; export them as JPEG", "unsupported")
    if sniff(head) is not None:
        return None
    if extension in PICTURE_EXTENSIONS:
        title = next(f.title for f in FORMATS.values() if extension in f.extensions)
        return Skipped(name, f"damaged: named {extension}, but its content is neither {title} nor another kind that is read", "corrupt")
    return Skipped(name, f"not a picture of a kind that is read ({READABLE})", "unsupported")


def from_files(files: Iterable[tuple[str, Path]], class_name: str) -> Source:
    """Files that people picked, all for one class: (name, path) each."""
    listed = list(files)
    return Source(len(listed), (on_disk(Path(name).name, class_name, path) for name, path in listed))


def from_bytes(files: Sequence[tuple[str, bytes]], class_name: str, staging: Path) -> Source:
    """Pictures that never were files (webcam, clipboard): (name, bytes) each, laid into `staging`."""

    def entries() -> Iterator[Candidate | Skipped]:
        for number, (name, data) in enumerate(files):
            refused = refuse_head(shown(name), data[:HEAD])
            if refused:
                yield refused
                continue
            path = staging / f"{number:06d}.bin"
            path.write_bytes(data)
            yield Candidate(shown(name), class_name, path)

    return Source(len(files), entries())


def class_of(path: PurePosixPath, strip: str) -> str:
    """The class of a picture at the relative path `path`: the folder it lies in; '' where that is the top itself."""
    folders = path.parts[:-1]
    if folders[:1] == (strip,) and len(folders) == 1:
        return ""
    return folders[-1] if folders else ""


def common_top(paths: Sequence[PurePosixPath]) -> str:
    """The single folder that everything lies in, where deeper folders hold pictures too (then it is no class); else ''."""
    tops = {path.parts[0] if len(path.parts) > 1 else "" for path in paths}
    if len(tops) != 1 or not any(len(path.parts) > 2 for path in paths):
        return ""
    return tops.pop()


def label_of(path: PurePosixPath, strip: str, loose_class: str) -> str | Skipped:
    """The cleaned class name for a picture at `path`, or why it has none."""
    name = str(path)
    found = class_of(path, strip) or loose_class
    if not found:
        return Skipped(shown(name), "lies in no class folder, so its class is not known", "unlabelled")
    try:
        return clean_name(found)
    except ProjectError as error:
        return Skipped(shown(name), f"its folder's name cannot be a class name: {error.message}", "unlabelled")


def from_folder(folder: Path, loose_class: str = "", limits: IntakeLimits = DEFAULT_LIMITS) -> Source:
    """A folder of class folders, nested as it may be: the folder a picture lies in is its class.

    Raises:
        ImportRefused: not a folder, not readable, or more files than one import may have.
    """
    if not folder.is_dir():
        raise ImportRefused(f"{folder} is not a folder.", "Give the folder that holds one folder of pictures for each class.")
    root = folder.resolve()
    found: list[PurePosixPath | Skipped] = []
    for relative in _walk(root):
        found.append(relative)
        if len(found) > limits.files:
            raise ImportRefused(f"{folder} holds more than {limits.files:,} files.", "Import it in parts.")
    strip = common_top([path for path in found if isinstance(path, PurePosixPath)])

    def entries() -> Iterator[Candidate | Skipped]:
        for path in found:
            if isinstance(path, Skipped):
                yield path
                continue
            label = label_of(path, strip, loose_class)
            entry = on_disk(str(path), label if isinstance(label, str) else "", root / path)
            yield label if isinstance(entry, Candidate) and isinstance(label, Skipped) else entry

    return Source(len(found), entries())


def _walk(root: Path) -> Iterator[PurePosixPath | Skipped]:
    """Relative paths of all files below `root`, sorted; hidden ones and links as skipped, never entered."""
    for current, folders, files in os.walk(root, followlinks=False):
        here = Path(current)
        keep = []
        for name in sorted(folders):
            relative = (here / name).relative_to(root).as_posix()
            if is_hidden(name):
                yield Skipped(shown(relative) + "/", "hidden folder", "hidden")
            elif (here / name).is_symlink():
                yield Skipped(shown(relative) + "/", "a link to another folder; links are not followed", "unsafe")
            else:
                keep.append(name)
        folders[:] = keep
        for name in sorted(files):
            relative = (here / name).relative_to(root).as_posix()
            if is_hidden(name):
                yield Skipped(shown(relative), "hidden file", "hidden")
            elif (here / name).is_symlink() and not (here / name).resolve().is_relative_to(root):
                yield Skipped(shown(relative), "a link to a file outside the folder", "unsafe")
            else:
                yield PurePosixPath(relative)


def on_disk(name: str, class_name: str, path: Path) -> Candidate | Skipped:
    """A file on disk as a candidate, unless its name or first bytes already tell that it is none."""
    if is_hidden(Path(name).name):
        return Skipped(shown(name), "hidden file", "hidden")
    try:
        if not path.is_file():
            return Skipped(shown(name), "the file is not there, or not a regular file", "missing")
        with path.open("rb") as stream:
            head = stream.read(HEAD)
    except OSError as error:
        return Skipped(shown(name), f"cannot be read ({error.strerror or 'unknown error'})", "missing")
    return refuse_head(shown(name), head) or Candidate(shown(name), class_name, path)
