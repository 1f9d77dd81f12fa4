"""Attention of the built-in backbone: timm's numbers, and those of the quicker ways."""

from __future__ import annotations

import pytest
import torch
from timm.models.cait import ClassAttn
from timm.models.xcit import XCA
from torch import nn

from blocklora.clip.attention import CrossCovariance, attend_for_class, mix_of_packed
from blocklora.lora.quick import quicken

HEADS, WIDTH, TOKENS = 4, 32, 10


@pytest.fixture
def theirs() -> XCA:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = XCA(WIDTH, num_heads=HEADS, qkv_bias=True)
        nn.init.uniform_(made.temperature, 0.5, 2)
    return made.requires_grad_(False)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_it_says_what_that_of_timm_says(theirs: XCA) -> None:
    tokens = drawn(3, TOKENS, WIDTH)
    torch.testing.assert_close(CrossCovariance(theirs)(tokens), theirs(tokens))


def test_the_quick_way_gives_the_same_numbers_and_the_same_gradient(theirs: XCA) -> None:
    mine = CrossCovariance(theirs)
    parent = nn.Sequential(mine)
    found = []
    for _ in range(2):
        tokens = drawn(3, TOKENS, WIDTH).requires_grad_()
        result = parent(tokens)
        (result * drawn(3, TOKENS, WIDTH)).sum().backward()
        assert tokens.grad is not None
        found.append((result.detach(), tokens.grad))
        quicken(parent)
    assert mine.quick
    for quick, plain in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(quick, plain, atol=1e-6, rtol=1e-4)


def test_the_gradient_is_that_of_small_steps() -> None:
    packed = drawn(2, 5, 3 * 8).double().requires_grad_()
    temperature = torch.tensor([1.5, 0.7]).double().view(2, 1, 1)
    # lengths are summed in float32, so steps are longer and demands lower than gradcheck's own
    assert torch.autograd.gradcheck(lambda x: mix_of_packed(x, temperature), packed, eps=1e-3, atol=1e-3, rtol=1e-2)


def test_in_bfloat16_it_errs_no_more_than_the_plain_way(theirs: XCA) -> None:
    mine, packed, onto = CrossCovariance(theirs), 3 * drawn(8, 49, 3 * WIDTH), drawn(8, 49, WIDTH)

    def both(x: torch.Tensor) -> torch.Tensor:
        x = x.detach().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=x.dtype == torch.bfloat16):
            mixed = mix_of_packed(x, mine.temperature) if mine.quick else mine._mix(x)
        (mixed.float() * onto).sum().backward()
        assert x.grad is not None
        return torch.cat((mixed.detach().float(), x.grad.float()), dim=2)

    exact, plain = both(packed), both(packed.bfloat16())
    mine.quicken()
    quick = both(packed.bfloat16())
    assert (quick - exact).norm() < 1.2 * (plain - exact).norm() < 0.02 * exact.norm()


def test_a_channel_of_zeros_is_no_trouble(theirs: XCA) -> None:
    packed = drawn(2, TOKENS, 3 * WIDTH)
    packed[:, :, [3, WIDTH + 5]] = 0
    packed.requires_grad_()
    mixed = mix_of_packed(packed, theirs.temperature)
    torch.testing.assert_close(mixed, CrossCovariance(theirs)._mix(packed.detach()))
    mixed.sum().backward()
    assert packed.grad is not None and packed.grad.isfinite().all()


@pytest.mark.parametrize("bias", [True, False])
def test_the_class_attends_without_keys_and_values_of_each_token(bias: bool) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = ClassAttn(WIDTH, num_heads=HEADS, qkv_bias=bias).double().eval().requires_grad_(False)
        for part in (theirs.q, theirs.k, theirs.v):
            nn.init.normal_(part.weight)  # so that tokens are far from being mixed alike
            if bias:
                nn.init.normal_(part.bias)
    found = []
    for attend in (theirs, lambda x: attend_for_class(theirs, x)):
        tokens = drawn(3, TOKENS, WIDTH).double().requires_grad_()
        result = attend(tokens)
        (result * drawn(3, 1, WIDTH)).sum().backward()
        assert tokens.grad is not None
        found.append((result.detach(), tokens.grad))
    for quick, plain in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(quick, plain)
