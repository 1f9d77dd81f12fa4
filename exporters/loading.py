"""A finished run's model, read back from its folder: the adapter file, the backbone that it belongs to, and both together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import nn

from blocklora.clip.backbones import Backbone, load_backbone
from blocklora.errors import ExportError
from blocklora.jobs.run_folder import RunFolder
from blocklora.jobs.spec import RunSpec
from blocklora.lora.adapter_file import CLASS_WEIGHTS, AdapterMeta, check_base, load_adapter
from blocklora.lora.adapters import Adapters
from blocklora.lora.attach import attach
from blocklora.preprocess import Preprocess
from blocklora.reject import Wish
from blocklora.services.rejecting import wish_of
from exporters.classifier import Classifier, build_classifier
from exporters.knowing import knowing_of
from exporters.known_graph import Knowing


@dataclass(frozen=True)
class Adapted:
    """A run's whole backbone with its adapters attached, its class weights (C, D), what the adapter file says, and its rule."""

    backbone: Backbone
    adapters: Adapters
    class_weights: torch.Tensor
    meta: AdapterMeta
    wish: Wish
    knowing: Knowing | None


@dataclass(frozen=True)
class Loaded:
    """A run's model with its adapters attached, what the adapter file says, and the `wish` that its rule is made of."""

    classifier: Classifier
    adapters: Adapters
    meta: AdapterMeta
    wish: Wish


def load_run(run: RunFolder, spec: RunSpec) -> Loaded:
    """The run's backbone with the trained adapters attached, as a classifier on the CPU in fp32.

    It has the rule for pictures of none of the classes that holds for the run, where the adapter file has what that needs.

    Raises:
        StudioError: as `load_adapted`.
    """
    found = load_adapted(run, spec)
    classifier = build_classifier(
        cast(nn.Module, found.backbone.model.visual),
        found.class_weights,
        Preprocess.from_dict(found.meta.preprocess),
        found.meta.logit_scale,
        found.meta.temperature,
        found.knowing,
    )
    return Loaded(classifier, found.adapters, found.meta, found.wish)


def load_adapted(run: RunFolder, spec: RunSpec) -> Adapted:
    """The run's backbone, both towers, with the trained adapters attached, on the CPU in fp32.

    Raises:
        StudioError: as `read_adapter`; or the backbone is missing, or the adapter belongs to another one.
    """
    tensors, meta = read_adapter(run)
    backbone = load_backbone(spec.backbone, Path(spec.home))
    check_base(meta, backbone)
    adapters, wish = attach(backbone.model, meta.config), wish_of(run)
    adapters.load_state_dict({name: tensor for name, tensor in tensors.items() if name.endswith((".A", ".B"))})
    return Adapted(backbone, adapters, tensors[CLASS_WEIGHTS], meta, wish, knowing_of(tensors, wish))


def read_adapter(run: RunFolder) -> tuple[dict[str, torch.Tensor], AdapterMeta]:
    """The tensors of the run's adapter file, class weights among them, and its metadata.

    Raises:
        ExportError: the run has no adapter file yet, or one without class weights.
        AdapterError: the file is damaged.
    """
    if not run.adapter_path.is_file():
        raise ExportError("this run has no adapter file, so there is nothing to export.", "Let its training finish, or train again.")
    tensors, meta = load_adapter(run.adapter_path)
    if CLASS_WEIGHTS not in tensors:
        raise ExportError("the run's adapter file holds no class weights.", "Train this run again.")
    return tensors, meta
