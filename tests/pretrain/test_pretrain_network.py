"""The faster way through the tower is open_clip's; Muon is torch's; pieces add up to the batch."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny_data import TINY_CFG
from torch import nn

from blocklora.errors import TrainingError
from blocklora.pretrain.augment import Mixed, augment, colour, mix
from blocklora.pretrain.config import SMALL_MODEL_CFG, Recipe
from blocklora.pretrain.losses import Learner, Targets, superclass_loss, total_loss
from blocklora.pretrain.muon import Muon, orthogonalise
from blocklora.pretrain.network import build_model, encode_image, position_embedding
from blocklora.pretrain.optimiser import Optimisers
from blocklora.pretrain.parallel import Team


@pytest.mark.parametrize("cfg", [TINY_CFG, SMALL_MODEL_CFG])
def test_fast_forward_is_the_towers_own(cfg: dict) -> None:
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    size = cfg["vision_cfg"]["image_size"]
    pixels = torch.randn(2, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(encode_image(model.visual, pixels), model.encode_image(pixels), atol=1e-5, rtol=1e-5)


def test_smaller_images_are_taken_with_interpolated_positions() -> None:
    model = build_model(TINY_CFG)
    assert encode_image(model.visual, torch.randn(2, 3, 8, 8)).shape == (2, 16)
    constant = torch.full_like(model.visual.positional_embedding, 0.5)
    model.visual.positional_embedding.data = constant
    torch.testing.assert_close(position_embedding(model.visual, 2), constant[:5])


def test_a_wrong_network_is_refused() -> None:
    with pytest.raises(TrainingError, match="needs embed_dim"):
        build_model({"embed_dim": 3})
    with pytest.raises(TrainingError, match="does not accept"):
        build_model({**TINY_CFG, "vision_cfg": {"no_such_option": 1}})


def test_muon_is_torchs_muon() -> None:
    torch.manual_seed(0)
    mine = [nn.Parameter(torch.randn(s)) for s in ((12, 8), (8, 12), (12, 8), (8, 8))]
    theirs = [nn.Parameter(p.detach().clone()) for p in mine]
    ours = Muon(mine, lr=0.02, momentum=0.9, weight_decay=0.1)
    reference = torch.optim.Muon(theirs, lr=0.02, momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        for a, b in zip(mine, theirs, strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        ours.step()
        reference.step()
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=2e-3, rtol=0)  # both work in bfloat16


def test_filters_are_moved_as_matrices() -> None:
    torch.manual_seed(0)
    filters = nn.Parameter(torch.randn(24, 3, 3, 3))
    matrix = nn.Parameter(filters.detach().reshape(24, 27).clone())
    filters.grad = torch.randn_like(filters)
    matrix.grad = filters.grad.reshape(24, 27).clone()
    for parameter in (filters, matrix):
        Muon([parameter], lr=0.1).step()
    torch.testing.assert_close(filters.reshape(24, 27), matrix)


def test_optimisers_share_a_timm_tower_between_them() -> None:
    """Filters and matrices go to Muon; depthwise filters, gains and biases do not."""
    model = build_model(SMALL_MODEL_CFG)
    names = {id(p): name for name, p in model.named_parameters()}
    moved = {names[id(p)] for group in Optimisers(model, nn.Linear(2, 2), Recipe()).muon.param_groups for p in group["params"]}
    assert {"visual.trunk.blocks.0.attn.qkv.weight", "visual.trunk.patch_embed.proj.2.0.weight"} <= moved
    assert not [name for name in moved if name.endswith("bias") or "local_mp" in name or "cls_token" in name]


def test_copies_agree_on_running_statistics() -> None:
    norm = nn.BatchNorm1d(2)
    team = Team(norm, threads=2)
    team.run(lambda twin, piece: twin(piece).sum().backward(), torch.randn(40, 2).add(3).split(4))
    team.close()
    first, second = team._copies
    assert torch.equal(first.running_mean, second.running_mean)
    assert torch.equal(first.running_mean, norm.running_mean)
    assert norm.running_mean.min() > 0.5


def test_orthogonalised_values_are_near_one() -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(3, 24, 8)).float())
    assert values.min() > 0.5
    assert values.max() < 1.4


def test_superclass_loss_leaves_other_true_ones_alone() -> None:
    truth = torch.tensor([[True, True, False, False]])  # dog and animal, neither car nor food
    label = torch.tensor([0])
    base = superclass_loss(torch.tensor([[2.0, 1.0, 0.0, 0.0]]), label, truth)
    assert superclass_loss(torch.tensor([[9.0, 1.0, 0.0, 0.0]]), label, truth) < base
    assert superclass_loss(torch.tensor([[2.0, 1.0, 9.0, 0.0]]), label, truth) > base
    assert superclass_loss(torch.zeros(1, 4), label, torch.zeros(1, 4, dtype=torch.bool)) == 0


def test_pieces_on_threads_give_the_gradients_of_the_batch() -> None:
    torch.manual_seed(0)
    model = build_model(TINY_CFG)
    learner = Learner(model.visual, nn.Linear(16, 3), model.logit_scale)
    whole = copy.deepcopy(learner)
    batch = Mixed(torch.randn(12, 3, 16, 16), torch.arange(12) % 3, torch.arange(12) % 2, 0.7)
    targets = Targets(torch.eye(3, 16), torch.eye(2, 16), torch.tensor([[True, False], [False, True], [False, False]]))
    total_loss(whole, batch, targets, Recipe())[0].backward()

    def learn(copy_: nn.Module, piece: Mixed) -> None:
        (total_loss(copy_, piece, targets, Recipe())[0] * (len(piece.a) / 12)).backward()

    team = Team(learner, threads=2)
    team.run(learn, batch.split(5))
    team.close()
    for name, parameter in whole.named_parameters():
        torch.testing.assert_close(learner.get_parameter(name).grad, parameter.grad, atol=1e-5, rtol=1e-4)


def test_views_are_the_same_for_the_same_seed_and_stay_in_range() -> None:
    images = torch.randint(0, 256, (10, 3, 16, 16), dtype=torch.uint8)
    views = [augment(images, 8, 0.4, 1.0, torch.Generator().manual_seed(5)) for _ in range(2)]
    assert torch.equal(*views)
    assert views[0].shape == (10, 3, 8, 8)
    assert views[0].abs().max() < 2.7  # white and black after normalisation


def test_without_strength_colours_stay() -> None:
    pixels = torch.rand(6, 3, 8, 8)
    torch.testing.assert_close(colour(pixels, 0.0, torch.Generator().manual_seed(1)), pixels)
    assert (colour(pixels, 1.0, torch.Generator().manual_seed(1)) - pixels).abs().max() > 0.1


def test_mixing_tells_how_much_of_each_picture_is_there() -> None:
    pixels = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 16, 16).contiguous()
    draw = torch.Generator().manual_seed(0)
    for _ in range(20):
        mixed = mix(pixels, torch.arange(4), 1.0, draw)
        expected = mixed.share * mixed.a + (1 - mixed.share) * mixed.b
        torch.testing.assert_close(mixed.pixels.mean((1, 2, 3)), expected.float())
        assert mixed.share >= 0.5 - 1e-6
    assert mix(pixels, torch.arange(4), 0.0, draw).share == 1.0
