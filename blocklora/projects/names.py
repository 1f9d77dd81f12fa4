"""Names that people type, for classes and projects, and names of files that strangers chose: one way to clean each."""

from __future__ import annotations

import re
import unicodedata

from blocklora.errors import ProjectError

NAME_LENGTH = 200
TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # embeddings, overrides and isolates of direction
_SPACES = re.compile(r"\s+")


def clean_name(name: str, what: str = "class") -> str:
    """A name as it is stored: composed (NFC), without control characters, spaces in a row made one, ends trimmed.

    Raises:
        ProjectError: nothing is left, or it is longer than `NAME_LENGTH` characters.
    """
    composed = unicodedata.normalize("NFC", str(name))
    # Control (Cc) and surrogate (Cs) characters go; format characters (Cf) stay, some scripts and emoji are joined by them.
    kept = "".join(" " if c in "\t\n\r\v\f" else c for c in composed if c in "\t\n\r\v\f" or unicodedata.category(c) not in ("Cc", "Cs"))
    cleaned = _SPACES.sub(" ", kept).strip()
    if not any(unicodedata.category(c) not in ("Cf", "Zs") for c in cleaned):
        raise ProjectError(f"The {what} name is empty.", "Type at least one visible character.")
    if len(cleaned) > NAME_LENGTH:
        raise ProjectError(f"The {what} name has {len(cleaned)} characters; at most {NAME_LENGTH} are allowed.", "Choose a shorter name.")
    return cleaned


def name_key(name: str) -> str:
    """What two names are compared by: 'Rose' and 'ROSE', 'ｒose' and 'rose' are one class."""
    return unicodedata.normalize("NFKC", name).casefold()


def free_name(wanted: str, taken: set[str]) -> str:
    """`wanted`, or 'wanted (2)', 'wanted (3)' ... where its key is in `taken`."""
    if name_key(wanted) not in taken:
        return wanted
    number = 2
    while name_key(candidate := f"{wanted[: NAME_LENGTH - 8]} ({number})") in taken:
        number += 1
    return candidate


def shown(name: str, length: int = 160) -> str:
    """A stranger's file name, fit to be shown: no control or direction-changing characters, not endless, its end kept."""
    safe = "".join(c if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") else "�" for c in name)
    return safe if len(safe) <= length else f"{safe[: length // 2]}…{safe[-length // 2 :]}"


def plain(text: str, length: int = 1000) -> str:
    """A stranger's words, fit for a line of a page, a terminal or a table: nothing in them moves, hides or turns the words around.

    The marks that scripts and emoji are joined by stay, so whatever `clean_name` has made is left as it is, but for characters that
    turn the direction of all that follows.
    """
    kept = "".join("\ufffd" if c in TURNING or unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") else c for c in text[: length + 1])
    return kept if len(kept) <= length else f"{kept[: length - 1]}…"


def slug(name: str) -> str:
    """A short ASCII piece of a folder name that reminds of `name`: 'Äpfel & Birnen' -> 'apfel-birnen'."""
    ascii_only = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", ascii_only).strip("-")[:40].strip("-") or "project"
