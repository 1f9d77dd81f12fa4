"""Classifiers on frozen features: what they compute, against plain formulas, and that they choose on the shots alone."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from blocklora.experiments import heads
from blocklora.training.class_weights import Features

CLASSES, WIDTH = 4, 12


def clouds(each: int, seed: int = 0, spread: float = 0.25) -> tuple[Features, torch.Tensor]:
    """Features of CLASSES clouds that lie around the class weights (C, D) of the names, stretched in a direction that says nothing."""
    draw = torch.Generator().manual_seed(seed)
    text = F.normalize(torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(9)), dim=1)
    labels = torch.arange(CLASSES).repeat_interleave(each)
    noise = torch.randn(len(labels), WIDTH, generator=draw) * spread
    noise[:, 0] *= 6
    return Features(F.normalize(text[labels] + noise, dim=1), labels), text


def right(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return (logits.argmax(1) == labels).float().mean().item()


@pytest.mark.parametrize("name", sorted(heads.HEADS))
def test_every_head_beats_guessing(name: str) -> None:
    shots, text = clouds(8)
    test, _ = clouds(50, seed=1)
    logits = heads.HEADS[name](shots, text, 20.0, test.values)
    assert logits is not None and logits.shape == (200, CLASSES) and right(logits, test.labels) > 0.5


def test_one_shot_is_enough_for_all_but_gda() -> None:
    shots, text = clouds(1)
    found = {name: head(shots, text, 20.0, shots.values) for name, head in heads.HEADS.items()}
    assert [name for name, logits in found.items() if logits is None] == ["gda"]


def test_left_out_errors_are_those_of_really_leaving_out() -> None:
    shots, text = clouds(3)
    x = shots.values.double()
    rest = F.one_hot(shots.labels, CLASSES).double() - x @ text.double().T
    kernel, ridge = heads._kernel(x, x, 2.0), 0.3
    errors = []
    for i in range(len(x)):
        others = [j for j in range(len(x)) if j != i]
        solved = torch.linalg.solve(kernel[others][:, others] + ridge * torch.eye(len(others)).double(), rest[others])
        errors.append((rest[i] - kernel[i, others] @ solved).square())
    assert heads._left_out_error(kernel, rest, ridge) == pytest.approx(float(torch.stack(errors).mean()))


def test_proker_with_a_heavy_ridge_is_zero_shot(monkeypatch: pytest.MonkeyPatch) -> None:
    shots, text = clouds(4)
    test, _ = clouds(5, seed=1)
    monkeypatch.setattr(heads, "RIDGES", (1e9,))
    assert torch.allclose(heads.proker(shots, text, 20.0, test.values), test.values @ text.T, atol=1e-5)
    monkeypatch.setattr(heads, "RIDGES", (1e-9,))
    monkeypatch.setattr(heads, "BANDWIDTHS", (20.0,))
    assert torch.allclose(heads.proker(shots, text, 20.0, shots.values), F.one_hot(shots.labels, CLASSES).float(), atol=1e-3)


def test_gaussians_are_the_published_formula() -> None:
    shots, _ = clouds(6)
    test, _ = clouds(5, seed=1)
    x, y = shots.values.double(), shots.labels
    means = torch.stack([x[y == c].mean(0) for c in range(CLASSES)])
    covariance = (x - means[y]).T.cov()
    inverse = WIDTH * torch.linalg.inv((len(x) - 1) * covariance + covariance.trace() * torch.eye(WIDTH).double())
    z = test.values.double()
    wanted = z @ inverse @ means.T - 0.5 * (means @ inverse * means).sum(1)
    assert torch.allclose(heads._gaussians(shots, CLASSES, test.values).double(), wanted, atol=1e-2, rtol=1e-4)


def test_names_that_mean_nothing_are_given_little_weight() -> None:
    shots, _ = clouds(8)
    test, _ = clouds(50, seed=1)
    strange = F.normalize(torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(77)), dim=1)
    for name in ("gda", "proker"):
        logits = heads.HEADS[name](shots, strange, 20.0, test.values)
        assert (
            logits is not None and right(logits, test.labels) > right(heads.zero_shot(shots, strange, 20.0, test.values), test.labels) + 0.2
        )


def test_folds_spread_every_class() -> None:
    labels = torch.tensor([0] * 7 + [1] * 3)
    fold = heads.folds_of(labels, 5)
    assert fold[labels == 0].bincount().tolist() == [2, 2, 1, 1, 1] and fold[labels == 1].tolist() == [0, 1, 2]
