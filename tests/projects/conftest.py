"""Projects and zips for the tests of this room."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from blocklora.projects.library import Library
from blocklora.projects.project import Project

sys.path.insert(0, str(Path(__file__).parent))  # for projects_helpers


@pytest.fixture
def library(data_home: Path) -> Library:
    return Library(data_home)


@pytest.fixture
def project(library: Library) -> Project:
    return library.create("Fruit")


@pytest.fixture
def make_zip(tmp_path: Path) -> Callable[..., Path]:
    """`make_zip({"cats/a.png": bytes, ...})` writes a zip with exactly these members."""

    def make(members: dict[str, bytes], name: str = "pictures.zip", compression: int = zipfile.ZIP_STORED) -> Path:
        path = tmp_path / name
        with zipfile.ZipFile(path, "w", compression) as archive:
            for member, data in members.items():
                archive.writestr(zipfile.ZipInfo(member), data, compression)
        return path

    return make
