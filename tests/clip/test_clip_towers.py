"""The built-in backbone's tower: XCiT with several poolings."""

from __future__ import annotations

import pytest
import timm
import torch

from blocklora.clip.towers import INNER_POOLING, POOLING, PooledXcit


@pytest.fixture(scope="module")
def tower() -> PooledXcit:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = timm.create_model("studio_xcit_nano_12_p8", embed_dim=32, depth=2, num_heads=4)
    made.reset_classifier(0, global_pool=POOLING)
    return made.eval()


def test_features_are_token_mean_and_maximum_side_by_side(tower: PooledXcit) -> None:
    states = torch.randn(3, 10, 32)
    token, mean, most = tower.forward_head(states).split(32, dim=1)
    wanted = (states[:, 0], states[:, 1:].mean(1), states[:, 1:].max(1).values)
    for found, part in zip((token, mean, most), wanted, strict=True):
        torch.testing.assert_close(
            found, (part - part.mean(1, keepdim=True)) / part.std(1, correction=0, keepdim=True), atol=1e-4, rtol=1e-4
        )
    assert tower.num_features == 96


def test_it_takes_any_size(tower: PooledXcit) -> None:
    with torch.no_grad():
        assert tower(torch.randn(2, 3, 64, 64)).shape == tower(torch.randn(2, 3, 80, 80)).shape == (2, 96)


def made(pooling: str) -> PooledXcit:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model("studio_xcit_nano_12_p8", embed_dim=16, depth=4, num_heads=4, num_classes=0, global_pool=pooling)
    return model.eval()


def test_inner_layers_stand_beside_the_last_ones() -> None:
    """After one, two and three of four layers, mean and maximum of what a hook sees there."""
    plain, inner = made(POOLING), made(INNER_POOLING)
    seen: list[torch.Tensor] = []
    for block in inner.blocks[:3]:
        block.register_forward_hook(lambda module, inputs, output: seen.append(output))
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        features = inner(images)
        torch.testing.assert_close(features[:, :48], plain(images))
    pooled = torch.stack([part for x in seen for part in (x.mean(1), x.max(1).values)], dim=1)  # (B, 6, width)
    wanted = torch.nn.functional.layer_norm(pooled, (16,)).flatten(1)
    torch.testing.assert_close(features[:, 48:], wanted)
    assert inner.num_features == features.shape[1] == 144


def test_other_poolings_and_classes_are_refused(tower: PooledXcit) -> None:
    with pytest.raises(ValueError, match="asked for 0 classes, pooled as 'avg'"):
        tower.reset_classifier(0, global_pool="avg")
    with pytest.raises(ValueError, match="10 classes"):
        tower.reset_classifier(10)
