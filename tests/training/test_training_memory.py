"""Memory of a step: counted, foretold, and kept within what there is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from blocklora.clip import prompts as prompts_module
from blocklora.clip.backbones import from_config
from blocklora.clip.prompts import text_class_weights, tokenise, weights_of_prompts
from blocklora.clip.split import split_text_tower
from blocklora.config import AdapterConfig
from blocklora.lora.attach import attach
from blocklora.speeds import SPARE, Footprint, Speed, recall, recall_footprint, remember, remember_footprint
from blocklora.training.device import Compute
from blocklora.training.memory import SHARE, footprint, images_at_once, kept_bytes, one_more

sys.path.append(str(Path(__file__).parents[1] / "clip"))
from tiny_backbones import CONFIGS

CPU = Compute(torch.device("cpu"), "fp32")


def test_what_autograd_keeps_is_counted_once_and_without_weights() -> None:
    layer = nn.Linear(8, 4, bias=False)
    x = torch.randn(5, 8)
    assert kept_bytes(lambda: layer(x), layer) == 5 * 8 * 4  # the input, for the weight's gradient; the weight itself is there anyway
    shared = torch.randn(3, 7, requires_grad=True)
    assert kept_bytes(lambda: (shared * shared).exp(), layer) == 2 * 3 * 7 * 4  # `shared` once although it is kept twice, and the result
    assert one_more(lambda count: layer(x[:count].clone()), layer) == 8 * 4


def test_images_are_halved_until_they_fit() -> None:
    free = 1000
    assert images_at_once(32, 1, 0, free) == 32
    assert images_at_once(32, int(SHARE * free / SPARE / 8), 0, free) == 8
    assert images_at_once(32, 1, int(SHARE * free / SPARE), free) == 1
    assert images_at_once(32, 10**9, 0, free) == 1


def test_the_footprint_of_a_backbone_grows_with_what_is_adapted() -> None:
    sizes = []
    for layers in (1, None):
        backbone = from_config(CONFIGS["plain"])
        adapters = attach(backbone.model, AdapterConfig(last_layers=layers), seed=0)
        sizes.append(footprint(backbone, adapters, CPU))
    last, everything = sizes
    assert 0 < last.image < everything.image and 0 < last.token < everything.token
    weights = sum(p.numel() for p in backbone.model.parameters()) * 4
    assert weights <= last.weights < 1.5 * weights


@pytest.mark.parametrize("last_layers", [None, 1])
def test_many_class_names_go_through_the_text_tower_in_chunks(last_layers: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = from_config(CONFIGS["plain"])
    adapters = attach(backbone.model, AdapterConfig(dropout=0.0, last_layers=last_layers), seed=0)
    with torch.no_grad():
        for parameter in adapters.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    batch = tokenise([f"thing number {number}" for number in range(40)], ["a photo of a {}."], backbone)

    split = split_text_tower(backbone.model, batch.tokens, adapters.first_layer["text"])
    assert split is not None
    with torch.no_grad():
        hidden = split.lower(batch.tokens)

    def encode() -> torch.Tensor:
        """The whole tower, or its trained layers on what was kept."""
        return text_class_weights(backbone.model, batch) if last_layers is None else weights_of_prompts(split.upper(hidden), 1)

    def run() -> tuple[torch.Tensor, list[torch.Tensor], int]:
        size = kept_bytes(encode, backbone.model)
        weights = encode()
        goal = torch.randn(weights.shape, generator=torch.Generator().manual_seed(3))
        return weights.detach(), list(torch.autograd.grad((weights * goal).sum(), list(adapters.parameters()), allow_unused=True)), size

    weights, gradients, size = run()
    monkeypatch.setattr(prompts_module, "TEXT_TOKENS", 60)
    in_chunks, their_gradients, smaller = run()
    torch.testing.assert_close(in_chunks, weights, atol=1e-6, rtol=1e-5)
    for mine, theirs in zip(gradients, their_gradients, strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            torch.testing.assert_close(theirs, mine, atol=1e-5, rtol=1e-4)
    assert smaller < size / 5


def test_a_footprint_is_remembered_beside_the_speed(tmp_path: Path) -> None:
    assert recall_footprint(tmp_path, "cpu", "builtin") is None
    speed, size = Speed(1.0, 0.1, 0.2, 3.0), Footprint(100, 20, 3)
    remember(tmp_path, "cpu", "builtin", speed)
    remember_footprint(tmp_path, "cpu", "builtin", size)
    remember(tmp_path, "cpu", "other", speed)
    assert recall_footprint(tmp_path, "cpu", "builtin") == size and recall(tmp_path, "cpu", "builtin") == speed
    assert size.bytes(32, 1000) - size.bytes(31, 1000) == round(SPARE * 20)
    assert size.bytes(1, 10**9) == size.bytes(1, 10**8)  # chunks: names beyond so many cost time, not memory
