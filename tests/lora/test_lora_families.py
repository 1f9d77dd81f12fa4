"""Every family of tower: adapters act on each layer, merge exactly, take gradients alone, and leave without a trace."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tiny_towers import FAMILIES, IMAGE_LAYERS, images, tokens
from torch import nn

from blocklora.clip.build import build_model
from blocklora.clip.prompts import image_features
from blocklora.config import AdapterConfig
from blocklora.lora.adapters import Adapters
from blocklora.lora.attach import attach

EVERYTHING = AdapterConfig(rank=4, blocks=2, alpha=4.0, dropout=0.0, targets=("q", "k", "v", "o", "mlp"))
MakeModel = Callable[[str], nn.Module]


def features(model: nn.Module, family: str) -> torch.Tensor:
    """Image and text features in one tensor (7, D)."""
    text = model.encode_text(tokens())
    return torch.cat([image_features(model, images(family)), nn.functional.normalize(text, dim=-1)])


def excite(adapters: Adapters, size: float = 0.1) -> None:
    """Give every arm its own random values, as if trained."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in adapters.named_parameters():
            if name.endswith(".B"):
                parameter.copy_(size * torch.randn(parameter.shape, generator=generator))


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """The bytes of a tensor; unlike its values they compare equal where they are NaN (open_clip leaves some CoCa weights unset)."""
    return tensor.contiguous().reshape(-1).view(torch.uint8)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@torch.no_grad()
def test_untrained_adapters_change_nothing(family: str, make_model: MakeModel) -> None:
    model = make_model(family)
    before = features(model, family)
    attach(model, EVERYTHING, seed=1)
    torch.testing.assert_close(features(model, family), before, rtol=0, atol=1e-5)


@torch.no_grad()
def test_merged_equals_adapted_and_loads_strictly_into_a_plain_model(family: str, make_model: MakeModel) -> None:
    model = make_model(family)
    frozen = features(model, family)
    adapters = attach(model, EVERYTHING, seed=1)
    excite(adapters)
    adapted = features(model, family)
    assert (adapted - frozen).abs().max() > 1e-2, "the adapters have no effect to compare"
    adapters.merge()
    torch.testing.assert_close(features(model, family), adapted, rtol=0, atol=1e-5)
    plain = build_model(FAMILIES[family])
    plain.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(features(plain, family), features(model, family))


@torch.no_grad()
def test_detach_restores_the_bits(family: str, make_model: MakeModel) -> None:
    model = make_model(family)
    tree = [(name, type(module)) for name, module in model.named_modules()]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    before = features(model, family)
    adapters = attach(model, EVERYTHING, seed=1)
    excite(adapters)
    features(model, family)
    adapters.detach()
    assert [(name, type(module)) for name, module in model.named_modules()] == tree
    after = model.state_dict()
    assert list(after) == list(state)
    assert all(torch.equal(bits(after[name]), bits(state[name])) for name in state)
    assert torch.equal(features(model, family), before)


def test_gradients_reach_every_adapter_and_nothing_else(family: str, make_model: MakeModel) -> None:
    model = make_model(family)
    adapters = attach(model, EVERYTHING, seed=1)
    excite(adapters)
    target = torch.randn(7, FAMILIES[family]["embed_dim"], generator=torch.Generator().manual_seed(4))
    (features(model, family) * target).sum().backward()
    own = {id(parameter) for parameter in adapters.parameters()}
    assert {id(p) for p in model.parameters() if p.grad is not None} == own
    assert {id(p) for p in model.parameters() if p.requires_grad} == own
    silent = [name for name, parameter in adapters.named_parameters() if parameter.grad is None or parameter.grad.abs().max() == 0]
    assert not silent, f"no gradient reaches {silent}"


def test_every_layer_has_its_adapters(family: str, make_model: MakeModel) -> None:
    adapters = attach(make_model(family), AdapterConfig(), seed=1)
    expected = [f"image.{i}.{p}" for i in range(IMAGE_LAYERS[family]) for p in "qkv"] + [f"text.{i}.{p}" for i in range(3) for p in "qkv"]
    assert list(adapters.blocks) == expected


@pytest.mark.parametrize("targets", [("q",), ("v", "k"), ("o",), ("mlp",), ("q", "v", "o")])
@torch.no_grad()
def test_any_choice_of_projections_merges_exactly(family: str, targets: tuple[str, ...], make_model: MakeModel) -> None:
    model = make_model(family)
    adapters = attach(model, AdapterConfig(rank=2, blocks=2, alpha=4.0, targets=targets), seed=1)
    excite(adapters, 0.3)
    adapted = features(model, family)
    adapters.merge()
    torch.testing.assert_close(features(model, family), adapted, rtol=0, atol=1e-5)


def test_works_under_bf16_autocast(family: str, make_model: MakeModel) -> None:
    model = make_model(family)
    adapters = attach(model, EVERYTHING, seed=1)
    excite(adapters)
    with torch.no_grad():
        full = features(model, family)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = features(model, family)
        half.sum().backward()
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full, rtol=0, atol=0.05)
    assert all(parameter.grad is not None and parameter.grad.dtype == torch.float32 for parameter in adapters.parameters())
    assert all(bool(torch.isfinite(parameter.grad).all()) for parameter in adapters.parameters() if parameter.grad is not None)
