"""A single training: adapters on, fixed steps, a measurement on the test pictures, adapters off."""

from __future__ import annotations

import dataclasses

import safetensors.torch
import torch

from blocklora.clip.split import split_image_tower
from blocklora.experiments.bed import Shots
from blocklora.experiments.protocol import Protocol
from blocklora.experiments.tables import Row
from blocklora.experiments.variants import Variant
from blocklora.jobs.spec import RunSpec
from blocklora.lora.attach import attach
from blocklora.training.class_weights import Features
from blocklora.training.control import Control
from blocklora.training.data import Data
from blocklora.training.evaluate import final_class_weights
from blocklora.training.loop import train
from blocklora.training.pictures import EvalSet
from blocklora.training.setup import Before, Setup
from blocklora.training.state import State, start_state


def ready(shots: Shots, variant: Variant, protocol: Protocol) -> tuple[Setup, State]:
    """A run before its first step, with its adapters on the backbone: whoever calls must take them off (`setup.adapters.detach`)."""
    drawn, bed = shots.drawn, shots.drawn.bed
    backbone, device = bed.backbone, bed.compute.device
    training = protocol.training(shots.count, drawn.seed, bed.data.template)
    choice, weights = shots.class_weights(training.class_weights)
    text_adapted = "text" in variant.adapter.towers and weights.uses_text
    towers = variant.adapter.towers if text_adapted else ("image",)
    adapter = dataclasses.replace(variant.adapter, towers=towers, last_layers=protocol.last_layers)
    adapters = attach(backbone.model, adapter, drawn.seed)
    first = adapters.first_layer["image"]
    part = split_image_tower(backbone.model, first) if first else None
    for block in adapters.blocks.values():
        block.A.requires_grad_("A" in variant.trains)
        block.B.requires_grad_("B" in variant.trains)
    nothing = EvalSet([], torch.zeros(0, dtype=torch.long), backbone.preprocess)
    setup = Setup(
        spec=RunSpec(backbone.name, "", adapter, training, device=device.type),
        data=Data(drawn.pool, tuple(shots.places), (), None),
        backbone=backbone,
        compute=bed.compute,
        cache=shots.cache,
        frozen=shots.frozen,
        frozen_held=Features(shots.frozen.values[:0], shots.frozen.labels[:0]),
        untrained={},
        labels=shots.frozen.labels,
        held_out=nothing,
        test=None,
        others=None,
        leaks=[],
        choice=choice,
        class_weights=weights.to(device),
        adapters=adapters,
        prompts=bed.prompts,
        text_adapted=text_adapted,
        before=Before(0, 0, 0),
        before_test=None,
        image_split=part,
        views=shots.views(part, first, training),
    )
    return setup, start_state(setup, training.batch_size)


def trained(shots: Shots, variant: Variant, protocol: Protocol) -> Row:
    """Train once and measure on the test pictures: top-1 in percent, trained parameters of the adapters, bytes of their file, seconds."""
    setup, state = ready(shots, variant, protocol)
    bed = shots.drawn.bed
    try:
        for _ in train(setup, state, setup.spec.training.steps, Control()):
            pass
        logits = setup.logits(bed.adapted(setup), final_class_weights(setup))
        parts = [parameter for parameter in setup.adapters.parameters() if parameter.requires_grad]
        return {
            "top1": bed.accuracy(logits),
            "parameters": sum(part.numel() for part in parts),
            "bytes": len(safetensors.torch.save(setup.adapters.state_dict())) if parts else 0,
            "seconds": round(state.progress.seconds, 2),
        }
    finally:
        setup.adapters.detach()
