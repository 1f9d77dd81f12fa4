"""Windows to talk to, and projects in them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tab_parts import Bench, make_bench
from ui_window import Served, serve

from blocklora.projects.project import Project


@pytest.fixture(scope="session")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The window as it is by default: this machine only, nobody logs in."""
    yield from serve(tmp_path_factory.mktemp("window"))


@pytest.fixture(scope="session")
def locked_window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The window that asks for a name and a password."""
    yield from serve(tmp_path_factory.mktemp("locked"), "--auth", "ada:lovelace")


@pytest.fixture
def project(window: Served) -> Iterator[Project]:
    """A fresh project of the window's library."""
    made = window.library.create(f"Project {os.urandom(4).hex()}")
    yield made
    window.library.delete_forever(window.library.trash(made.id))


@pytest.fixture
def bench(data_home: Path, sample_pictures: Path, tmp_path: Path) -> Bench:
    """Tabs without a page, over a project of 3 classes with 8 pictures each; nothing is really started."""
    return make_bench(data_home, sample_pictures, tmp_path)


@pytest.fixture
def previewing(data_home: Path, sample_pictures: Path, tmp_path: Path) -> Bench:
    """The same with previews, whose process is only noted down."""
    return make_bench(data_home, sample_pictures, tmp_path, previewer="the.previewer")


@pytest.fixture
def empty_bench(data_home: Path, tmp_path: Path) -> Bench:
    """Tabs without a page, over an empty project."""
    return make_bench(data_home, None, tmp_path)
