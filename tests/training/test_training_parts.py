"""The pieces of training, each against numbers worked out by hand or by another library."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from blocklora.training.augment import crop_resize_flip, draw_crops
from blocklora.training.class_weights import (
    ClassWeights,
    Features,
    choose,
    class_means,
    closed_form,
    discriminant_weights,
    left_out_logits,
)
from blocklora.training.class_weights import _tried_discriminant as tried_discriminant
from blocklora.training.device import choose as choose_device
from blocklora.training.image_cache import ImageCache, shrink
from blocklora.training.loop import cosine
from blocklora.training.metrics import confusion, fit_temperature, negative_log_likelihood, per_class, report, softmax, wilson
from blocklora.training.sampling import batch_positions, generator_of


def test_wilson_interval_as_published() -> None:
    low, high = wilson(27, 30)
    assert low == pytest.approx(0.744, abs=1e-3)  # Newcombe 1998's formula, worked out by hand
    assert high == pytest.approx(0.965, abs=1e-3)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 10)[0] == 0.0


def test_confusion_and_per_class_by_hand() -> None:
    table = confusion(np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 0]), 3)
    assert table.tolist() == [[1, 1, 0], [1, 2, 0], [0, 0, 0]]
    rows = per_class(table, ["a", "b", "c"])
    assert rows[0]["recall"] == 0.5 and rows[0]["precision"] == 0.5
    assert rows[1]["recall"] == pytest.approx(2 / 3) and rows[1]["precision"] == pytest.approx(2 / 3)
    assert rows[2]["recall"] is None and rows[2]["precision"] is None


def test_temperature_cools_overconfident_logits_and_keeps_the_order() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 400)
    honest = rng.normal(0, 1, (400, 4))
    honest[np.arange(400), labels] += 1.5
    over = honest * 6
    temperature = fit_temperature(over, labels)
    assert temperature > 3
    assert negative_log_likelihood(over / temperature, labels) < negative_log_likelihood(over, labels)
    assert (softmax(over / temperature).argmax(1) == softmax(over).argmax(1)).all()


def test_a_few_perfect_images_do_not_ask_for_certainty() -> None:
    logits = np.array([[5.0, 0.0], [0.0, 5.0], [4.0, 0.0]])
    assert 0.4 < fit_temperature(logits, np.array([0, 1, 0])) <= 1.0
    assert fit_temperature(np.zeros((0, 2)), np.zeros(0, dtype=int)) == 1.0


def test_the_temperature_is_the_best_and_costs_few_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a thousand classes each look at the logits takes a sixth of a second."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 5, 60)
    logits = 3.0 * rng.normal(size=(60, 5)) + 4.0 * np.eye(5)[labels]
    looks = []

    def counted(logits: np.ndarray, labels: np.ndarray) -> float:
        looks.append(1)
        return negative_log_likelihood(logits, labels)

    monkeypatch.setattr("blocklora.training.metrics.negative_log_likelihood", counted)
    found = fit_temperature(logits, labels)
    assert len(looks) < 40
    grid = np.exp(np.linspace(np.log(found) - 0.05, np.log(found) + 0.05, 201))
    costs = [60 * negative_log_likelihood(logits / t, labels) + 2.0 * np.log(t) ** 2 for t in grid]
    assert abs(np.log(grid[int(np.argmin(costs))] / found)) < 0.001


def test_report_of_nothing_says_nothing() -> None:
    empty = report(np.zeros((0, 2)), np.zeros(0, dtype=int), ["a", "b"])
    assert empty["n"] == 0 and empty["top1"] is None and empty["images"] == []


def test_batches_see_every_image_equally_often_and_depend_on_the_step_alone() -> None:
    positions = [position for step in range(7) for position in batch_positions(10, 4, step, seed=3)]
    assert [epoch for epoch, _ in positions] == [place // 10 for place in range(28)]
    seen = [i for _, i in positions]
    assert len(seen) == 28
    assert sorted(seen[:10]) == list(range(10)) and sorted(seen[10:20]) == list(range(10))
    assert [i for _, i in batch_positions(10, 4, 5, seed=3)] == seen[20:24]
    assert [i for _, i in batch_positions(10, 4, 5, seed=4)] != seen[20:24]
    assert len(batch_positions(3, 8, 0, seed=1)) == 8


def test_streams_of_random_numbers_are_apart() -> None:
    drawn = {
        tuple(torch.rand(2, generator=generator_of(seed, stream, index)).tolist())
        for seed in (0, 1)
        for stream in (1, 2)
        for index in (0, 1)
    }
    assert len(drawn) == 8


def test_crops_stay_inside_and_keep_area_and_proportions() -> None:
    sizes = torch.tensor([[100, 160]] * 500)
    boxes = draw_crops(sizes, 0.08, generator_of(1, 2, 3))
    top, left, height, width = boxes.T
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + height <= 100 + 1e-9).all() and (left + width <= 160 + 1e-9).all()
    share = height * width / 16_000
    assert share.min() < 0.15 and share.max() > 0.7 and (share > 0.08 - 1e-9).all()
    assert (width / height >= 0.75 - 1e-9).all() and (width / height <= 4 / 3 + 1e-9).all()


def test_a_strip_that_no_crop_fits_gives_its_middle() -> None:
    boxes = draw_crops(torch.tensor([[10, 1000]]), 1.0, generator_of(1, 1, 1))
    top, left, height, width = boxes[0].tolist()
    assert (top, height) == (0.0, 10.0)
    assert width == pytest.approx(10 * 4 / 3)
    assert left == pytest.approx((1000 - width) / 2)


def test_cropping_everything_at_the_same_size_changes_nothing_and_flipping_mirrors() -> None:
    pixels = torch.rand(2, 3, 16, 16) * 255
    whole = torch.tensor([[0.0, 0.0, 16.0, 16.0]] * 2)
    out = crop_resize_flip(pixels, whole, torch.tensor([False, True]), 16)
    assert torch.allclose(out[0], pixels[0], atol=1e-2)
    assert torch.allclose(out[1], pixels[1].flip(-1), atol=1e-2)


def test_reducing_averages_instead_of_skipping() -> None:
    stripes = torch.zeros(1, 3, 64, 64)
    stripes[..., ::2] = 255.0
    out = crop_resize_flip(stripes, torch.tensor([[0.0, 0.0, 64.0, 64.0]]), torch.tensor([False]), 16)
    assert out.sub(127.5).abs().max() < 2


def test_padding_never_shows() -> None:
    cache = ImageCache(32, crop_scale=0.9)
    for shape in ((40, 60), (300, 200), (33, 33)):
        cache.add(np.full((*shape, 3), 200, dtype=np.uint8))
    batch = cache.batch([0, 1, 2] * 8, generator_of(1, 2, 3), torch.device("cpu"))
    assert batch.shape == (24, 3, 32, 32)
    assert (batch - 200).abs().max() < 0.01


def test_cached_pictures_are_never_enlarged_and_lose_long_ends() -> None:
    assert shrink(np.zeros((50, 40, 3), np.uint8), 192).shape == (50, 40, 3)
    assert shrink(np.zeros((100, 1000, 3), np.uint8), 192).shape == (100, 200, 3)
    assert min(shrink(np.zeros((900, 600, 3), np.uint8), 192).shape[:2]) == 192
    assert shrink(np.zeros((1, 5, 3), np.uint8), 192).shape == (1, 2, 3)


def unit(values: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(values, dim=1)


def test_left_out_means_by_hand() -> None:
    values = unit(torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]))
    train = Features(values, torch.tensor([0, 0, 1]))
    logits = left_out_logits(train, None, 2, 0.0)
    assert logits[0, 0] == pytest.approx(0.6)  # the mean of class 0 without image 0 is image 1
    assert logits[0, 1] == pytest.approx(0.0)
    assert logits[2, 1] == pytest.approx(0.0)  # alone in its class: nothing is left to compare with
    assert logits[2, 0] == pytest.approx(float(unit(values[:2].sum(0)[None])[0, 1]))
    assert torch.allclose(class_means(train, 2)[1], values[2])


def clusters(n: int, spread: float, seed: int = 0) -> Features:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.eye(4)
    labels = torch.arange(4).repeat(n)
    return Features(unit(centres[labels] + spread * torch.randn(4 * n, 4, generator=generator)), labels)


def test_names_that_mean_nothing_are_ignored_and_said_so() -> None:
    text = unit(torch.tensor([[1.0, 1, 1, 1]] * 4) + 0.01 * torch.randn(4, 4, generator=torch.Generator().manual_seed(1)))
    choice = choose(clusters(6, 0.2), clusters(2, 0.2, 1), text, "auto", 100.0)
    assert choice.mode == "images" and not choice.names_known
    assert "learns from your images" in choice.note


def test_names_that_say_it_all_are_used() -> None:
    choice = choose(clusters(2, 0.8), clusters(2, 0.8, 1), torch.eye(4), "auto", 100.0)
    assert choice.mode in ("text", "blend") and choice.names_known
    assert choice.before_tuning >= choice.zero_shot


@pytest.mark.parametrize(("wanted", "share"), [("text", 1.0), ("images", 0.0)])
def test_what_was_asked_for_is_taken(wanted: str, share: float) -> None:
    choice = choose(clusters(4, 0.3), clusters(2, 0.3, 1), torch.eye(4), wanted, 100.0)
    assert (choice.mode, choice.text_share) == (wanted, share)


def stretched(n: int, seed: int = 0) -> Features:
    """Three classes that differ in two directions, while images of one class differ far more in four others."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(3).repeat(n)
    values = 0.02 * torch.randn(3 * n, 24, generator=draw)
    values[:, 0] += 1.0
    values[:, 1:3] += 0.1 * torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])[labels]
    values[:, 4:8] += 0.4 * torch.randn(3 * n, 4, generator=draw)
    return Features(unit(values), labels)


