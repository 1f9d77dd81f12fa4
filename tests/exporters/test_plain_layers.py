"""What stands in for a layer gives that layer's numbers, and leaves no trace."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from timm.models.cait import ClassAttn
from timm.models.xcit import XCA, XCABlock
from tiny_export import make_classifier
from torch import nn

from blocklora.clip.attention import CrossCovariance
from exporters.plain_layers import PlainAttention, PlainClassAttention, PlainCrossCovariance, PlainXcitBlock, plain_layers


def attention(**more: object) -> nn.MultiheadAttention:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = nn.MultiheadAttention(24, 3, batch_first=True, **more)  # type: ignore[arg-type]
        nn.init.normal_(made.in_proj_weight)
        if made.in_proj_bias is not None:
            nn.init.normal_(made.in_proj_bias)
    return made.eval().requires_grad_(False)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_self_attention_is_torchs() -> None:
    base, x = attention(), noise(2, 5, 24)
    torch.testing.assert_close(
        PlainAttention(base)(x, x, x, need_weights=False)[0], base(x, x, x, need_weights=False)[0], atol=1e-5, rtol=0
    )


def test_masked_and_crossed_attention_goes_to_torch() -> None:
    base, x, y = attention(), noise(2, 5, 24), noise(2, 7, 24)
    mask = torch.full((5, 5), float("-inf")).triu(1)
    plain = PlainAttention(base)
    torch.testing.assert_close(plain(x, y, y)[0], base(x, y, y)[0])
    torch.testing.assert_close(plain(x, x, x, attn_mask=mask)[0], base(x, x, x, attn_mask=mask)[0])
    padded = torch.tensor([[False] * 4 + [True]] * 2)
    torch.testing.assert_close(plain(x, x, x, key_padding_mask=padded)[0], base(x, x, x, key_padding_mask=padded)[0])


def test_model_is_as_before_afterwards_even_after_a_failure() -> None:
    tower = make_classifier().head.tower
    before = dict(tower.named_modules())
    with pytest.raises(RuntimeError, match="oh"), plain_layers(tower):
        assert any(isinstance(module, PlainAttention) for module in tower.modules())
        raise RuntimeError("oh")
    assert dict(tower.named_modules()) == before


def drawn(module: nn.Module) -> nn.Module:
    """The module with weights that leave no part of it without effect."""
    generator = torch.Generator().manual_seed(1)
    for value in module.parameters():
        value.data = torch.randn(value.shape, generator=generator)
    return module.eval().requires_grad_(False)


@pytest.mark.parametrize("bias", [True, False])
def test_channels_attend_as_before(bias: bool) -> None:
    base = drawn(CrossCovariance(XCA(24, num_heads=3, qkv_bias=bias)))
    assert isinstance(base, CrossCovariance)
    x = noise(2, 7, 24)
    torch.testing.assert_close(PlainCrossCovariance(base)(x), base(x), atol=1e-4, rtol=1e-5)
    silent = torch.zeros(2, 7, 24)  # no channel has a length where there is no bias
    torch.testing.assert_close(PlainCrossCovariance(base)(silent), base(silent), atol=1e-4, rtol=1e-5)


def block() -> XCABlock:
    """A layer of XCiT, as the built-in backbone has it, with statistics that are not those of a new one."""
    made: Any = XCABlock(24, num_heads=3, qkv_bias=True)
    made.attn = CrossCovariance(made.attn)
    drawn(made)
    made.local_mp.bn.running_mean = noise(24)
    made.local_mp.bn.running_var = noise(24).square() + 0.5
    return cast(XCABlock, made)


def test_a_layer_gives_what_it_gave() -> None:
    base, x = block(), noise(2, 12, 24)
    torch.testing.assert_close(PlainXcitBlock(base)(x, 3, 4), base(x, 3, 4), atol=1e-3, rtol=1e-4)
    before = {name: value.clone() for name, value in base.state_dict().items()}
    with plain_layers(nn.Sequential(base)):
        pass
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items()), "the layer itself keeps its weights"


def test_a_layer_with_an_adapter_somewhere_is_parted() -> None:
    class Adapted(nn.Linear):
        pass

    base = block()
    base.mlp.fc1 = Adapted(24, 96)
    model = nn.ModuleDict({"whole": block(), "adapted": base, "taught": block().train()})
    with plain_layers(model):
        assert isinstance(model["whole"], PlainXcitBlock)
        assert model["adapted"] is base and isinstance(base.attn, PlainCrossCovariance)
        assert isinstance(model["taught"], XCABlock), "statistics of a batch are still to be taken"
    assert isinstance(base.attn, CrossCovariance)


@pytest.mark.parametrize("bias", [True, False])
def test_class_token_attends_as_before(bias: bool) -> None:
    base = drawn(ClassAttn(24, num_heads=3, qkv_bias=bias))
    assert isinstance(base, ClassAttn)
    x = noise(2, 7, 24)
    torch.testing.assert_close(PlainClassAttention(base)(x), base(x), atol=1e-4, rtol=1e-5)


def test_products_over_many_tokens_fit_half_precision() -> None:
    base = drawn(CrossCovariance(XCA(24, num_heads=3, qkv_bias=True)))
    assert isinstance(base, CrossCovariance)
    x = 20 * noise(1, 196, 24)
    q, k, _ = base.qkv(x).split(24, dim=2)
    most = torch.finfo(torch.float16).max
    assert (q.transpose(1, 2) @ k).abs().max() > most, "this shows nothing: the products fit anyway"
    plain = PlainCrossCovariance(base)
    q, k = plain.q(x), plain.k(x)
    assert (q.transpose(1, 2) @ k).abs().max() < most / 4


def test_attention_with_adapters_on_it_is_left_alone() -> None:
    class Adapted(nn.Linear):
        pass

    base = CrossCovariance(XCA(24, num_heads=3))
    base.proj = Adapted(24, 24)
    model = nn.ModuleDict({"channels": base, "class": ClassAttn(24, num_heads=3).eval()})
    with plain_layers(model):
        assert model["channels"] is base
        assert isinstance(model["class"], PlainClassAttention)


@pytest.mark.parametrize("more", [{"bias": False}, {"add_bias_kv": True}, {"add_zero_attn": True}, {"kdim": 8, "vdim": 8}])
def test_other_kinds_are_left_alone(more: dict[str, object]) -> None:
    model = nn.ModuleDict({"one": attention(**more) if "kdim" not in more else nn.MultiheadAttention(24, 3, batch_first=True, **more)})  # type: ignore[arg-type]
    with plain_layers(model):
        assert isinstance(model["one"], nn.MultiheadAttention)
    model = nn.ModuleDict({"one": nn.MultiheadAttention(24, 3)})  # the batch in the second place
    with plain_layers(model):
        assert isinstance(model["one"], nn.MultiheadAttention)
