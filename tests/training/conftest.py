"""A backbone small enough to train in seconds, and runs made on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_backbone import write_tiny_backbone


@pytest.fixture(scope="session")
def tiny_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data home with the tiny backbone in it."""
    home = tmp_path_factory.mktemp("tiny-home")
    write_tiny_backbone(home)
    return home


@pytest.fixture
def make_tiny_run(tiny_home: Path, sample_pictures: Path, tmp_path: Path) -> Callable:
    """`make_tiny_run(name, **training)` writes a run on three easy classes that is ready for a worker."""
    from blocklora.config import AdapterConfig, TrainingConfig
    from blocklora.jobs.run_folder import RunFolder
    from blocklora.projects.folders import read_class_folders
    from blocklora.services.runs import RunRequest, make_run, split_of

    def make(name: str = "run", adapter: AdapterConfig | None = None, **training: object) -> RunFolder:
        dataset, _ = read_class_folders(sample_pictures)
        values = {
            "preset": "quick",
            "steps": 12,
            "batch_size": 8,
            "checks": 3,
            "patience": 8,
            "device": "cpu",
            "learning_rate": 5e-3,
            "estimate_minutes": 0.0,
            **training,
        }
        config = TrainingConfig(**values)  # type: ignore[arg-type]
        return make_run(
            tmp_path / name, tiny_home, dataset, split_of(dataset, config), RunRequest("tiny", config, adapter or AdapterConfig())
        )

    return make
