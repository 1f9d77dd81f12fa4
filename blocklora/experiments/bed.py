"""One loaded backbone and one set of decoded pictures for many trainings: adapters come and go, nothing is loaded or decoded twice."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F

from blocklora.clip.backbones import Backbone
from blocklora.clip.pixels import to_model_input
from blocklora.clip.prompts import PromptBatch, image_features, text_class_weights, tokenise
from blocklora.clip.split import Split
from blocklora.config import TrainingConfig
from blocklora.experiments.sets import LabelledSet, few
from blocklora.projects.dataset import Dataset
from blocklora.training.class_weights import Choice, ClassWeights, Features, choose
from blocklora.training.device import Compute
from blocklora.training.entering import embed_all
from blocklora.training.image_cache import ImageCache
from blocklora.training.pictures import CHUNK, EvalSet, decoded
from blocklora.training.setup import Setup
from blocklora.training.views import Views, views_of


@dataclass
class Bed:
    """A set on a backbone: test pictures, and what the frozen model makes of them and of the names, each computed when first asked for."""

    backbone: Backbone
    compute: Compute
    data: LabelledSet

    @cached_property
    def test(self) -> EvalSet:
        found = _eval_set(self.data.test, self.backbone)
        for _ in found.fill():
            pass
        return found

    @cached_property
    def tested(self) -> torch.Tensor:
        """Embeddings (N, D) of the test pictures by the frozen model."""
        return embed_all(self.backbone, self.test, self.compute).clone()

    @cached_property
    def prompts(self) -> PromptBatch:
        return tokenise(list(self.data.class_names), [self.data.template], self.backbone).to(self.compute.device)

    @cached_property
    def text(self) -> torch.Tensor:
        """Class weights (C, D) of the names by the frozen model."""
        with torch.inference_mode():
            return text_class_weights(self.backbone.model, self.prompts).float().cpu().clone()

    def adapted(self, setup: Setup) -> torch.Tensor:
        """Embeddings (N, D) of the test pictures by the model as it is trained now. What lies below the adapters is kept, where it fits."""
        part, first = setup.image_split, setup.adapters.first_layer.get("image", 0)
        if part is None or not self.test.fits:
            return embed_all(self.backbone, self.test, self.compute)
        with torch.inference_mode():
            if first not in self._below:
                self._below[first] = [part.lower(chunk.to(self.compute.device)).cpu() for chunk in self.test.chunks()]
            return F.normalize(torch.cat([part.upper(h.to(self.compute.device)).float().cpu() for h in self._below[first]]), dim=-1)

    @cached_property
    def _below(self) -> dict[int, list[torch.Tensor]]:
        return {}

    def accuracy(self, logits: torch.Tensor) -> float:
        """Top-1 of logits (N, C) of the test pictures, in percent."""
        return 100 * (logits.argmax(1) == self.test.labels).double().mean().item()


def _eval_set(dataset: Dataset, backbone: Backbone) -> EvalSet:
    return EvalSet([Path(item.path) for item in dataset.items], torch.tensor([item.label for item in dataset.items]), backbone.preprocess)


@dataclass
class Drawn:
    """The pictures that a seed draws, for up to `most` shots a class: decoded and embedded once, when first asked for."""

    bed: Bed
    seed: int
    most: int
    crop_scale: float = 0.08
    _shots: dict[int, Shots] = dataclasses.field(default_factory=dict, repr=False)

    @cached_property
    def pool(self) -> Dataset:
        return few(self.bed.data.train, self.most, self.seed)

    @cached_property
    def _looked(self) -> tuple[ImageCache, Features]:
        backbone = self.bed.backbone
        cache = ImageCache(backbone.preprocess.size, self.crop_scale)
        pictures = decoded([Path(item.path) for item in self.pool.items])
        parts = []
        with torch.inference_mode():
            while chunk := list(itertools.islice(pictures, CHUNK)):
                for image in chunk:
                    cache.add(image)
                batch = torch.cat([to_model_input(torch.from_numpy(image)[None], backbone.preprocess) for image in chunk])
                parts.append(image_features(backbone.model, batch.to(self.bed.compute.device)).float().cpu())
        return cache, Features(torch.cat(parts).clone(), torch.tensor([item.label for item in self.pool.items]))

    def shots(self, count: int) -> Shots:
        """The first `count` of each class; the last ones asked for are kept, with what was computed of them."""
        if count not in self._shots:
            self._shots = {count: self._first(count)}
        return self._shots[count]

    def _first(self, count: int) -> Shots:
        seen: dict[int, int] = {}
        places = []
        for place, item in enumerate(self.pool.items):
            seen[item.label] = seen.get(item.label, 0) + 1
            if seen[item.label] <= count:
                places.append(place)
        cache, every = self._looked
        return Shots(self, count, places, cache.only(places), Features(every.values[places], every.labels[places]))


@dataclass
class Shots:
    """The pictures to learn from: small copies for random crops, and the frozen model's embeddings of them."""

    drawn: Drawn
    count: int
    places: list[int]
    cache: ImageCache
    frozen: Features
    _weights: dict[str, tuple[Choice, ClassWeights]] = dataclasses.field(default_factory=dict)
    _views: dict[tuple[int, int], Views | None] = dataclasses.field(default_factory=dict)

    def class_weights(self, wanted: str) -> tuple[Choice, ClassWeights]:
        """Where class weights start from, and a copy of them: the same for every adapter, so they are made once."""
        bed = self.drawn.bed
        if wanted not in self._weights:
            none = Features(self.frozen.values[:0], self.frozen.labels[:0])
            choice = choose(self.frozen, none, bed.text, wanted, bed.backbone.logit_scale)
            self._weights[wanted] = choice, ClassWeights(choice, self.frozen, bed.text.clone())
        choice, weights = self._weights[wanted]
        return choice, copy.deepcopy(weights)

    def views(self, part: Split | None, first: int, training: TrainingConfig) -> Views | None:
        """What enters the first adapted layer for each view of an image: the same for every adapter."""
        key = first, training.steps
        if key not in self._views:
            bed = self.drawn.bed
            self._views[key] = views_of(part, self.cache, bed.backbone, bed.compute, training, None)
        return self._views[key]