def right(features: Features, weights: torch.Tensor) -> float:
    return ((features.values @ weights.T).argmax(1) == features.labels).float().mean().item()


def test_discriminant_weights_look_past_what_differs_within_classes() -> None:
    train, test = stretched(30), stretched(200, seed=1)
    assert right(test, class_means(train, 3)) < 0.85 < 0.97 < right(test, discriminant_weights(train, 3))


def test_discriminant_weights_are_the_means_where_little_is_known() -> None:
    alone = Features(unit(torch.randn(3, 8, generator=torch.Generator().manual_seed(0))), torch.arange(3))
    assert torch.equal(discriminant_weights(alone, 3), class_means(alone, 3))
    even = clusters(2, 0.01)  # differences within classes without a direction: the covariance is shrunk to a ball
    centred = class_means(even, 4) - class_means(even, 4).mean(0)
    assert torch.nn.functional.cosine_similarity(discriminant_weights(even, 4), centred).min() > 0.95
    same = Features(torch.eye(3).repeat(2, 1), torch.arange(3).repeat(2))  # no difference at all
    assert torch.equal(discriminant_weights(same, 3), class_means(same, 3))
    assert torch.isfinite(discriminant_weights(Features(same.values, same.labels), 5)).all()  # two classes without images


@pytest.mark.parametrize("images", [3, 30])
def test_few_images_and_many_are_solved_for_the_same_weights(images: int) -> None:
    """9 images have fewer products with each other than the 24 dimensions, 90 have more; the formula is written out for both."""
    train = stretched(images)
    x = train.values.double()
    x = x - x @ (common := unit(x.mean(0, keepdim=True))).T * common
    means = torch.stack([x[train.labels == c].mean(0) for c in range(3)])
    within = x - means[train.labels]
    covariance = within.T @ within / (len(x) - 3)
    level, square = covariance.trace() / 24, covariance.square().mean()
    share = min(1.0, float((square + level**2) / ((len(x) - 2) * (square - level**2 / 24))))
    metric = torch.linalg.inv((1 - share) * covariance + share * level * torch.eye(24, dtype=x.dtype))
    wanted = means @ metric / ((means @ metric) * means).sum(1, keepdim=True).sqrt() / ((x @ metric) * x).sum(1).sqrt().mean()
    torch.testing.assert_close(discriminant_weights(train, 3), wanted.float())


