"""Everything that happens before the first step: backbone, pictures, class weights, adapters."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from blocklora.clip.backbones import Backbone
from blocklora.clip.prompts import PromptBatch, image_features, text_class_weights, tokenise, weights_of_prompts
from blocklora.clip.split import Split, split_text_tower
from blocklora.jobs.events import Event, Note
from blocklora.jobs.spec import RunSpec
from blocklora.lora.attach import Adapters, attach
from blocklora.preprocess import TURNS, Preprocess
from blocklora.training.class_weights import Choice, ClassWeights, Features, choose
from blocklora.training.control import Control
from blocklora.training.data import Data
from blocklora.training.device import Compute
from blocklora.training.entering import Entering, embed_all
from blocklora.training.going_on import Start
from blocklora.training.image_cache import ImageCache
from blocklora.training.leaks import Leak, Looks, counted_tests, find_leaks
from blocklora.training.leaks import words as leak_words
from blocklora.training.looking import Looked, look
from blocklora.training.pictures import EvalSet
from blocklora.training.rotations import rotation_words
from blocklora.training.viewed import Viewer
from blocklora.training.views import PartOfViews, Views

EVENT_SECONDS = 0.5


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

    @property
    def preprocess(self) -> Preprocess:
        """How the model that is trained here sees a picture: as its backbone does, in all its turns where these say the same."""
        return dataclasses.replace(self.backbone.preprocess, turns=TURNS if self.choice.rotated else 1)

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
    if choice is None and start is not None:
        choice = start.choice
    looked = yield from look(spec, data, compute, control, folder, choice)
    backbone, features, held = looked.backbone, looked.train, looked.held
    prompts = tokenise(list(data.dataset.class_names), list(spec.training.templates), backbone).to(compute.device)
    if data.divided:
        what = "A set" if data.divided == 1 else f"{data.divided} sets"
        yield Note(
            f"{what} of near-identical images had to be divided between training and held-out images: the held-out figure is a little kind."
        )
    with torch.inference_mode():
        text = text_class_weights(backbone.model, prompts).float().cpu()
    if choice is None:
        choice = choose(features, held, text, spec.training.class_weights, backbone.logit_scale)
        choice = dataclasses.replace(choice, rotated=looked.cache.rotated)
    for warning in prompts.warnings if choice.mode != "images" else ():  # names that are not used may be as long as they like
        yield Note(warning)
    if choice.rotated:
        yield Note(rotation_words(True, spec.training))
    # inference_mode tensors cannot take part in autograd: the buffers are made of fresh copies.
    weights = ClassWeights(choice, features, text.clone()).to(compute.device)
    before = _before(held.values, held.labels, weights, backbone.logit_scale)
    leaks, before_test = _on_test(looked, data, weights, frozenset() if start is None else start.seen)
    if leaks and data.test is not None:
        yield Note(leak_words(leaks, data.test))
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
        cache=looked.cache,
        frozen=features,
        frozen_held=held,
        untrained={name: parameter.detach().clone() for name, parameter in adapters.named_parameters()},
        labels=features.labels.clone(),
        held_out=looked.held_out,
        test=looked.test,
        others=looked.others,
        leaks=leaks,
        choice=choice,
        class_weights=weights,
        adapters=adapters,
        prompts=prompts,
        text_adapted=text_adapted,
        entering=looked.entering,
        before=before,
        before_test=before_test,
        image_split=looked.split,
        views=looked.views,
        viewer=looked.viewer,
        text_split=text_split,
        text_hidden=text_hidden,
        start=start,
        shift=shift,
    )


def _before(features: torch.Tensor, labels: torch.Tensor, weights: ClassWeights, scale: float) -> Before:
    """What the untuned model has right on images that none of its class weights were made from."""
    with torch.inference_mode():
        zero_shot = logits_of(features, weights.text.cpu(), scale).argmax(dim=1)
        start = logits_of(features, weights().float().cpu(), scale).argmax(dim=1)
    return Before(len(labels), int((zero_shot == labels).sum()), int((start == labels).sum()))


def _on_test(looked: Looked, data: Data, weights: ClassWeights, learned_before: frozenset[str]) -> tuple[list[Leak], Before | None]:
    """Test pictures that look like ones the run learns from, and what the untuned model has right on the others."""
    test, backbone = looked.test, looked.backbone
    if test is None or data.test is None:
        return [], None
    tested = looked.entering.features(test)
    seen = Looks.of(looked.train.values, looked.cache.inputs(backbone.preprocess)) + Looks.of(looked.held.values, looked.held_out.chunks())
    leaks = find_leaks(data.test, data.dataset, (*data.train, *data.held_out), seen, Looks.of(tested, test.chunks()), learned_before)
    counted = counted_tests(len(test), leaks)
    return leaks, _before(tested[counted], test.labels[counted], weights, backbone.logit_scale)


def logits_of(features: torch.Tensor, weights: torch.Tensor, scale: float) -> torch.Tensor:
    """Logits (N, C) of embeddings (N, D), normalised here, against class weights (C, D)."""
    return scale * F.normalize(features.float(), dim=1) @ weights.float().T
