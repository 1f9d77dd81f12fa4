"""Names that strangers chose as names of files and folders that every system takes, Windows too, and that people still read as the same.

A character that is not allowed becomes its full-width twin: "a/b" becomes "a／b", which `names.name_key` takes for the same name,
so that a folder which is imported again is the class that it was. Only what is longer than `LONGEST` loses its end.
The rules: Microsoft, "Naming Files, Paths, and Namespaces".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import PurePosixPath

from blocklora.projects.names import free_name, name_key
from blocklora.projects.sources import is_hidden

LONGEST = 80  # characters; with a folder before and a file name behind, well below the 260 of a path on Windows
LONGEST_BYTES = 200  # of UTF-8; file systems elsewhere take 255

_FULL_WIDTH = 0xFEE0  # from a printable ASCII character to its full-width twin
_FORBIDDEN = {ord(c): chr(ord(c) + _FULL_WIDTH) for c in '<>:"/\\|?*'}
_DEVICES = re.compile(r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9¹²³])\s*(?:\..*)?", re.IGNORECASE)


def safe_name(name: str) -> str:
    """`name` as one part of a path: allowed everywhere, not hidden, no name of a system's own, never empty."""
    visible = "".join(c for c in name if unicodedata.category(c) not in ("Cc", "Cs")).translate(_FORBIDDEN).strip()[:LONGEST]
    while len(visible.encode("utf-8")) > LONGEST_BYTES:
        visible = visible[:-1]
    cut = visible.strip() or "_"
    if cut.endswith("."):
        cut = cut[:-1] + _wide(".")
    if cut.startswith((".", "~")) or is_hidden(cut) or _DEVICES.fullmatch(cut):
        cut = _wide(cut[0]) + cut[1:]
    return cut


def _wide(character: str) -> str:
    """The full-width twin of a printable ASCII character; another is returned as it is."""
    return chr(ord(character) + _FULL_WIDTH) if "!" <= character <= "~" else character


def folder_names(names: Sequence[str]) -> dict[str, str]:
    """A folder name for each name; no two of them are one folder on any system."""
    taken: set[str] = set()
    found: dict[str, str] = {}
    for name in names:
        found[name] = free_name(safe_name(name), taken)
        taken.add(name_key(found[name]))
    return found


def numbered(name: str, number: int) -> str:
    """A file name that is free where `name` is taken: 'a.jpg', 'a (2).jpg', 'a (3).jpg' ... for 1, 2, 3 ... A long one keeps its ending."""
    path = PurePosixPath(name.replace("\\", "/"))
    ending = path.suffix if path.suffix[1:].isalnum() else ""
    stem = safe_name(path.name[: len(path.name) - len(ending)])
    return f"{stem}{ending}" if number == 1 else f"{stem} ({number}){ending}"
