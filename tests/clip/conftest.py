"""Tiny random backbones, and one as a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch
from tiny_backbones import CONFIGS

from blocklora.clip.backbones import Backbone, from_config

MakeBackbone = Callable[[str], Backbone]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Models this small gain nothing from a second thread, and lose much by waiting for it on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def make_backbone() -> MakeBackbone:
    """`make_backbone("plain")`: a tiny frozen backbone; the same object for the whole session, so leave it as it is."""
    made: dict[str, Backbone] = {}

    def make(kind: str) -> Backbone:
        if kind not in made:
            made[kind] = from_config(CONFIGS[kind], kind)
        return made[kind]

    return make


@pytest.fixture
def backbone_folder(tmp_path: Path, make_backbone: MakeBackbone) -> Path:
    """A folder with the two files of the "plain" backbone, weights in fp16 as they are published."""
    folder = tmp_path / "backbone"
    folder.mkdir()
    preprocess = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bilinear", "resize_mode": "squash"}
    config = {"model_cfg": CONFIGS["plain"], "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    state = {name: tensor.half().contiguous() for name, tensor in make_backbone("plain").model.state_dict().items()}
    safetensors.torch.save_file(state, folder / "open_clip_model.safetensors")
    return folder
