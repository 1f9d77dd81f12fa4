"""Class means and the scale of familiarity, by hand; what training keeps of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from blocklora.training.familiarity import MEANS, NARROWEST, SCALE, from_features


def test_each_picture_is_left_out_of_its_own_mean() -> None:
    features = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 1.0]]), dim=1)
    found = from_features(features, torch.tensor([0, 0, 1, 1]), 2)
    assert found is not None
    # With two pictures a class, the mean without one is the other.
    cosines = np.array([np.sqrt(0.5), np.sqrt(0.5), 1.0, 1.0])
    assert found.scale.mean == pytest.approx(cosines.mean()) and found.scale.spread == pytest.approx(cosines.std(ddof=1))
    angle = np.pi / 8
    np.testing.assert_allclose(found.means.numpy(), [[np.cos(angle), np.sin(angle)], [0, 1]], atol=1e-6)
    score = found.scores(torch.tensor([[1.0, 0.0]]))
    assert score[0] == pytest.approx((np.cos(angle) - cosines.mean()) / cosines.std(ddof=1), abs=1e-5)


def test_left_out_the_training_pictures_are_no_more_familiar_than_new_ones() -> None:
    """Where nothing was learned, the scale promises new pictures what they get: zero on average, however few made the mean."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(5, 16, generator=generator)

    def draw(each: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.arange(5).repeat_interleave(each)
        return F.normalize(centres[labels] + torch.randn(5 * each, 16, generator=generator), dim=1), labels

    train, new = draw(8), draw(200)
    found = from_features(*train, 5)
    assert found is not None
    own = (new[0] @ found.means.T)[torch.arange(1000), new[1]]
    assert abs(found.scale.standard(own.numpy().astype(np.float64)).mean()) < 0.25
    seen = (train[0] @ found.means.T)[torch.arange(40), train[1]]
    assert found.scale.standard(seen.numpy().astype(np.float64)).mean() > 0.25, "not left out, they would look more familiar"


def test_classes_of_one_picture_and_none() -> None:
    features = F.normalize(torch.eye(3), dim=1)
    assert from_features(features, torch.tensor([0, 1, 2]), 3) is None  # nothing can be left out
    assert from_features(features, torch.tensor([0, 0, 1]), 3) is None  # a class without a picture has no mean
    found = from_features(F.normalize(torch.ones(3, 3), dim=1), torch.tensor([0, 0, 1]), 2)
    assert found is not None and found.scale.spread == NARROWEST
    assert set(found.tensors()) == {MEANS, SCALE} and found.tensors()[MEANS].shape == (2, 3)
    assert found.scores(torch.zeros(0, 3)).shape == (0,)
