"""What enters the first trained layer: kept once, the same embeddings, nothing decoded again, and no more than the limit."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from blocklora.clip.backbones import Backbone, from_config
from blocklora.clip.split import split_image_tower
from blocklora.preprocess import TURNS
from blocklora.training import pictures
from blocklora.training.device import Compute
from blocklora.training.entering import Entering, embed, embed_all
from blocklora.training.pictures import EvalSet

sys.path.append(str(Path(__file__).parents[1] / "clip"))
from tiny_backbones import CONFIGS

CPU = Compute(torch.device("cpu"), "fp32")


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return from_config(CONFIGS["plain"])


@pytest.fixture
def images(tmp_path: Path, backbone: Backbone) -> EvalSet:
    draw, paths = np.random.default_rng(0), []
    for number in range(5):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(draw.integers(0, 256, (40, 36, 3), dtype=np.uint8)).save(paths[-1])
    return EvalSet(paths, torch.arange(5), backbone.preprocess)


def test_embeddings_are_those_of_the_whole_tower(backbone: Backbone, images: EvalSet) -> None:
    entering = Entering(split_image_tower(backbone.model, 1), backbone, CPU)
    expected = embed_all(backbone, images, CPU)
    for _ in range(2):
        torch.testing.assert_close(entering.features(images), expected, atol=1e-6, rtol=1e-5)
    assert len(entering) == 5
    turned = images.only([4, 0, 2])
    torch.testing.assert_close(entering.features(turned), expected[[4, 0, 2]], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(Entering(None, backbone, CPU).features(images), expected, atol=1e-6, rtol=1e-5)


def test_what_is_kept_is_neither_decoded_nor_run_again(backbone: Backbone, images: EvalSet, monkeypatch: pytest.MonkeyPatch) -> None:
    entering = Entering(split_image_tower(backbone.model, 1), backbone, CPU)
    first = entering.features(images.only([0, 1, 2]))
    asked: list[Path] = []
    real = pictures.decoded
    monkeypatch.setattr(pictures, "decoded", lambda paths: asked.extend(paths) or real(paths))
    found = entering.features(images)
    assert asked == images.paths[3:]
    torch.testing.assert_close(found[:3], first, atol=1e-6, rtol=1e-5)


def test_what_follows_the_frozen_layers_is_run_each_time(backbone: Backbone, images: EvalSet) -> None:
    entering = Entering(split_image_tower(backbone.model, 1), backbone, CPU)
    before = entering.features(images)
    weight = backbone.model.visual.transformer.resblocks[1].mlp.c_fc.weight  # type: ignore[union-attr]
    with torch.no_grad():
        weight.mul_(2)
        after = entering.features(images)
        weight.div_(2)
    assert (after - before).abs().max() > 1e-3


@pytest.mark.parametrize("parted", [True, False])
def test_all_turns_of_a_picture_are_one_embedding(parted: bool, backbone: Backbone, images: EvalSet) -> None:
    split = split_image_tower(backbone.model, 1) if parted else None
    entering = Entering(split, backbone, CPU, TURNS)
    with torch.inference_mode():
        whole = torch.cat(list(images.chunks()))
        looks = torch.stack([embed(backbone, torch.rot90(whole, quarters, (2, 3)), CPU) for quarters in range(TURNS)])
        expected = F.normalize(looks.mean(dim=0), dim=1)
        sideways = entering.embed([path.with_suffix(".turned") for path in images.paths], torch.rot90(whole, 1, (2, 3)))
    assert (looks[0] - looks[1]).abs().max() > 0.01
    for found in (sideways, entering.features(images), entering.features(images)):  # the last from what is kept
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    assert len(entering) == (10 if parted else 0)


def test_no_more_is_kept_than_the_limit(backbone: Backbone, images: EvalSet) -> None:
    split = split_image_tower(backbone.model, 1)
    one = Entering(split, backbone, CPU)
    one.features(images.only([0]))
    few = Entering(split, backbone, CPU, limit=2 * one.n_bytes)
    expected = embed_all(backbone, images, CPU)
    for _ in range(2):
        torch.testing.assert_close(few.features(images), expected, atol=1e-6, rtol=1e-5)
    assert len(few) == 2 and few.n_bytes == 2 * one.n_bytes
