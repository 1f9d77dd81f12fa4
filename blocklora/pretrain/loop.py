"""The training loop, in update order. It neither prints nor writes: it yields what happened in each step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from blocklora.errors import TrainingError
from blocklora.pretrain import schedule
from blocklora.pretrain.augment import Mixed, augment, mix
from blocklora.pretrain.config import MAX_LOGIT_SCALE
from blocklora.pretrain.data import ImageArray
from blocklora.pretrain.losses import Learner, Targets, total_loss
from blocklora.pretrain.names import PromptBook
from blocklora.pretrain.network import Clip, autocast, patch_side
from blocklora.pretrain.parallel import Team
from blocklora.pretrain.state import TrainState, update_average

PIECE_PIXELS = 65536
"""Pixels of the images that a CPU thread takes at a time: 64 images of 32 x 32."""


@dataclass(frozen=True)
class Task:
    """What is to be learned: images, the names of their classes and the superclasses these belong to."""

    data: ImageArray
    classes: PromptBook
    superclasses: PromptBook | None
    truth: torch.Tensor
    """bool (C, S): superclass s is true of class c."""


@dataclass(frozen=True)
class StepReport:
    """One step, as it was."""

    loss: float
    """Sum of the three losses."""
    class_loss: float
    resolution: int
    images: int
    lr_factor: float


def generator(seed: int, *position: int) -> torch.Generator:
    """The random numbers of one place in a run: the same place gives the same numbers, whatever happened before."""
    mixed = seed
    for value in position:
        mixed = (mixed * 6364136223846793005 + value + 1442695040888963407) % 2**63
    return torch.Generator().manual_seed(mixed)


def batch_rows(count: int, batch_size: int, seed: int, step: int) -> torch.Tensor:
    """Rows of the images of one step: every epoch is a new order, its last incomplete batch is left out."""
    epoch, position = divmod(step, max(1, count // batch_size))
    order = torch.randperm(count, generator=generator(seed, 1, epoch))
    return order[position * batch_size : (position + 1) * batch_size]


PieceResult = tuple[float, float, list[torch.Tensor | None]]
"""Loss, class-text loss and the gradients of the two text features: the piece's share of the batch's."""


def text_features(model: Clip, books: Sequence[PromptBook | None], draw: torch.Generator, device: torch.device) -> list[torch.Tensor]:
    """One random prompt of every class of each book -> features of length one, a (C, D) for each; (0, D) for no book."""
    tokens = [book.sample(draw) if book is not None else torch.empty(0, dtype=torch.long) for book in books]
    with sdpa_kernel(SDPBackend.MATH):  # twice as fast as the fused kernel for such short sequences on a CPU
        features = model.encode_text(torch.cat([t for t in tokens if len(t)]).to(device))
    return list(F.normalize(features.float(), dim=-1).split([len(t) for t in tokens]))


def piece_size(resolution: int, device: torch.device) -> int:
    """Images that one thread takes at a time: what fits its cache; on a GPU the whole batch."""
    return max(8, PIECE_PIXELS // resolution**2) if device.type == "cpu" else 1 << 30


def steps(state: TrainState, task: Task, budget: schedule.Budget, device: torch.device, precision: str) -> Iterator[StepReport]:
    """Train until the budget is used. The caller may stop at any yield and keeps `state.seconds` up to date.

    Raises:
        TrainingError: the loss is no longer a finite number.
    """
    recipe, model = state.recipe, state.model
    full, patch = model.visual.image_size[0], patch_side(model.visual)
    truth = task.truth.to(device)
    text: list[torch.Tensor] = []
    text_gradients: list[torch.Tensor] = []
    learner = Learner(model.visual, state.head, model.logit_scale)
    team = Team(learner, torch.get_num_threads() if device.type == "cpu" else 1)
    model.train()
    while (progress := budget.progress(state.passes, state.seconds)) < 1.0:
        draw = generator(recipe.seed, 0, state.step)
        resolution = schedule.resolution(recipe, progress, full, patch, draw)
        factor = schedule.lr_factor(recipe, state.step, progress)

        rows = batch_rows(len(task.data.labels), recipe.batch_size, recipe.seed, state.step)
        images, labels = task.data.images[rows].to(device), task.data.labels[rows].to(device)
        views = augment(images, resolution, recipe.crop_scale, recipe.colour_strength, draw)
        mixed = mix(views, labels, recipe.mix_fraction if progress < 1.0 - recipe.whole_fraction else 0.0, draw)

        if state.step % recipe.text_every == 0 or not text:
            with autocast(device, precision):
                text = text_features(model, (task.classes, task.superclasses), draw, device)
            text_gradients = [torch.zeros_like(part) for part in text]
        # the towers meet only in these features: each piece has them as leaves, whose gradients are collected for the text tower
        fixed, count = [part.detach() for part in text], len(rows)

        def learn(twin: Learner, piece: Mixed, fixed: list[torch.Tensor] = fixed, count: int = count) -> PieceResult:
            leaves = [part.clone().requires_grad_() for part in fixed]
            with autocast(device, precision):
                loss, text_loss = total_loss(twin, piece, Targets(leaves[0], leaves[1], truth), recipe)
            share = len(piece.a) / count
            (loss * share).backward()
            return float(loss.detach()) * share, text_loss * share, [part.grad for part in leaves]

        results = team.run(learn, mixed.split(piece_size(resolution, device)))
        loss, text_loss = sum(result[0] for result in results), sum(result[1] for result in results)
        if not math.isfinite(loss):
            raise TrainingError(
                f"The loss became {loss} at step {state.step}.", "Resume from the last checkpoint with a lower learning rate."
            )
        for total, *parts in zip(text_gradients, *(result[2] for result in results), strict=True):
            for part in parts:
                if part is not None:
                    total += part
        if (state.step + 1) % recipe.text_every == 0:
            torch.autograd.backward([part for part in text if len(part)], [part for part in text_gradients if len(part)])

        state.optimisers.step(factor)
        with torch.no_grad():
            model.logit_scale.clamp_(0.0, MAX_LOGIT_SCALE)
        state.step += 1
        state.passes += len(rows)
        if state.step % recipe.text_every == 0:
            update_average(state)
        yield StepReport(loss, text_loss, resolution, len(rows), factor)
    team.close()
