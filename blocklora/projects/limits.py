"""What an import may cost, declared once and read by the intake, the decoding child, messages and tests."""

from __future__ import annotations

from dataclasses import dataclass

MB = 1 << 20
GB = 1 << 30


@dataclass(frozen=True)
class IntakeLimits:
    """Caps on untrusted files. The defaults let any phone or camera picture in and keep bombs out."""

    image_bytes: int = 50 * MB
    """Size of one picture file."""
    image_pixels: int = 100_000_000
    """Width x height of one picture."""
    seconds: float = 30.0
    """Time to decode one picture."""
    memory_bytes: int = 4 * GB
    """Address space of a decoding child (where the system can limit it)."""
    files: int = 20_000
    """Pictures in one import."""
    archive_members: int = 50_000
    """Members of a zip, of any kind."""
    archive_directory_bytes: int = 16 * MB
    """Size of a zip's table of contents, which is read as a whole."""
    archive_total_bytes: int = 8 * GB
    """Size of all members of a zip, unpacked."""
    archive_ratio: int = 200
    """Unpacked size over packed size of a zip, looked at from `archive_ratio_from` on."""
    archive_ratio_from: int = 100 * MB
    """Archives that unpack to less than this may be as dense as they like."""
    table_bytes: int = 20 * MB
    """Size of a CSV file."""


DEFAULT_LIMITS = IntakeLimits()

THUMB_SHORT, THUMB_LONG = 200, 800
"""A thumbnail's short side in pixels, and what its long side may reach (panoramas get a smaller short side)."""

VIEW_SIDE = 1024
"""The long side of the larger view, in pixels."""


def words(size: int) -> str:
    """A number of bytes for people: '52 MB', '3.2 GB'."""
    if size < MB:
        return f"{max(1, round(size / 1024))} KB" if size else "0 bytes"
    return f"{size / MB:.0f} MB" if size < GB else f"{size / GB:.1f} GB"
