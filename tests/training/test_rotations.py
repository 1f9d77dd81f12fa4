"""Whether which side is up matters: what the images themselves say, and that training does as they say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from prepared import drain, preparing

from blocklora.config import AdapterConfig, TrainingConfig
from blocklora.jobs.events import Caching, Note
from blocklora.jobs.run_folder import RunFolder
from blocklora.preprocess import TURNS
from blocklora.presets import preset_config
from blocklora.projects.folders import read_class_folders
from blocklora.services.runs import RunRequest, make_run, split_of
from blocklora.training import rotations
from blocklora.training.augment import quarter_turns
from blocklora.training.entering import Entering
from blocklora.training.image_cache import ImageCache
from blocklora.training.rotations import Evidence, Loss, evidence
from blocklora.training.sampling import generator_of
from blocklora.training.subset import Everything, on_images


def test_pictures_are_turned_each_by_its_own_quarters() -> None:
    pixels = torch.rand(5, 3, 4, 4)
    turned = quarter_turns(pixels, torch.tensor([0, 1, 2, 3, 1]))
    for before, after, quarters in zip(pixels, turned, (0, 1, 2, 3, 1), strict=True):
        assert torch.equal(after, torch.rot90(before, quarters, (1, 2)))


def test_turned_batches_are_the_same_crops_turned() -> None:
    cache = ImageCache(16, crop_scale=0.5)
    random = np.random.default_rng(1)
    for _ in range(40):
        cache.add(random.integers(0, 256, (40, 60, 3), dtype=np.uint8))
    device, places = torch.device("cpu"), range(40)
    upright = cache.batch(places, generator_of(1, 2, 3), device)
    cache.rotated = True
    turned = cache.only(places).batch(places, generator_of(1, 2, 3), device)
    found = [[k for k in range(4) if torch.equal(torch.rot90(one, k, (1, 2)), other)] for one, other in zip(upright, turned, strict=True)]
    assert all(len(quarters) == 1 for quarters in found) and {quarters[0] for quarters in found} == {0, 1, 2, 3}


def embeddings(noise: float, n: int = 120, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Normalised embeddings around class directions, their labels, and the directions."""
    generator = torch.Generator().manual_seed(3)
    directions = F.normalize(torch.randn(classes, 16, generator=generator), dim=1)
    labels = torch.arange(n) % classes
    return F.normalize(directions[labels] + noise * torch.randn(n, 16, generator=generator), dim=1), labels, directions


def test_no_top_is_seen_where_the_mean_of_turns_is_as_good() -> None:
    upright, labels, directions = embeddings(0.6)
    generator = torch.Generator().manual_seed(4)
    better = F.normalize(directions[labels] + 0.3 * torch.randn(upright.shape, generator=generator), dim=1)
    worse = F.normalize(directions[labels] + 1.5 * torch.randn(upright.shape, generator=generator), dim=1)
    found, lost = (evidence(upright, turned, labels, 4, 100.0) for turned in (better, worse))
    assert found.no_top and found.all_through.mean < found.upright and 0.25 < found.right < 1
    assert not lost.no_top and min(lost.looked_at.mean, lost.all_through.mean) > lost.upright == found.upright
    same = evidence(upright, upright, labels, 4, 100.0)
    assert same.no_top and same.looked_at == same.all_through and same.looked_at.mean == same.upright and same.looked_at.error == 0


def test_turns_that_only_a_classifier_of_turns_can_tell_apart_serve_too() -> None:
    upright, labels, directions = embeddings(0.6)
    generator = torch.Generator().manual_seed(4)
    elsewhere = F.normalize(directions.roll(1, dims=0)[labels] + 0.2 * torch.randn(upright.shape, generator=generator), dim=1)
    found = evidence(upright, elsewhere, labels, 4, 100.0)
    assert found.no_top and found.looked_at.mean > found.upright > found.all_through.mean


def test_where_all_is_right_already_pictures_stay_as_they_are() -> None:
    upright, labels, _ = embeddings(0.05)
    found = evidence(upright, upright, labels, 4, 100.0)
    assert found.right == 1 and not found.no_top


@pytest.fixture
def drawn(tmp_path: Path, tiny_home: Path) -> Callable:
    """`drawn(draw, n, **training)`: a run on the tiny backbone with two classes of `n` pictures, `draw(label, random)` each (H, W)."""

    def make(draw: Callable, n: int = 20, **training: object) -> RunFolder:
        random = np.random.default_rng(5)
        for label, name in enumerate(("first", "second")):
            (tmp_path / "data" / name).mkdir(parents=True)
            for number in range(n):
                grey = np.clip(draw(label, random), 0, 255).astype(np.uint8)
                Image.fromarray(np.repeat(grey[:, :, None], 3, axis=2)).save(tmp_path / "data" / name / f"{number}.png")
        dataset, _ = read_class_folders(tmp_path / "data")
        config = TrainingConfig(preset="quick", steps=4, batch_size=8, checks=1, device="cpu", class_weights="images", **training)  # type: ignore[arg-type]
        request = RunRequest("tiny", config, AdapterConfig(last_layers=1))
        return make_run(tmp_path / "run", tiny_home, dataset, split_of(dataset, config), request)

    return make


