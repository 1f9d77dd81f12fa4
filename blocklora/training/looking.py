"""The first look at a run's pictures: each is decoded, and the frozen model says what it makes of it.

Pictures that are asked whether they have a top are decoded once more for their turns (`rotations`): small copies for crops would be other
inputs than those that everything is measured with.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

import torch

from blocklora.clip.backbones import Backbone, DownloadProgress, load_backbone
from blocklora.clip.pixels import to_model_input
from blocklora.clip.split import Split, split_image_tower
from blocklora.config import DISCRIMINANT, AdapterConfig
from blocklora.errors import TrainingError
from blocklora.jobs.events import Caching, Downloading, Event
from blocklora.jobs.spec import RunSpec
from blocklora.lora.layout import find_layers
from blocklora.preprocess import TURNS
from blocklora.speeds import FEW_ENOUGH
from blocklora.training.class_weights import Choice, Features
from blocklora.training.control import Control
from blocklora.training.data import Data
from blocklora.training.device import Compute
from blocklora.training.entering import Entering
from blocklora.training.image_cache import ImageCache
from blocklora.training.pictures import CHUNK, EvalSet, decoded
from blocklora.training.rotations import turned_embeddings
from blocklora.training.viewed import Viewer
from blocklora.training.views import Views, views_of

EVENT_SECONDS = 0.5


@dataclass(frozen=True)
class Looked:
    """The backbone, and all that it makes of the pictures before anything is attached to it.

    `split` is the image tower in two, where there are layers below the first one that will be adapted; `views` keeps what enters the upper
    part, `viewer` looks at views where class weights may be made of them.
    """

    backbone: Backbone
    split: Split | None
    entering: Entering
    cache: ImageCache
    train: Features
    held_out: EvalSet
    held: Features
    test: EvalSet | None
    others: EvalSet | None
    views: Views | None
    viewer: Viewer | None


def look(
    spec: RunSpec, data: Data, compute: Compute, control: Control, folder: Path | None, choice: Choice | None
) -> Generator[Event, None, Looked]:
    """Load the backbone and look at every picture of a run.

    Raises:
        TrainingError: a class has no training image, or a picture cannot be read.
    """
    training = spec.training
    backbone = yield from _load(spec)
    control.watch(backbone.model)
    compute.take(backbone.model)
    split = _below(backbone, spec.adapter)
    entering = Entering(split, backbone, compute)
    cache, features = yield from _look(data, backbone, entering, training.crop_scale, folder)
    names = data.dataset.class_names
    missing = [names[c] for c in range(len(names)) if not bool((features.labels == c).any())]
    if missing:
        raise TrainingError(f"no training images in: {', '.join(missing)}.", "Add images to these classes, or delete them.")
    held_out = data.eval_set(data.held_out, backbone.preprocess)
    yield from _fill(held_out)
    test, others = data.test_set(backbone.preprocess), data.others_set(backbone.preprocess)
    for images in (test, others):
        if images is not None:
            yield from _fill(images)
    held = Features(entering.features(held_out), held_out.labels)
    wish = training.rotations if choice is None else "yes" if choice.rotated else "no"
    turning, everything = Entering(split, backbone, compute, TURNS), data.eval_set((*data.train, *data.held_out), backbone.preprocess)
    upright = torch.cat([features.values, held.values])
    turned = yield from turned_embeddings(wish, turning, everything, upright, backbone.logit_scale)
    if turned is not None:
        entering, cache.rotated = turning, True
        seen, of_held = turned.split([len(features.values), len(held.values)])
        features, held = Features(seen, features.labels), Features(of_held, held.labels)
    views = views_of(split, cache, backbone, compute, training, folder, len(data.train) + len(data.held_out))
    viewer = None
    few = len(data.train) + len(data.held_out) <= FEW_ENOUGH  # counted over all, so that a second training starts in the same way
    if few and (choice.discriminant if choice is not None else training.class_weights in DISCRIMINANT):
        viewer = Viewer(backbone, compute, training.seed, training.views, split, views)
        features = yield from _look_again(features, viewer, cache)
    return Looked(backbone, split, entering, cache, features, held_out, held, test, others, views, viewer)


def _load(spec: RunSpec) -> Generator[Event, None, Backbone]:
    """The backbone. It is loaded in a thread, so that the progress of a download can be told while it goes on."""
    heard: SimpleQueue[DownloadProgress] = SimpleQueue()
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(load_backbone, spec.backbone, Path(spec.home), heard.put)
        while not loading.done() or not heard.empty():
            try:
                progress = heard.get(timeout=0.1)
            except Empty:
                continue
            while not heard.empty():  # only the newest counts
                progress = heard.get()
            yield Downloading(spec.backbone, progress.done, progress.total)
            time.sleep(EVENT_SECONDS if not loading.done() else 0)
        return loading.result()


def _look(
    data: Data, backbone: Backbone, entering: Entering, crop_scale: float, folder: Path | None
) -> Generator[Event, None, tuple[ImageCache, Features]]:
    """Decode the training images once: a small copy for random crops, and the frozen model's embedding."""
    cache = ImageCache(backbone.preprocess.size, crop_scale, folder)
    items = [data.dataset.items[i] for i in data.train]
    values: list[torch.Tensor] = []
    waiting: list[torch.Tensor] = []
    said = 0.0
    with torch.inference_mode():
        for done, image in enumerate(decoded([Path(item.path) for item in items]), 1):
            cache.add(image)
            waiting.append(to_model_input(torch.from_numpy(image)[None], backbone.preprocess))
            if len(waiting) == CHUNK or done == len(items):
                values.append(entering.embed([Path(item.path) for item in items[done - len(waiting) : done]], torch.cat(waiting)))
                waiting = []
            if time.monotonic() - said > EVENT_SECONDS or done == len(items):
                said = time.monotonic()
                yield Caching(done, len(items))
    return cache, Features(torch.cat(values), torch.tensor([item.label for item in items], dtype=torch.long))


def _look_again(features: Features, viewer: Viewer, cache: ImageCache) -> Generator[Event, None, Features]:
    """`features` with those of views of the images."""
    found, done, said = [], 0, 0.0
    for part in viewer.embeddings(cache):
        found.append(part)
        done += len(part)
        if time.monotonic() - said > EVENT_SECONDS or done == len(cache):
            said = time.monotonic()
            yield Caching(done, len(cache), views=True)
    return dataclasses.replace(features, views=torch.cat(found))


def _below(backbone: Backbone, adapter: AdapterConfig) -> Split | None:
    """The image tower in two, where there are layers below the first one that will be adapted."""
    if "image" not in adapter.towers or adapter.last_layers is None:
        return None
    first = len(find_layers(backbone.model, "image")) - adapter.last_layers
    return split_image_tower(backbone.model, first) if first > 0 else None


def _fill(images: EvalSet) -> Generator[Event, None, None]:
    said = 0.0
    for done in images.fill():
        if time.monotonic() - said > EVENT_SECONDS or done == len(images):
            said = time.monotonic()
            yield Caching(done, len(images))