def test_what_another_crop_changes_is_no_direction_to_tell_classes_by() -> None:
    """The few images of each class lie apart in a direction that is chance; their views do not."""
    draw = torch.Generator().manual_seed(0)
    train = stretched(4)
    lucky = train.values.clone()
    lucky[:, 10] += 0.15 * torch.tensor([-1.0, 0.0, 1.0])[train.labels]
    views = lucky[:, None].repeat(1, 6, 1)
    views[:, :, 10] += 0.3 * torch.randn(12, 6, generator=draw)
    plain, looked = Features(unit(lucky), train.labels), Features(unit(lucky), train.labels, views / views.norm(dim=-1, keepdim=True))
    spread = [weights[:, 10].abs().max().item() for weights in (discriminant_weights(plain, 3), discriminant_weights(looked, 3))]
    assert spread[1] < 0.5 * spread[0]


@pytest.mark.parametrize("images", [2, 30])
def test_views_are_weighed_as_they_say(images: int) -> None:
    """The formula written out, for fewer rows than dimensions (6 images, 18 views) and for more."""
    train = stretched(images)
    views = train.values[:, None] + 0.1 * torch.randn(3 * images, 2, 24, generator=torch.Generator().manual_seed(3))
    seen = torch.cat([train.values[:, None], views], 1).double()
    centre = train.values.double() / 2 + views.double().mean(1) / 2
    common = unit(centre.mean(0, keepdim=True))
    without = torch.eye(24, dtype=torch.double) - common.T @ common
    x, centre, apart = train.values.double() @ without, centre @ without, (seen - seen.mean(1, keepdim=True)).flatten(0, 1) @ without
    means = torch.stack([centre[train.labels == c].mean(0) for c in range(3)])
    within = centre - means[train.labels]
    covariance = within.T @ within / (len(x) - 3) + apart.T @ apart / (2 * len(x))
    level, square = covariance.trace() / 24, covariance.square().mean()
    share = min(1.0, float((square + level**2) / ((len(x) - 2) * (square - level**2 / 24))))
    metric = torch.linalg.inv((1 - share) * covariance + share * level * torch.eye(24, dtype=x.dtype))
    wanted = means @ metric / ((means @ metric) * means).sum(1, keepdim=True).sqrt() / ((x @ metric) * x).sum(1).sqrt().mean()
    torch.testing.assert_close(discriminant_weights(Features(train.values, train.labels, views), 3), wanted.float())


