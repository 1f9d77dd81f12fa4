"""Tiny random CLIP models of every family."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from tiny_towers import FAMILIES
from torch import nn

from blocklora.clip.build import build_model

MakeModel = Callable[[str], nn.Module]


def _build(family: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(FAMILIES[family])
    for name, parameter in model.named_parameters():
        if name.endswith("gamma") and "layer_scale" in name:
            parameter.data.fill_(0.5)  # real weights are far from the 1e-5 that random ones start with, at which attention has no effect
        if name.endswith("head_scale"):
            parameter.data.copy_(torch.linspace(0.5, 1.5, parameter.numel()).view_as(parameter))  # not the ones that hide a mistake
    return model


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Models this small gain nothing from a second thread, and lose much by waiting for it on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def _built() -> dict[str, nn.Module]:
    return {}


@pytest.fixture
def make_model(_built: dict[str, nn.Module]) -> MakeModel:
    """`make_model("siglip2")`: a fresh, frozen, tiny model of that family in eval mode; always the same weights."""

    def make(family: str) -> nn.Module:
        if family not in _built:
            _built[family] = _build(family)
        return copy.deepcopy(_built[family])

    return make
