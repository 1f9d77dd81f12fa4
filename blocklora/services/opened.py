"""ONNX files that people open to predict with: copied into the data home first, so that what is checked is what is run ever after.

A copy is named by its content and comes with a small record of what the file says about itself; the record is written last, so a
copy without one was never found good. What answers for each project (or where none is open) is in one file, and survives both the
page and the program.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from blocklora.errors import ModelFileError
from blocklora.files import CHUNK, read_json, sha256_file, write_json
from blocklora.projects.names import plain, shown
from blocklora.services.predicting import Predictor, Predictors
from blocklora.services.results import KINDS

KEPT = 5  # files; the one chosen or opened longest ago goes first
KEPT_BYTES = 6 * 2**30  # of all of them together, but the newest stays whatever its size
MAX_BYTES = 2**31 - 1  # a single ONNX file cannot be larger
ROOM = 200 * 2**20  # bytes that a disk keeps free
NO_PROJECT = "-"  # what stands for a project where none is open
HALF_DONE = 24 * 3600.0  # seconds after which a copy that was never finished is taken away
WORD = 80  # characters of a short entry of the metadata that are shown


@dataclass(frozen=True)
class OpenedFile:
    """A file that was found good. `key` is the SHA-256 of its bytes; all else is what its metadata state, cleaned to be shown.

    `name` is what the file was called when it was opened; `correct` of `n` images were right when it was made (0 of 0: not said).
    """

    key: str
    name: str
    size: int
    labels: tuple[str, ...]
    created: str = ""
    base_model: str = ""
    precision: str = ""
    correct: int = 0
    n: int = 0

    @classmethod
    def of(cls, key: str, name: str, size: int, model: Predictor) -> OpenedFile:
        """The record of an opened model; entries of a strange kind are left away."""
        said = model.metadata
        correct, n = _figures(said.get("accuracy"))
        words = {field: _word(said.get(field)) for field in ("created", "base_model", "precision")}
        return cls(key, name, size, tuple(model.labels), **words, correct=correct, n=n)

    @classmethod
    def read(cls, path: Path) -> OpenedFile | None:
        """The record at `path`, or None where there is none that this version understands."""
        try:
            values: dict[str, Any] = read_json(path) or {}
            return cls(**{**values, "labels": tuple(map(str, values["labels"]))})
        except (OSError, ValueError, TypeError, KeyError):
            return None


def _word(value: object) -> str:
    return plain(value, WORD) if isinstance(value, str) else ""


def _figures(accuracy: object) -> tuple[int, int]:
    """Right and all of the images that the headline is about (`services.results`); (0, 0) where the file does not say, or not sensibly."""
    for name in KINDS:
        section = accuracy.get(name) if isinstance(accuracy, dict) else None
        correct, n = (section.get("correct"), section.get("n")) if isinstance(section, dict) else (None, None)
        if type(correct) is int and type(n) is int and 0 <= correct <= n and 0 < n < 10**9:
            return correct, n
    return 0, 0


class OpenedFiles:
    """The opened files of one data home.

    Args:
        home: the data home.
        predictors: opens copies, and checks each before it does.
    """

    def __init__(self, home: Path, predictors: Predictors) -> None:
        self.folder = home / "opened"
        self._predictors = predictors
        self._lock = threading.Lock()

    # ---- opening

    def open(self, source: Path, name: str = "", project_id: str = "") -> OpenedFile:
        """Copy a file, check the copy, and let it answer for the project. What answered before goes on until then, and where this fails.

        Raises:
            ModelFileError: why it is not opened; nothing of it is kept.
        """
        called = shown(name or source.name)
        self.folder.mkdir(parents=True, exist_ok=True)
        copy, key, size = self._copy(source, called)
        path, known = self.path(key), self.get(key)
        try:
            if known is not None and sha256_file(path) == key:
                found = replace(known, name=called)
            else:
                copy.replace(path)
                found = OpenedFile.of(key, called, size, self._predictors.get(path))
        except BaseException as error:
            self._remove(key)
            if isinstance(error, ModelFileError):  # its words name the copy
                words = {path.name: called, path.stem: called}
                raise ModelFileError(_with(error.message, words), error.advice) from error
            raise
        finally:
            copy.unlink(missing_ok=True)
        with self._lock:
            write_json(self._record(key), asdict(found))
        self.choose(key, project_id)
        self._tidy(key)
        return found

    def _copy(self, source: Path, called: str) -> tuple[Path, str, int]:
        """A copy of `source` that is not in its place yet, with the SHA-256 and the number of its bytes."""
        target, digest, size = self.folder / f".{uuid.uuid4().hex}.part", hashlib.sha256(), 0
        try:
            with _regular(source, called, self.folder) as given, target.open("xb") as taken:
                while piece := os.read(given, CHUNK):
                    size += len(piece)
                    if size > MAX_BYTES:
                        raise ModelFileError(f"{called} has more than {MAX_BYTES:,} bytes, the most that one ONNX file can have.")
                    digest.update(piece)
                    taken.write(piece)
                taken.flush()
                os.fsync(taken.fileno())
            if size == 0:
                raise ModelFileError(f"{called} has no bytes.", "Choose an .onnx file that this studio exported.")
        except OSError as error:
            target.unlink(missing_ok=True)
            reason = error.strerror or str(error)
            raise ModelFileError(f"{called} could not be copied: {reason}.", "Choose another file, or make room on the disk.") from error
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        return target, digest.hexdigest(), size

    # ---- what there is

    def path(self, key: str) -> Path:
        """Where the copy of these bytes lies."""
        return self.folder / f"{key}.onnx"

    def _record(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def get(self, key: str) -> OpenedFile | None:
        """The opened file of that key, where it is still here."""
        if len(key) != 64 or not set(key) <= set("0123456789abcdef") or not self.path(key).is_file():
            return None
        found = OpenedFile.read(self._record(key))
        return found if found is not None and found.key == key else None

    def all(self) -> list[OpenedFile]:
        """All that are here, the one opened or chosen last first."""
        records = sorted(self.folder.glob("*.json"), key=_age) if self.folder.is_dir() else []
        return [found for path in records if (found := self.get(path.stem)) is not None]

    def find(self, wanted: str) -> OpenedFile:
        """The opened file of that name, or whose key begins like that.

        Raises:
            ModelFileError: there is none, or more than one.
        """
        known, word = self.all(), wanted.strip()
        fitting = [file for file in known if file.name == word] or [file for file in known if len(word) >= 8 and file.key.startswith(word)]
        if len(fitting) == 1:
            return fitting[0]
        what = "more than one opened file" if fitting else "no opened file"
        names = ", ".join(f"{file.name} ({file.key[:12]})" for file in known) or "none yet; open one on the Predict tab"
        raise ModelFileError(f"there is {what} {plain(word, WORD)!r}.", f"Opened here: {names}.")

    def predictor(self, file: OpenedFile) -> Predictor:
        """The copy, opened; checked again after a restart.

        Raises:
            ModelFileError: it is gone or damaged.
        """
        path = self.path(file.key)
        if not path.is_file():
            raise ModelFileError(f"the copy of {file.name} is no longer there.", "Open the file again.")
        return self._predictors.get(path)

    # ---- which answers

    @property
    def _choices(self) -> Path:
        return self.folder / "chosen" / "models.json"

    def chosen(self, project_id: str = "") -> OpenedFile | None:
        """The file that answers for a project ('' where none is open), if one does."""
        key = self._read_choices().get(project_id or NO_PROJECT)
        return self.get(key) if key is not None else None

    def choose(self, key: str | None, project_id: str = "") -> None:
        """Let an opened file answer for a project, or (None) the project's own model again."""
        with self._lock:
            choices = {other: chosen for other, chosen in self._read_choices().items() if self.path(chosen).is_file()}
            choices.pop(project_id or NO_PROJECT, None)
            if key is not None:
                choices[project_id or NO_PROJECT] = key
                with contextlib.suppress(FileNotFoundError):
                    os.utime(self._record(key))
            write_json(self._choices, choices)

    def _read_choices(self) -> dict[str, str]:
        try:
            values = read_json(self._choices, {})
        except (OSError, ValueError):  # damaged: the projects' own models answer
            return {}
        return {str(k): v for k, v in values.items() if isinstance(v, str) and len(v) == 64} if isinstance(values, dict) else {}

    # ---- what goes

    def _tidy(self, newest: str) -> None:
        """Take away what is beyond the bounds, and what was never finished."""
        total = 0
        for place, file in enumerate(self.all()):
            total += file.size
            if file.key != newest and (place >= KEPT or total > KEPT_BYTES):
                self._remove(file.key)
        for path in self.folder.glob(".*.part"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > HALF_DONE:
                    path.unlink()

    def _remove(self, key: str) -> None:
        """Take a copy and its record away; a system that holds the file open keeps it until the next time."""
        for path in (self._record(key), self.path(key)):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def _age(path: Path) -> float:
    """What to sort records by: small for one that was written or chosen lately."""
    try:
        return -path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _with(text: str, words: dict[str, str]) -> str:
    for word, other in words.items():
        text = text.replace(word, other)
    return text


@contextlib.contextmanager
def _regular(path: Path, called: str, room: Path) -> Iterator[int]:
    """A descriptor of a regular file to read from. Asked of the open descriptor, so that nothing can take its place in between.

    Raises:
        ModelFileError: it is a pipe, a device, a folder, or larger than the room there is in the folder `room`.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        descriptor = os.open(path, flags)  # a pipe without a writer would keep a plain open waiting
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "that is no path"
        raise ModelFileError(f"{called} cannot be opened: {reason}.", "Choose an .onnx file that can be read.") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ModelFileError(f"{called} is not a regular file.", "Choose an .onnx file, not a folder, a pipe or a device.")
        if found.st_size > MAX_BYTES:
            raise ModelFileError(f"{called} has {found.st_size:,} bytes; one ONNX file has {MAX_BYTES:,} at most.", "Choose another file.")
        if shutil.disk_usage(room).free < found.st_size + ROOM:
            raise ModelFileError(
                f"there is no room for a copy of {called} ({found.st_size:,} bytes).", "Make room on the disk of the data."
            )
        yield descriptor
    finally:
        os.close(descriptor)
