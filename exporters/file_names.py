"""File names for the pictures of a data set that leaves: their own, with the ending of what they really are."""

from __future__ import annotations

from blocklora.projects.blobs import SHA256
from blocklora.projects.formats import FORMATS, extension_of
from blocklora.projects.names import free_name, name_key
from blocklora.projects.safe_names import safe_name

CONTENT_DIGITS = 16


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
