"""Pictures and files for the tests of this room, made on the spot."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from blocklora.projects.intake import accept, plan_bytes
from blocklora.projects.project import Project


def picture(number: int, side: int = 48) -> Image.Image:
    """A picture of its own for each number: smooth random colours, far from every other by perceptual hash."""
    rng = np.random.default_rng(number)
    return Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((side, side), Image.Resampling.BICUBIC)


def encoded(number: int, kind: str = "PNG", side: int = 48) -> bytes:
    """The same picture as a file of the given kind."""
    out = io.BytesIO()
    picture(number, side).save(out, kind)
    return out.getvalue()


def giant_png(width: int = 60_000, height: int = 60_000) -> bytes:
    """A PNG whose header claims width x height pixels, with next to nothing behind it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def fill(project: Project, class_name: str, numbers: range) -> list[str]:
    """Put the pictures of these numbers into a class; their image ids."""
    pictures = [(f"{number}.png", encoded(number)) for number in numbers]
    return accept(project, plan_bytes(project, pictures, class_name=class_name)).image_ids


def files_below(folder: Path) -> set[str]:
    """Relative names of all files below a folder but the index's own."""
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and not p.name.startswith("project.sqlite")}
