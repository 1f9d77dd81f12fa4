"""Everything that happens before the first step: backbone, pictures, class weights, adapters."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import torch
import torch.nn.functional as F

from blocklora.clip.backbones import Backbone, DownloadProgress, load_backbone
from blocklora.clip.pixels import to_model_input
from blocklora.clip.prompts import PromptBatch, image_features, text_class_weights, tokenise, weights_of_prompts
from blocklora.clip.split import Split, split_image_tower, split_text_tower
from blocklora.config import DISCRIMINANT, AdapterConfig
from blocklora.errors import TrainingError
from blocklora.files import read_json
from blocklora.jobs.events import Caching, Downloading, Event, Note
from blocklora.jobs.spec import RunSpec
from blocklora.lora.attach import Adapters, attach
from blocklora.lora.layout import find_layers
from blocklora.projects.dataset import Dataset, Item
from blocklora.training.class_weights import Choice, ClassWeights, Features, choose
from blocklora.training.control import Control
from blocklora.training.device import Compute
from blocklora.training.entering import Entering, embed
from blocklora.training.going_on import Start
from blocklora.training.image_cache import ImageCache
from blocklora.training.leaks import Leak, Looks, counted_tests, find_leaks
from blocklora.training.leaks import words as leak_words
from blocklora.training.pictures import CHUNK, EvalSet, decoded
from blocklora.training.viewed import Viewer
from blocklora.training.views import PartOfViews, Views, views_of

EVENT_SECONDS = 0.5


@dataclass(frozen=True)
class Data:
    """The pictures of a run with their split, as dataset.json holds them; `test` is a folder of the person's own."""

    dataset: Dataset
    train: tuple[int, ...]
    held_out: tuple[int, ...]
    test: Dataset | None
    divided: int = 0
    """Sets of near-identical images that lie on both sides of the split, because a class has too little else."""

    @classmethod
    def read(cls, path: Path) -> Data:
        values = read_json(path)
        if values is None:
            raise TrainingError("the run has no dataset.json.", "Start a new run.")
        test = values.get("test")
        dataset = Dataset.from_dict(values["dataset"])
        if not all(Path(item.path).exists() for item in (*dataset.items, *dataset.others)):
            dataset = dataset.located(path.parents[2])  # <project>/runs/<run>/dataset.json: the project was moved or copied
        tests = None if test is None else Dataset.from_dict(test)
        if tests is not None and not all(Path(item.path).exists() for item in tests.items):
            tests = tests.located(path.parents[2])
        return cls(dataset, tuple(values["train"]), tuple(values["held_out"]), tests, values.get("divided", 0))

    @property
    def others(self) -> tuple[Item, ...]:
        """Pictures of none of the classes."""
        return self.dataset.others

    def others_set(self, preprocess: Any) -> EvalSet | None:
        """The pictures of none of the classes; None where there are none."""
        if not self.others:
            return None
        labels = torch.tensor([item.label for item in self.others], dtype=torch.long)
        return EvalSet([Path(item.path) for item in self.others], labels, preprocess)

    def eval_set(self, indices: tuple[int, ...], preprocess: Any) -> EvalSet:
        items = [self.dataset.items[i] for i in indices]
        return EvalSet([Path(item.path) for item in items], torch.tensor([item.label for item in items], dtype=torch.long), preprocess)

    def test_set(self, preprocess: Any) -> EvalSet | None:
        if self.test is None:
            return None
        return EvalSet(
            [Path(item.path) for item in self.test.items], torch.tensor([i.label for i in self.test.items], dtype=torch.long), preprocess
        )


@dataclass(frozen=True)
class Before:
    """How many of a set of images the untuned model has right: by names alone, and with the class weights it starts from."""

    n: int
    zero_shot: int
    start: int


