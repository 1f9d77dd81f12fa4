"""A tower in two gives what the whole tower gives, wherever it is parted, with and without adapters."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from blocklora.clip.build import build_model
from blocklora.clip.split import split_image_tower, split_text_tower
from blocklora.clip.text_tower import encode_text
from blocklora.config import AdapterConfig
from blocklora.lora.attach import attach

sys.path.append(str(Path(__file__).parents[1] / "lora"))
from tiny_towers import FAMILIES, IMAGE_LAYERS, images, tokens

PARTED = ("vit", "vit-quickgelu", "vit-normed", "siglip2", "xcit", "xcit-pooled", "xcit-inner")


@pytest.mark.parametrize("family", FAMILIES)
def test_halves_of_an_image_tower_make_the_whole(family: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(FAMILIES[family])
        adapters = attach(model, AdapterConfig(last_layers=1), seed=0)
        with torch.no_grad():
            for parameter in adapters.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
    assert (split_image_tower(model, 0) is not None) == (family in PARTED)
    if family not in PARTED:
        return
    with torch.no_grad():
        whole = model.encode_image(images(family))
        for first in range(IMAGE_LAYERS[family] + 1):
            split = split_image_tower(model, first)
            assert split is not None
            torch.testing.assert_close(split.upper(split.lower(images(family))), whole, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("family", ["vit", "vit-normed", "xcit", "eva02", "siglip2", "mobileclip2"])
def test_halves_of_a_text_tower_make_the_whole(family: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(FAMILIES[family])
    short = tokens()[:, :12]
    split = split_text_tower(model, short, 1)
    assert (split is None) == (family in ("siglip2", "mobileclip2"))  # these read the whole text, both ways
    if split is not None:
        with torch.no_grad():
            torch.testing.assert_close(split.upper(split.lower(short)), encode_text(model, short), atol=1e-6, rtol=1e-5)


def test_nothing_below_the_first_adapted_layer_needs_a_gradient() -> None:
    model = build_model(FAMILIES["xcit"])
    adapters = attach(model, AdapterConfig(last_layers=1, towers=("image",)), seed=0)
    split = split_image_tower(model, adapters.first_layer["image"])
    assert split is not None
    hidden = split.lower(images("xcit"))
    assert not hidden.requires_grad
    torch.autograd.grad(split.upper(hidden).sum(), adapters.parameters())
