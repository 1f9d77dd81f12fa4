"""How much of a recipe is worth its time: which layers, how many kept views and how many steps, where a backbone is costly.

With the small built-in backbone a recipe's steps take seconds. With ViT-B/32 on a processor the same steps take minutes, and most of that
is spent in layers that few images hardly change. So Quick and Balanced have a budget in units of one forward pass of the frozen model over
all images, which says the same on every machine: where the whole recipe does not fit, the adapters go into the last layers alone, what lies
below is computed once for a few random views of each image, and there are as many steps as fit. What is decided stands in the run's
specification, so that a run that is resumed or done again decides nothing anew.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from blocklora.config import DISCRIMINANT, AdapterConfig, TrainingConfig
from blocklora.preprocess import TURNS
from blocklora.presets import is_builtin
from blocklora.speeds import FEW_ENOUGH, ROTATED_AT_MOST, Depth, Speed

BUILTIN_LAYERS = {"quick": 6}
"""Of the built-in backbone's twelve: what a step saves pays for the larger input, and the figures in the README are of these layers."""
BUDGET = {"quick": 12.0, "balanced": 60.0}
"""Forward passes over all images that a recipe is foretold to take from its start to its file. Quick is to stay within fifteen: measuring,
writing files and the small things between are not foretold, and come to about two.
"""
FEW = 160
"""Images that the budget is counted over at least: starting and exporting take as long for a handful."""
NO_MATTER = 60.0
"""Seconds of training that are not worth cutting."""
SHARES = (1 / 2, 1 / 3, 1 / 4, 1 / 6)
"""Shares of the layers that are tried, from the top: the first that leaves enough steps is taken."""
ENOUGH = {"quick": 60, "balanced": 300}
"""Steps that are worth more than more layers."""
LEAST = 30
"""Steps below which training is no training, whatever the budget says."""
VIEWS = {"quick": 4, "balanced": 8}
CHECKS = {"quick": 5, "balanced": 10}
FORWARD = 0.45
"""A forward pass's share of a training step through the same layers: the other half goes back through the activations."""


@dataclass(frozen=True)
class Plan:
    """The settings of a run. `whole` is how long the recipe would take uncut, in seconds; None where nothing was cut."""

    training: TrainingConfig
    adapter: AdapterConfig
    whole: float | None = None


def seconds(speed: Speed, depth: Depth | None, training: TrainingConfig, adapter: AdapterConfig, images: int, classes: int) -> float:
    """How long a run takes if nothing stops it early, without judging every image.

    Args:
        images: all of them, held-out ones included.
    """
    share = share_of(depth, adapter) or 1.0
    held_out = round(images * training.held_out)
    looks = held_out * (training.checks + 1) * share
    views = views_wanted(training, images - held_out) if share < 1 else training.views
    if training.class_weights in DISCRIMINANT and images <= FEW_ENOUGH:
        looks += images * views * share  # what lies below is counted with the kept views
    if training.rotations == "yes":
        looks += TURNS * images + (TURNS - 1) * held_out * (training.checks + 1) * share
    elif training.rotations == "auto":  # that they serve is not foretold: most pictures have a top
        looks += TURNS * min(images, ROTATED_AT_MOST)
    a_step = step_seconds(speed, depth, training, adapter, classes)
    total = speed.fixed + images * speed.look + looks * speed.look + training.steps_planned * a_step + speed.export
    if share < 1:
        trained = images if training.steps_planned > training.steps else images - held_out  # a second training sees the same views
        total += views * trained * (1 - share) * FORWARD * speed.step_image
    return total


def views_wanted(training: TrainingConfig, images: int) -> int:
    """How many views of each of so many training images the steps of the last layers ask for."""
    return min(math.ceil(training.steps * training.batch_size / max(1, images)), training.views)


def step_seconds(speed: Speed, depth: Depth | None, training: TrainingConfig, adapter: AdapterConfig, classes: int) -> float:
    """How long a step takes: its images and all class names, through the layers that are trained."""
    return (training.batch_size * speed.step_image + classes * speed.step_class) * (share_of(depth, adapter) or 1.0)


def share_of(depth: Depth | None, adapter: AdapterConfig) -> float | None:
    """The share of its layers that a step trains and runs through; None where only some are trained and all are run."""
    if adapter.last_layers is None:
        return 1.0
    return min(1.0, adapter.last_layers / depth.image) if depth is not None and depth.parted else None


def plan(recipe: TrainingConfig, backbone: str, speed: Speed | None, depth: Depth | None, images: int, classes: int) -> Plan:
    """What a recipe comes to with a backbone on this machine.

    The thorough recipe, machines that were not timed yet, and recipes that are short anyway are left as they are; the built-in backbone has
    its own layers, whatever the machine, so that its figures mean the same everywhere.

    Args:
        speed: as workers measured it here.
        images: all of them, held-out ones included.
    """
    whole = Plan(recipe, AdapterConfig())
    if is_builtin(backbone):
        return Plan(recipe, AdapterConfig(last_layers=BUILTIN_LAYERS.get(recipe.preset)))
    if recipe.preset not in BUDGET or speed is None or images < 1:
        return whole
    uncut = seconds(speed, depth, recipe, whole.adapter, images, classes)
    budget = BUDGET[recipe.preset] * max(images, FEW) * speed.unit
    if uncut <= budget or uncut - speed.fixed - speed.export - images * speed.look <= NO_MATTER:
        return whole
    short = replace(recipe, views=VIEWS[recipe.preset], checks=CHECKS[recipe.preset])
    if recipe.preset == "quick":
        short = replace(short, estimate_minutes=0.0, rotations="no")  # what both find out costs several forward passes
    layers = [AdapterConfig(last_layers=max(1, round(share * depth.image))) for share in SHARES] if depth and depth.parted else []
    tries = [(adapter, _steps(speed, depth, short, adapter, images, classes, budget)) for adapter in layers or [whole.adapter]]
    adapter, steps = next((found for found in tries if found[1] >= ENOUGH[recipe.preset]), tries[-1])
    return Plan(replace(short, steps=max(LEAST, min(steps, recipe.steps))), adapter, uncut)


def _steps(
    speed: Speed, depth: Depth | None, training: TrainingConfig, adapter: AdapterConfig, images: int, classes: int, budget: float
) -> int:
    """The most steps, up to the recipe's own, with which a run stays within `budget` seconds; 0 where even one is too much."""
    low, high = 0, training.steps
    while low < high:
        middle = (low + high + 1) // 2
        if seconds(speed, depth, replace(training, steps=middle), adapter, images, classes) <= budget:
            low = middle
        else:
            high = middle - 1
    return low