def ramp(label: int, random: np.random.Generator) -> np.ndarray:
    """Brighter towards the top or towards the bottom, a little or clearly: turned by a half, one class is the other."""
    down = np.linspace(-1, 1, 40)[:, None] * np.ones(40)
    return 128 + (1 if label else -1) * random.uniform(2, 80) * down + random.normal(0, 25, (40, 40))


def grain(label: int, random: np.random.Generator) -> np.ndarray:
    """Noise of more or less contrast: the same whichever side is up."""
    return 128 + random.normal(0, 1, (40, 40)) * (random.uniform(30, 60) if label else random.uniform(18, 42))


def looked_again(events: list) -> list[int]:
    return [event.done for event in events if isinstance(event, Caching) and event.views]


def test_pictures_with_a_top_are_learned_from_as_they_are(drawn: Callable) -> None:
    events, setup = drain(preparing(drawn(ramp)))
    assert not setup.choice.rotated and not setup.cache.rotated
    assert looked_again(events)[0] == 32 and looked_again(events)[1] == 40  # all of them turned, before views of the training images
    assert not any("quarter turns" in event.message for event in events if isinstance(event, Note))


def test_pictures_without_a_top_are_learned_from_turned_too(drawn: Callable) -> None:
    events, setup = drain(preparing(drawn(grain)))
    assert setup.choice.rotated and setup.cache.rotated
    assert [event.message for event in events if isinstance(event, Note) and "which side is up tells nothing" in event.message]
    data, backbone = setup.data, setup.backbone
    entering = Entering(None, backbone, setup.compute, TURNS)
    for seen, indices in ((setup.frozen.values, data.train), (setup.frozen_held.values, data.held_out)):
        whole = entering.features(data.eval_set(indices, backbone.preprocess))
        torch.testing.assert_close(seen, whole, atol=1e-5, rtol=1e-4)  # nothing is trained yet
    torch.testing.assert_close(setup.held_out_features(), setup.frozen_held.values, atol=1e-5, rtol=1e-4)
    assert setup.preprocess.turns == TURNS and setup.preprocess.size == backbone.preprocess.size and backbone.preprocess.turns == 1
    everything = Everything.of(setup)
    assert everything.cache.rotated and on_images(setup, everything, everything.indices[:20], (), 2).cache.rotated


def test_what_was_found_out_is_not_found_out_again(drawn: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    run = drawn(grain)
    _, first = drain(preparing(run))
    monkeypatch.setattr(rotations, "evidence", lambda *_: pytest.fail("looked again"))
    _, again = drain(preparing(run, choice=first.choice))
    assert again.cache.rotated and torch.equal(first.frozen.views, again.frozen.views)


@pytest.mark.parametrize(("wish", "rotated"), [("yes", True), ("no", False)])
def test_a_wish_is_followed_without_looking(drawn: Callable, wish: str, rotated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotations, "evidence", lambda *_: pytest.fail("looked"))
    _, setup = drain(preparing(drawn(grain, rotations=wish)))
    assert setup.choice.rotated == setup.cache.rotated == rotated


def test_very_many_pictures_are_judged_by_some_of_them(drawn: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotations, "ROTATED_AT_MOST", 39)
    events, _ = drain(preparing(drawn(grain, n=30)))
    assert looked_again(events)[0] == 30  # every second one of sixty


def test_those_that_were_not_asked_are_looked_at_turned_too(drawn: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotations, "ROTATED_AT_MOST", 39)
    monkeypatch.setattr(rotations, "evidence", lambda *_: Evidence(1.0, Loss(1.0, 0.0), Loss(1.0, 0.0), 0.5))
    events, setup = drain(preparing(drawn(grain, n=30)))
    assert looked_again(events)[:2] == [30, 30] and setup.choice.rotated
    whole = Entering(None, setup.backbone, setup.compute, TURNS).features(setup.data.eval_set(setup.data.train, setup.backbone.preprocess))
    torch.testing.assert_close(setup.frozen.values, whole, atol=1e-5, rtol=1e-4)


def test_too_few_pictures_are_not_asked(drawn: Callable) -> None:
    events, setup = drain(preparing(drawn(grain, n=10)))
    assert not setup.choice.rotated and looked_again(events) == [16]  # the views of the training images alone


def test_the_published_recipe_turns_nothing() -> None:
    assert preset_config("thorough", "builtin", 16).rotations == "no"
    assert preset_config("quick", "builtin", 16).rotations == preset_config("balanced", "builtin", 16).rotations == "auto"