@dataclass
class Setup:
    """A run that is ready for its first step. `labels` (N,) belong to the cached training images."""

    spec: RunSpec
    data: Data
    backbone: Backbone
    compute: Compute
    cache: ImageCache
    frozen: Features
    """What the frozen model makes of the training images, which the class weights start from."""
    frozen_held: Features
    untrained: dict[str, torch.Tensor]
    """The adapters as they begin."""
    labels: torch.Tensor
    held_out: EvalSet
    test: EvalSet | None
    others: EvalSet | None
    """Pictures of none of the classes: only looked at in the end."""
    leaks: list[Leak]
    """Test pictures that look like pictures the run learns from."""
    choice: Choice
    class_weights: ClassWeights
    adapters: Adapters
    prompts: PromptBatch
    text_adapted: bool
    before: Before
    before_test: Before | None
    start: Start | None = None
    """What this run goes on from, where it does."""
    shift: torch.Tensor | None = None
    """Where the learned shift of the class weights begins, then."""
    image_split: Split | None = None
    views: Views | PartOfViews | None = None
    viewer: Viewer | None = None
    """How views of its images are looked at, where class weights are made of them."""
    text_split: Split | None = None
    text_hidden: torch.Tensor | None = None
    """What enters the first adapted layer of the text tower, for every prompt."""
    entering: Entering | None = None
    """What enters that of the image tower, for whole pictures; without it they run through all layers each time."""

    def features(self, inputs: torch.Tensor) -> torch.Tensor:
        """Normalised features (B, D) of what `loop.inputs` gives: hidden states where views are kept, else preprocessed images."""
        if self.views is None or self.image_split is None:
            return image_features(self.backbone.model, inputs)
        return F.normalize(self.image_split.upper(inputs).float(), dim=-1)

    def embed(self, images: EvalSet) -> torch.Tensor:
        """Normalised embeddings (N, D) of a set of pictures by the model as it is now, on the CPU in fp32."""
        return embed_all(self.backbone, images, self.compute) if self.entering is None else self.entering.features(images)

    def held_out_features(self) -> torch.Tensor:
        """Normalised embeddings (N, D) of the held-out images, on the CPU; the frozen part of the tower runs once in a run."""
        return self.embed(self.held_out)

    def close(self) -> None:
        """Remove what was kept for the steps."""
        if self.views is not None:
            self.views.close()

    def step_text(self) -> torch.Tensor | None:
        """This step's class weights from names, through the adapted text tower; None where the frozen ones serve."""
        if not (self.text_adapted and self.class_weights.uses_text):
            return None
        if self.text_split is None or self.text_hidden is None:
            return text_class_weights(self.backbone.model, self.prompts)
        return weights_of_prompts(self.text_split.upper(self.text_hidden), self.prompts.n_templates)

    def logits(self, features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """`logits_of` at the backbone's own scale."""
        return logits_of(features, weights, self.backbone.logit_scale)

    def trainable(self) -> dict[str, torch.nn.Parameter]:
        """All trained tensors by name; the order is that of the optimiser."""
        named = dict(self.adapters.named_parameters())
        if self.class_weights.shift is not None:
            named["class_weights.shift"] = self.class_weights.shift
        return named


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
    setup_data: Data, indices: tuple[int, ...], backbone: Backbone, entering: Entering, crop_scale: float, folder: Path | None
) -> Generator[Event, None, tuple[ImageCache, Features]]:
    """Decode the training images once: a small copy for random crops, and the frozen model's embedding."""
    cache = ImageCache(backbone.preprocess.size, crop_scale, folder)
    items = [setup_data.dataset.items[i] for i in indices]
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
            yield Caching(done, len(cache))
    return dataclasses.replace(features, views=torch.cat(found)) if found else features


def embed_all(backbone: Backbone, images: EvalSet, compute: Compute) -> torch.Tensor:
    """Normalised embeddings (N, D) of a set of pictures, on the CPU in fp32."""
    with torch.inference_mode():
        parts = [embed(backbone, chunk, compute) for chunk in images.chunks()]
    return torch.cat(parts) if parts else torch.zeros(0, backbone.embed_dim)


