"""The stand-in for torch's attention gives torch's numbers, and leaves no trace."""

from __future__ import annotations

import pytest
import torch
from tiny_export import make_classifier
from torch import nn

from exporters.attention import PlainAttention, plain_attention


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
    with pytest.raises(RuntimeError, match="oh"), plain_attention(tower):
        assert any(isinstance(module, PlainAttention) for module in tower.modules())
        raise RuntimeError("oh")
    assert dict(tower.named_modules()) == before


@pytest.mark.parametrize("more", [{"bias": False}, {"add_bias_kv": True}, {"add_zero_attn": True}, {"kdim": 8, "vdim": 8}])
def test_other_kinds_are_left_alone(more: dict[str, object]) -> None:
    model = nn.ModuleDict({"one": attention(**more) if "kdim" not in more else nn.MultiheadAttention(24, 3, batch_first=True, **more)})  # type: ignore[arg-type]
    with plain_attention(model):
        assert isinstance(model["one"], nn.MultiheadAttention)
    model = nn.ModuleDict({"one": nn.MultiheadAttention(24, 3)})  # the batch in the second place
    with plain_attention(model):
        assert isinstance(model["one"], nn.MultiheadAttention)
