"""A run's setup on other images of it: all of them, or all but a fold. The model, its adapters and the kind of class weights stay."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from blocklora.plan import views_wanted
from blocklora.training.class_weights import ClassWeights, Features
from blocklora.training.image_cache import ImageCache
from blocklora.training.pictures import decoded
from blocklora.training.setup import Setup
from blocklora.training.views import PartOfViews, Views


@dataclass(frozen=True)
class Everything:
    """All images of a run: `indices` into its dataset, and in that order their small copies and what the frozen model makes of them."""

    indices: tuple[int, ...]
    cache: ImageCache
    frozen: Features

    @classmethod
    def of(cls, setup: Setup) -> Everything:
        """Training images, then held-out ones (which are decoded for it)."""
        data = setup.data
        cache = setup.cache.copy()
        for image in decoded([Path(data.dataset.items[i].path) for i in data.held_out]):
            cache.add(image)
        parts, views = (setup.frozen, setup.frozen_held), setup.frozen.views
        if setup.views is not None:
            assert isinstance(setup.views, Views)  # the run's own setup, not one that was made here
            setup.views.grow(cache)
        if views is not None and setup.viewer is not None and data.held_out:
            with _frozen(setup):
                views = setup.viewer.grown(views, cache)
        frozen = Features(torch.cat([part.values for part in parts]), torch.cat([part.labels for part in parts]), views)
        return cls((*data.train, *data.held_out), cache, frozen)

    def places(self, indices: Sequence[int]) -> list[int]:
        """Where images of the dataset lie in `cache` and `frozen`."""
        place = {index: i for i, index in enumerate(self.indices)}
        return [place[index] for index in indices]


def on_images(setup: Setup, everything: Everything, train: Sequence[int], held_out: Sequence[int], steps: int) -> Setup:
    """`setup` as before its first step, to learn from `train` and be measured on `held_out` (indices into the dataset), for `steps` steps.

    The adapters are the same modules, set back to their start; what was learned is gone. Class weights are made anew, of `train` alone.
    Views are those of `setup`, as far as they have been computed.
    """
    data, backbone = setup.data, setup.backbone
    with torch.no_grad():
        for name, parameter in setup.adapters.named_parameters():
            parameter.copy_(setup.untrained[name])
    places, out = everything.places(train), everything.places(held_out)
    cache, every = everything.cache.only(places), everything.frozen
    frozen = every.of(places)
    weights = ClassWeights(setup.choice, frozen, setup.class_weights.text.cpu().clone())
    if weights.shift is not None and setup.shift is not None:
        with torch.no_grad():
            weights.shift.copy_(setup.shift)
    training = dataclasses.replace(setup.spec.training, steps=max(1, steps))
    views: PartOfViews | None = None
    if setup.views is not None:
        assert isinstance(setup.views, Views)
        views = setup.views.part(places, views_wanted(training, len(places)))
    return dataclasses.replace(
        setup,
        spec=dataclasses.replace(setup.spec, training=training),
        data=dataclasses.replace(data, train=tuple(train), held_out=tuple(held_out)),
        cache=cache,
        frozen=frozen,
        frozen_held=every.of(out),
        labels=frozen.labels.clone(),
        held_out=data.eval_set(tuple(held_out), backbone.preprocess),
        class_weights=weights.to(setup.compute.device),
        views=views,
    )


@contextmanager
def _frozen(setup: Setup) -> Iterator[None]:
    """The model without its adapters' updates, for as long as this is open."""
    learned = setup.adapters.state_dict()
    setup.adapters.load_state_dict({name: torch.zeros_like(tensor) if name.endswith(".B") else tensor for name, tensor in learned.items()})
    try:
        yield
    finally:
        setup.adapters.load_state_dict(learned)
