"""The built-in backbone is the file that its card describes, and is small enough to be part of a repository."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from blocklora.clip.backbones import load_backbone
from blocklora.clip.catalog import BUILTIN_FOLDER, WEIGHTS_FILE, list_backbones
from blocklora.clip.prompts import image_features, text_class_weights, tokenise
from blocklora.files import sha256_file
from blocklora.presets import BUILTIN, BUILTIN_SMALL
from exporters.frozen import frozen_path

CARD = (BUILTIN_FOLDER / "README.md").read_text(encoding="utf-8")
MADE = json.loads((BUILTIN_FOLDER / "training.json").read_text(encoding="utf-8"))


def test_card_and_record_are_those_of_the_file() -> None:
    weights = BUILTIN_FOLDER / WEIGHTS_FILE
    digest = sha256_file(weights)
    assert MADE["sha256"] == digest and f"`{digest}`" in CARD
    assert MADE["bytes"] == weights.stat().st_size <= 20_000_000
    assert f"{MADE['bytes']:,} bytes" in CARD and f"{MADE['parameters']:,}" in CARD
    assert f"{MADE['passes']:,} image passes" in CARD
    assert f"{MADE['val_top1']:.1f} %" in CARD


def test_the_command_on_the_card_is_the_recipe_of_the_record() -> None:
    commands = re.findall(r"^python -m blocklora pretrain train .*?^(?:```|python)", CARD, flags=re.M | re.S)
    recipes = (MADE["began_with"]["recipe"], MADE["recipe"])
    names = ("seed", "batch_size", "muon_lr", "mix_fraction", "decay_fraction", "high_resolution_fraction", "colour_strength")
    for command, recipe in zip(commands, recipes, strict=True):
        words = command.replace("\\\n", " ").split()
        for name in names:
            option = f"--{name.replace('_', '-')}"
            if option in words and name in recipe:  # the first run was made before colour_strength had a name
                assert float(words[words.index(option) + 1]) == recipe[name]


@pytest.mark.parametrize("name", [BUILTIN, BUILTIN_SMALL])
def test_it_loads_and_knows_some_things_by_name(name: str, tmp_path: Path) -> None:
    info = next(info for info in list_backbones(tmp_path) if info.name == name)
    assert info.builtin and "starter" in info.title and "non-commercial" in info.licence
    assert info.zero_shot.split(" of ")[0] in CARD
    backbone = load_backbone(name, tmp_path)
    assert backbone.preprocess.size == info.resolution
    with torch.no_grad():
        names = tokenise(["golden retriever", "school bus", "pizza"], ["a photo of a {}."], backbone)
        text = text_class_weights(backbone.model, names)
        size = backbone.preprocess.size
        features = image_features(backbone.model, torch.zeros(1, 3, size, size))
    assert torch.isfinite(features).all() and features.shape[1] == text.shape[1] == backbone.embed_dim
    assert (text @ text.T - torch.eye(3)).abs().max() < 0.9  # three different things


def test_its_two_inputs_are_of_the_same_weights_and_are_told_apart(tmp_path: Path) -> None:
    whole, small = (load_backbone(name, tmp_path) for name in (BUILTIN, BUILTIN_SMALL))
    assert whole.weights_hash == small.weights_hash and BUILTIN_SMALL.endswith(f"-{small.preprocess.size}")
    assert small.preprocess.size < whole.preprocess.size
    assert frozen_path(tmp_path, whole) != frozen_path(tmp_path, small), "embeddings of one size say nothing at another"
