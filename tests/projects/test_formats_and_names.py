"""Telling pictures by content, and cleaning names that people and strangers chose."""

from __future__ import annotations

import pytest
from projects_helpers import encoded

from blocklora.errors import ProjectError
from blocklora.projects.archives import unsafe_name
from blocklora.projects.formats import FORMATS, HEAD, mislabelled, sniff
from blocklora.projects.limits import words
from blocklora.projects.names import clean_name, free_name, name_key, shown, slug


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind != "HEIF"])
def test_sniff_knows_every_format(kind: str) -> None:
    assert sniff(encoded(1, kind)[:HEAD]) == kind


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0heicmif1", "HEIF"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIF"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "AVIF"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0isommp42", None),
        (b"\0\0\0\x0cftypxxxx" + b"avif" * 4, None),  # beyond the box's own length
        (b"BM" + b"\0" * 60, None),
        (b"RIFF\0\0\0\0WAVE", None),
        (b"<svg xmlns=", None),
        (b"%PDF-1.7", None),
        (b"\xff\xd8", None),
        (b"", None),
    ],
)
def test_sniff_by_brand_and_header(head: bytes, kind: str | None) -> None:
    assert sniff(head) == kind


def test_mislabelled() -> None:
    assert mislabelled("a.JPG", "JPEG") == mislabelled("a.jfif", "JPEG") == mislabelled("x/a.tif", "TIFF") == ""
    assert mislabelled("a.png", "JPEG") == "named .png, is really JPEG; it is kept as .jpg"
    assert mislabelled("photo", "PNG") == "named without an ending, is really PNG; it is kept as .png"


def test_clean_name_and_key() -> None:
    assert clean_name(" a\t b\n") == "a b" and clean_name("e\u0301") == "é"
    assert name_key("STRASSE") == name_key("Straße")
    with pytest.raises(ProjectError, match="project name"):
        clean_name("", "project")


def test_free_name() -> None:
    taken = {name_key(name) for name in ("Fruit", "Fruit (2)", "x" * 200)}
    assert free_name("Other", taken) == "Other" and free_name("FRUIT", taken) == "FRUIT (3)"
    assert len(free_name("x" * 200, taken)) <= 200


def test_shown_and_slug() -> None:
    assert shown("a\0b\u202ec") == "a�b�c"
    long = shown("start" + "x" * 500 + "end.png")
    assert len(long) == 161 and long.startswith("start") and long.endswith("end.png")
    assert slug("Äpfel & Birnen!") == "apfel-birnen" and slug("猫") == "project" and len(slug("x" * 300)) == 40


@pytest.mark.parametrize("name", ["/a", "\\a", "C:\\a", "c:a", "../a", "a/../../b", "a\\..\\b", "", "/", "."])
def test_unsafe_names(name: str) -> None:
    assert unsafe_name(name)


@pytest.mark.parametrize("name", ["a", "a/b.png", "a..b/c", "...png", "ä/é.png"])
def test_safe_names(name: str) -> None:
    assert not unsafe_name(name)


def test_words() -> None:
    assert [words(n) for n in (0, 1, 2048, 5 << 20, 3 << 30)] == ["0 bytes", "1 KB", "2 KB", "5 MB", "3.0 GB"]
