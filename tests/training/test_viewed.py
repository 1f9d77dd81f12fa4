"""Views of the training images as the frozen model sees them: the ones that the steps see, the same whatever was learned since."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from prepared import drain, preparing

from blocklora.clip.pixels import normalise
from blocklora.clip.prompts import image_features
from blocklora.config import AdapterConfig
from blocklora.jobs.events import Caching
from blocklora.training import looking
from blocklora.training.control import Control
from blocklora.training.loop import train
from blocklora.training.sampling import PIXELS, generator_of
from blocklora.training.state import start_state
from blocklora.training.subset import Everything
from blocklora.training.viewed import CROP_SCALE
from blocklora.training.views import MOST


@pytest.mark.parametrize("last_layers", [None, 1])
def test_a_view_is_looked_at_as_any_image_is(make_tiny_run: Callable, last_layers: int | None) -> None:
    events, setup = drain(preparing(make_tiny_run(class_weights="images", rotations="no", adapter=AdapterConfig(last_layers=last_layers))))
    found, n = setup.frozen.views, len(setup.cache)
    count = setup.spec.training.views if setup.views is None else setup.views.count
    assert found is not None and found.shape == (n, count, setup.frozen.values.shape[1])
    assert [event.done for event in events if isinstance(event, Caching) and event.views] == [n]
    crop_scale = CROP_SCALE if setup.views is None else None  # the steps' own views serve where they are kept
    pixels = setup.cache.batch(range(n), generator_of(setup.spec.training.seed, PIXELS, 0 * MOST + 1), setup.compute.device, crop_scale)
    with torch.no_grad():
        wanted = image_features(setup.backbone.model, normalise(pixels, setup.backbone.preprocess))
    torch.testing.assert_close(found[:, 1], wanted, atol=2e-3, rtol=0)  # kept views are half precision
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(found.shape[:2]))


def test_held_out_images_are_looked_at_without_what_was_learned(make_tiny_run: Callable) -> None:
    _, setup = drain(preparing(make_tiny_run(class_weights="images", learning_rate=0.05)))
    drain(train(setup, start_state(setup), 12, Control()))
    learned = setup.adapters.state_dict()
    everything = Everything.of(setup)
    assert all(torch.equal(learned[name], tensor) for name, tensor in setup.adapters.state_dict().items())
    pixels = everything.cache.batch(
        range(len(everything.cache)), generator_of(setup.spec.training.seed, PIXELS, 0 * MOST + 1), setup.compute.device, CROP_SCALE
    )
    with torch.no_grad():
        now = image_features(setup.backbone.model, normalise(pixels, setup.backbone.preprocess))
        setup.adapters.detach()
        before = image_features(setup.backbone.model, normalise(pixels, setup.backbone.preprocess))
    assert everything.frozen.views is not None and not torch.allclose(now, before, atol=1e-3)
    torch.testing.assert_close(everything.frozen.views[:, 1], F.normalize(before, dim=-1), atol=1e-4, rtol=0)


def test_words_alone_and_very_many_images_need_no_views(make_tiny_run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    assert drain(preparing(make_tiny_run("words", class_weights="text")))[1].frozen.views is None
    monkeypatch.setattr(looking, "FEW_ENOUGH", 23)  # 18 to learn from, 6 held out: counted together, whatever is trained first
    _, setup = drain(preparing(make_tiny_run("many", class_weights="images")))
    assert len(setup.cache) == 18 and setup.frozen.views is None and Everything.of(setup).frozen.views is None
    monkeypatch.setattr(looking, "FEW_ENOUGH", 24)
    _, setup = drain(preparing(make_tiny_run("just", class_weights="images")))
    everything = Everything.of(setup)
    assert setup.frozen.views is not None and everything.frozen.views is not None and len(everything.frozen.views) == 24
    part = dataclasses.replace(setup.frozen).of(torch.arange(18) % 2 == 0)
    assert part.views is not None and torch.equal(part.views, setup.frozen.views[::2])
