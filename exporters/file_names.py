"""Class names as folder names that every system takes, Windows too, and that still are the same name.

A character that is not allowed in a file name becomes its full-width twin: "a/b" becomes "a／b". People read it as the same, and so does
the studio, which compares names in the form in which such twins are equal (`blocklora.projects.names.name_key`): a folder that is
imported again is the class that it was. Only what is longer than `LONGEST` loses its end.

The rules: Microsoft, "Naming Files, Paths, and Namespaces".
"""

from __future__ import annotations

import re
import unicodedata

from blocklora.projects.blobs import SHA256
from blocklora.projects.formats import FORMATS, extension_of
from blocklora.projects.names import free_name, name_key
from blocklora.projects.sources import is_hidden

LONGEST = 80  # characters; with a folder before and a file name behind, well below the 260 of a path on Windows
LONGEST_BYTES = 200  # of UTF-8; file systems elsewhere take 255
CONTENT_DIGITS = 16

_FULL_WIDTH = 0xFEE0  # from an ASCII character to its full-width twin
_FORBIDDEN = {ord(c): chr(ord(c) + _FULL_WIDTH) for c in '<>:"/\\|?*'}
_DEVICES = re.compile(r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9¹²³])\s*(?:\..*)?", re.IGNORECASE)


def folder_names(names: tuple[str, ...]) -> list[str]:
    """A folder name for each class name, in order; no two of them are one folder on any system."""
    taken: set[str] = set()
    found = []
    for name in names:
        found.append(free_name(safe_name(name), taken))
        taken.add(name_key(found[-1]))
    return found


def file_name(name: str, kind: str, taken: set[str]) -> str:
    """A file name for a picture of the format `kind` (a key of `FORMATS`) that lies at `name`; its stem is added to `taken`.

    The ending is that of the content: a picture that was unpacked under another name gets one that other programs know.
    """
    known = FORMATS[kind]
    extension = extension_of(name)
    stem = name[: -len(extension)] if extension else name
    if extension not in known.extensions:
        extension = known.extension
    stem = stem[:CONTENT_DIGITS] if SHA256.fullmatch(stem) else safe_name(stem)
    stem = free_name(stem, taken)
    taken.add(name_key(stem))
    return stem + extension


def safe_name(name: str) -> str:
    """`name` as a part of a path that is allowed everywhere, is not hidden and is no name of a system's own."""
    visible = "".join(c for c in name if unicodedata.category(c) not in ("Cc", "Cs")).translate(_FORBIDDEN)
    cut = _shortened(visible.strip()).strip() or "_"
    if cut.endswith("."):
        cut = cut[:-1] + _wide(".")
    if cut.startswith(".") or is_hidden(cut) or _DEVICES.fullmatch(cut):
        cut = _wide(cut[0]) + cut[1:]
    return cut


def _shortened(name: str) -> str:
    name = name[:LONGEST]
    while len(name.encode("utf-8")) > LONGEST_BYTES:
        name = name[:-1]
    return name


def _wide(character: str) -> str:
    """The full-width twin of a printable ASCII character; another is returned as it is."""
    return chr(ord(character) + _FULL_WIDTH) if "!" <= character <= "~" else character