def prepare(
    spec: RunSpec,
    data: Data,
    compute: Compute,
    control: Control,
    folder: Path | None = None,
    choice: Choice | None = None,
    start: Start | None = None,
) -> Generator[Event, None, Setup]:
    """Everything before the first step; yields events, returns the `Setup`. What memory does not hold is kept in `folder`; `choice` is that
    of a run that is resumed, `start` what it begins with where it goes on from another one.

    Raises:
        TrainingError: a class has no training image, or a picture cannot be read.
    """
    backbone = yield from _load(spec)
    control.watch(backbone.model)
    compute.take(backbone.model)
    names = data.dataset.class_names
    image_split = _below(backbone, spec.adapter)
    entering = Entering(image_split, backbone, compute)
    cache, features = yield from _look(data, data.train, backbone, entering, spec.training.crop_scale, folder)
    missing = [names[c] for c in range(len(names)) if not bool((features.labels == c).any())]
    if missing:
        raise TrainingError(f"no training images in: {', '.join(missing)}.", "Add images to these classes, or delete them.")
    held_out = data.eval_set(data.held_out, backbone.preprocess)
    yield from _fill(held_out)
    test = data.test_set(backbone.preprocess)
    others = data.others_set(backbone.preprocess)
    for images in (test, others):
        if images is not None:
            yield from _fill(images)
    prompts = tokenise(list(names), list(spec.training.templates), backbone).to(compute.device)
    if data.divided:
        what = "A set" if data.divided == 1 else f"{data.divided} sets"
        yield Note(
            f"{what} of near-identical images had to be divided between training and held-out images: the held-out figure is a little kind."
        )
    with torch.inference_mode():
        text = text_class_weights(backbone.model, prompts).float().cpu()
        held = Features(entering.features(held_out), held_out.labels)
    if choice is None and start is not None:
        choice = start.choice
    views = views_of(image_split, cache, backbone, compute, spec.training, folder, len(data.train) + len(data.held_out))
    viewer = None
    if choice.discriminant if choice is not None else spec.training.class_weights in DISCRIMINANT:
        viewer = Viewer(backbone, compute, spec.training.seed, image_split, views)
        features = yield from _look_again(features, viewer, cache)
    if choice is None:
        choice = choose(features, held, text, spec.training.class_weights, backbone.logit_scale)
    for warning in prompts.warnings if choice.mode != "images" else ():  # names that are not used may be as long as they like
        yield Note(warning)
    # inference_mode tensors cannot take part in autograd: the buffers are made of fresh copies.
    weights = ClassWeights(choice, features, text.clone()).to(compute.device)
    before = _before(held.values, held.labels, weights, backbone.logit_scale)
    leaks, before_test = [], None
    if test is not None and data.test is not None:
        learned_before = start.seen if start is not None else frozenset()
        tested = entering.features(test)
        seen = Looks.of(features.values, cache.inputs(backbone.preprocess)) + Looks.of(held.values, held_out.chunks())
        leaks = find_leaks(data.test, data.dataset, (*data.train, *data.held_out), seen, Looks.of(tested, test.chunks()), learned_before)
        if leaks:
            yield Note(leak_words(leaks, data.test))
        counted = counted_tests(len(test), leaks)
        before_test = _before(tested[counted], test.labels[counted], weights, backbone.logit_scale)
    adapter = spec.adapter
    text_adapted = "text" in adapter.towers and weights.uses_text
    if not text_adapted:
        adapter = dataclasses.replace(adapter, towers=("image",))
    adapters = attach(backbone.model, adapter, spec.training.seed)
    if start is not None:
        start.adapters_into(adapters, backbone)
    shift = None if start is None else start.shift_into(weights, data.dataset.class_ids)
    first = adapters.first_layer.get("text", 0)
    text_split = split_text_tower(backbone.model, prompts.tokens, first) if first > 0 else None
    with torch.no_grad():
        text_hidden = None if text_split is None else text_split.lower(prompts.tokens)
    return Setup(
        spec=dataclasses.replace(spec, adapter=adapter),
        data=data,
        backbone=backbone,
        compute=compute,
        cache=cache,
        frozen=features,
        frozen_held=held,
        untrained={name: parameter.detach().clone() for name, parameter in adapters.named_parameters()},
        labels=features.labels.clone(),
        held_out=held_out,
        test=test,
        others=others,
        leaks=leaks,
        choice=choice,
        class_weights=weights,
        adapters=adapters,
        prompts=prompts,
        text_adapted=text_adapted,
        entering=entering,
        before=before,
        before_test=before_test,
        image_split=image_split,
        views=views,
        viewer=viewer,
        text_split=text_split,
        text_hidden=text_hidden,
        start=start,
        shift=shift,
    )


def _below(backbone: Backbone, adapter: AdapterConfig) -> Split | None:
    """The image tower in two, where there are layers below the first one that will be adapted."""
    if "image" not in adapter.towers or adapter.last_layers is None:
        return None
    first = len(find_layers(backbone.model, "image")) - adapter.last_layers
    return split_image_tower(backbone.model, first) if first > 0 else None


def _before(features: torch.Tensor, labels: torch.Tensor, weights: ClassWeights, scale: float) -> Before:
    """What the untuned model has right on images that none of its class weights were made from."""
    with torch.inference_mode():
        zero_shot = logits_of(features, weights.text.cpu(), scale).argmax(dim=1)
        start = logits_of(features, weights().float().cpu(), scale).argmax(dim=1)
    return Before(len(labels), int((zero_shot == labels).sum()), int((start == labels).sum()))


def _fill(images: EvalSet) -> Generator[Event, None, None]:
    said = 0.0
    for done in images.fill():
        if time.monotonic() - said > EVENT_SECONDS or done == len(images):
            said = time.monotonic()
            yield Caching(done, len(images))


def logits_of(features: torch.Tensor, weights: torch.Tensor, scale: float) -> torch.Tensor:
    """Logits (N, C) of embeddings (N, D), normalised here, against class weights (C, D)."""
    return scale * F.normalize(features.float(), dim=1) @ weights.float().T
