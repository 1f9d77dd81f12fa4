"""Products with frozen weights through oneDNN: the numbers and the gradients of torch's own, for every tower, on any processor."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from tiny_towers import FAMILIES, images, tokens
from torch import nn
from torch.nn import functional as F

from blocklora.clip.prompts import image_features
from blocklora.config import AdapterConfig
from blocklora.lora import frozen_linear, quick
from blocklora.lora.attach import attach
from blocklora.lora.frozen_linear import FrozenLinear
from blocklora.lora.quick import quicken
from blocklora.processor import is_amd

MakeModel = Callable[[str], nn.Module]

pytestmark = pytest.mark.skipif(not frozen_linear.has_product(), reason="this torch has no oneDNN")


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """As on a processor where it pays; counts the products that oneDNN is asked for."""
    counted: list[int] = []
    before = frozen_linear._product

    def product(*arguments: torch.Tensor) -> torch.Tensor:
        counted.append(1)
        return before(*arguments)

    for module in (frozen_linear, quick):
        monkeypatch.setattr(module, "pays", lambda: True)
    monkeypatch.setattr(frozen_linear, "_product", product)
    yield counted


def test_the_makers_are_told_apart() -> None:
    assert is_amd("AMD EPYC 9R14") and is_amd("AMD64 Family 25 Model 80 Stepping 0, AuthenticAMD")
    assert not is_amd("Intel(R) Xeon(R) Platinum 8488C") and not is_amd("AMD64") and not is_amd("Intel64 Family 6, GenuineIntel")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5, 24), (3, 7, 24), (2, 3, 4, 24), (1, 24), (24,)])
def test_numbers_and_gradient_are_those_of_torch(shape: tuple[int, ...], bias: bool, asked: list[int]) -> None:
    draw = torch.Generator().manual_seed(1)
    x, weight = torch.randn(shape, generator=draw), torch.randn(9, 24, generator=draw)
    offset = torch.randn(9, generator=draw) if bias else None
    towards = torch.randn((*shape[:-1], 9), generator=draw)
    found = []
    for product in (FrozenLinear(weight, offset), lambda given: F.linear(given, weight, offset)):
        given = x.clone().requires_grad_()
        result = product(given)
        result.backward(towards)
        assert given.grad is not None
        found.append((result.detach(), given.grad))
    assert len(asked) == 2  # there and back
    for mine, torchs in zip(*found, strict=True):
        torch.testing.assert_close(mine, torchs)


def test_rows_that_do_not_lie_side_by_side() -> None:
    x, weight = torch.randn(4, 24, 6).transpose(1, 2), torch.randn(24, 9).t()
    linear = FrozenLinear(weight, None)
    torch.testing.assert_close(linear(x), F.linear(x, weight))
    wide = torch.randn(24).expand(5, 24).requires_grad_()
    linear(wide).sum().backward()  # the gradient that comes in has no rows of its own
    assert linear(torch.zeros(0, 24)).shape == (0, 9)


def test_what_it_is_not_made_for_goes_to_torch(asked: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = torch.randn(5, 24), torch.randn(9, 24)
    assert FrozenLinear(weight.double(), None)(x.double()).dtype == torch.float64
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert FrozenLinear(weight, None)(x).dtype == torch.bfloat16
    learned = FrozenLinear(weight.clone().requires_grad_(), None)
    learned(x).sum().backward()
    assert learned.weight.grad is not None and not asked
    with torch.no_grad():
        learned(x)
    assert len(asked) == 1
    monkeypatch.setattr(frozen_linear, "pays", lambda: False)
    torch.testing.assert_close(FrozenLinear(weight, None)(x), F.linear(x, weight))
    assert len(asked) == 1


def features(model: nn.Module, family: str) -> torch.Tensor:
    """Image and text features in one tensor (7, D)."""
    return torch.cat([image_features(model, images(family)), F.normalize(model.encode_text(tokens()), dim=-1)])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_quickened_tower_gives_the_same_features_and_trains_the_same(family: str, make_model: MakeModel, asked: list[int]) -> None:
    model = make_model(family)
    with torch.no_grad():
        before = features(model, family)
    names = [(name, type(module)) for name, module in model.named_modules()]
    quicken(model)
    with torch.no_grad():
        torch.testing.assert_close(features(model, family), before, rtol=0, atol=1e-5)
    assert asked and names == [(name, type(module)) for name, module in model.named_modules()]
    gradients = []
    for one in (make_model(family), copy.deepcopy(model)):
        adapters = attach(one, AdapterConfig(targets=("q", "k", "v", "o")), seed=1)
        features(one, family).square().sum(0)[::2].sum().backward()
        gradients.append([parameter.grad for parameter in adapters.parameters()])
    for plain, quickened in zip(*gradients, strict=True):
        torch.testing.assert_close(quickened, plain, rtol=1e-3, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_attention_is_the_same_without_turning_tokens_around(family: str, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the other library does not pay: the same features, and no packed projection whose rows do not lie side by side."""
    monkeypatch.setattr(quick, "pays", lambda: False)
    model = make_model(family)
    before = features(model, family)
    quicken(model)
    packed = [module.in_proj_weight for module in model.modules() if isinstance(module, nn.MultiheadAttention)]
    turned = []

    def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        if any(weight is one for one in packed):
            turned.append(not x.is_contiguous())
        return plain(x, weight, bias)

    plain = F.linear
    monkeypatch.setattr(F, "linear", linear)
    torch.testing.assert_close(features(model, family), before, rtol=0, atol=1e-5)
    assert bool(turned) == bool(packed) and not any(turned)


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_merging_into_a_quickened_tower_is_seen(family: str, make_model: MakeModel) -> None:
    model = make_model(family)
    quicken(model)
    adapters = attach(model, AdapterConfig(targets=("q", "k", "v", "o"), alpha=4.0), seed=1)
    for parameter in adapters.parameters():
        parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(3))
    adapted = features(model, family)
    adapters.merge()
    torch.testing.assert_close(features(model, family), adapted, rtol=0, atol=1e-5)
