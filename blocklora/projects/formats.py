"""The kinds of picture that are read, told by content and never by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

HEAD = 64
"""Bytes at the start of a file that `sniff` looks at."""

RAW_EXTENSIONS = frozenset({".nef", ".cr2", ".cr3", ".dng", ".arw", ".orf", ".rw2", ".pef", ".srw", ".raf"})
"""Camera raw files are TIFF containers with a tiny preview in front: taking that for the picture would be wrong."""


@dataclass(frozen=True)
class Format:
    """A kind of picture: Pillow's name, the name for people, the extension it is stored with, and all it goes by."""

    name: str
    title: str
    extension: str
    extensions: frozenset[str]


def _format(name: str, title: str, *extensions: str) -> Format:
    return Format(name, title, extensions[0], frozenset(extensions))


FORMATS: dict[str, Format] = {
    f.name: f
    for f in (
        _format("JPEG", "JPEG", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
        _format("PNG", "PNG", ".png", ".apng"),
        _format("WEBP", "WebP", ".webp"),
        _format("BMP", "BMP", ".bmp", ".dib"),
        _format("GIF", "GIF", ".gif"),
        _format("TIFF", "TIFF", ".tif", ".tiff"),
        _format("HEIF", "HEIC", ".heic", ".heif", ".hif"),
        _format("AVIF", "AVIF", ".avif"),
    )
}

PICTURE_EXTENSIONS: frozenset[str] = frozenset(e for f in FORMATS.values() for e in f.extensions)
READABLE = ", ".join(f.title for f in FORMATS.values())

_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}
_BMP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}


def sniff(head: bytes) -> str | None:
    """The format (a key of `FORMATS`) that a file's first `HEAD` bytes announce, or None."""
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "TIFF"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "BMP"
    if head[4:8] == b"ftyp":
        # Major brand, then (after a version) compatible brands; "mif1" alone does not tell HEIC and AVIF apart.
        length = min(int.from_bytes(head[:4], "big"), len(head))
        brands = {head[i : i + 4] for i in (8, *range(16, length - 3, 4))}
        if brands & _AVIF_BRANDS:
            return "AVIF"
        if brands & _HEIF_BRANDS:
            return "HEIF"
    return None


def extension_of(name: str) -> str:
    """The lower-case extension of a file name, '.jpg', or ''."""
    return PurePosixPath(name.replace("\\", "/")).suffix.lower()


def mislabelled(name: str, format_name: str) -> str:
    """A note where a file's name promises another kind of picture than it holds, else ''."""
    extension = extension_of(name)
    if extension in FORMATS[format_name].extensions:
        return ""
    found = f"is really {FORMATS[format_name].title}; it is kept as {FORMATS[format_name].extension}"
    return f"named {extension}, {found}" if extension else f"named without an ending, {found}"