def test_discriminant_weights_give_logits_of_the_size_of_cosines() -> None:
    train = stretched(30)
    logits = train.values @ discriminant_weights(train, 3).T
    assert 0.1 < logits.abs().max() < 3


def test_a_class_of_which_nothing_is_left_is_nobodys_answer() -> None:
    """Otherwise its only image, left out, would be called right for want of anything known."""
    draw = torch.Generator().manual_seed(0)
    for _ in range(20):
        train = Features(unit(torch.randn(6, 12, generator=draw)), torch.tensor([0, 0, 0, 0, 0, 1]))
        empty = Features(train.values[:0], train.labels[:0])
        (right_share, _), _ = tried_discriminant(train, empty, 2, 14.0)
        assert right_share <= 5 / 6


@pytest.mark.parametrize("kind", ["names", "discriminant"])
def test_a_classifier_in_closed_form_is_as_sure_as_it_is_right(kind: str) -> None:
    if kind == "discriminant":
        train, test = stretched(30), stretched(200, seed=1)
        text = unit(torch.randn(3, 24, generator=torch.Generator().manual_seed(9)))  # names that say nothing
    else:
        train, test, text = clusters(8, 0.5), clusters(300, 0.5, seed=1), torch.eye(4)  # names that say it all
    weights, choice = closed_form(train, text, 50.0)
    assert (choice.mode == "images", choice.discriminant > 0) == (kind == "discriminant", kind == "discriminant")
    accuracy = right(test, weights)
    sureness = torch.softmax(test.values @ weights.T, dim=1).max(dim=1).values.mean().item()
    assert abs(choice.before_tuning - accuracy) < 0.12  # few images say how good it is, roughly
    assert abs(sureness - accuracy) < 0.12


def test_discriminant_weights_are_chosen_where_they_are_better_and_then_trained_as_they_are() -> None:
    train, held = stretched(30), stretched(10, seed=2)
    text = unit(torch.ones(3, 24) + 0.01 * torch.randn(3, 24, generator=torch.Generator().manual_seed(1)))
    choice = choose(train, held, text, "auto", 14.0)
    assert choice.mode == "images" and choice.discriminant > 0
    weights = ClassWeights(choice, train, text)
    assert weights.shift is not None
    assert torch.allclose(weights(), choice.discriminant * discriminant_weights(train, 3))
    assert right(held, weights().detach()) > 0.95
    assert choose(train, held, text, "blend", 14.0).discriminant == 0
    plain = choose(clusters(6, 0.2), clusters(2, 0.2, 1), torch.ones(4, 4) / 2, "images", 100.0)
    assert plain.discriminant == 0  # nothing to gain: the simpler one
    ordinary = ClassWeights(plain, clusters(6, 0.2), torch.eye(4))
    assert torch.allclose(ordinary().norm(dim=1), torch.ones(4))


@pytest.mark.parametrize(("able", "format_"), [({"avx512_bf16": True}, "bf16"), ({"avx2": True}, "fp32")])
def test_sixteen_bits_only_where_the_processor_has_them(able: dict[str, bool], format_: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert choose_device("cpu", "auto", lambda message: None).precision == format_
    assert choose_device("cpu", "fp32", lambda message: None).precision == "fp32"


def test_cosine_schedule_ends() -> None:
    assert cosine(0, 100, 2e-4) == pytest.approx(2e-4)
    assert cosine(50, 100, 2e-4) == pytest.approx((2e-4 + 1e-6) / 2)
    assert cosine(100, 100, 2e-4) == pytest.approx(1e-6)
    assert not math.isnan(cosine(1, 1, 1e-3))
