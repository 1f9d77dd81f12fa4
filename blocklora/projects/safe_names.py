"""Names that strangers chose as names of files and folders that every system takes, Windows too, and that people still read as the same.

A character that is not allowed becomes its full-width twin: "a/b" becomes "a／b", which `names.name_key` takes for the same name.
The rules: Microsoft, "Naming Files, Paths, and Namespaces".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import PurePosixPath

from blocklora.projects.names import free_name, name_key

LONGEST_BYTES = 120  # of UTF-8: with a number behind and a folder before, well within what file systems take (255) and Windows' paths (260)

_FULL_WIDTH = 0xFEE0  # from an ASCII character to its full-width twin
_FORBIDDEN = {ord(c): chr(ord(c) + _FULL_WIDTH) for c in '<>:"/\\|?*'}
_DEVICES = re.compile(r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9¹²³])\s*(?:\..*)?", re.IGNORECASE)


def safe_name(name: str) -> str:
    """`name` as one part of a path: allowed everywhere, not hidden, no name of a system's own, never empty."""
    visible = "".join(c for c in name if unicodedata.category(c) not in ("Cc", "Cs")).translate(_FORBIDDEN).strip()
    while len(visible.encode("utf-8")) > LONGEST_BYTES:
        visible = visible[:-1]
    cut = visible.strip() or "_"
    if cut.endswith("."):
        cut = cut[:-1] + chr(ord(".") + _FULL_WIDTH)
    if cut.startswith((".", "~")) or _DEVICES.fullmatch(cut):
        cut = chr(ord(cut[0]) + _FULL_WIDTH) + cut[1:]
    return cut


def folder_names(names: Sequence[str]) -> dict[str, str]:
    """A folder name for each name; no two of them are one folder on any system."""
    taken: set[str] = set()
    found: dict[str, str] = {}
    for name in names:
        found[name] = free_name(safe_name(name), taken)
        taken.add(name_key(found[name]))
    return found


def numbered(name: str, number: int) -> str:
    """A file name that is free where `name` is taken: 'a.jpg', 'a (2).jpg', 'a (3).jpg' ... for 1, 2, 3 ..."""
    safe = safe_name(PurePosixPath(name.replace("\\", "/")).name)
    if number == 1:
        return safe
    path = PurePosixPath(safe)
    return f"{path.stem} ({number}){path.suffix}"
