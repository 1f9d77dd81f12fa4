"""The training loop: a generator of events. It neither prints nor writes; the worker does both.

Update order of a step, as in the reference protocol (CLIP-LoRA): class weights once, a batch of random crops, cosine logits at
the scale of the backbone (100 for the published CLIPs), cross-entropy over all classes, AdamW, cosine learning rate.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator

import torch
import torch.nn.functional as F

from blocklora.clip.pixels import normalise
from blocklora.jobs.events import Event, Note, Step, Validation
from blocklora.training.control import Control, StopRequested
from blocklora.training.device import short_of_memory
from blocklora.training.entering import too_small
from blocklora.training.metrics import fit_temperature
from blocklora.training.sampling import PIXELS, batch_positions, generator_of
from blocklora.training.setup import Setup
from blocklora.training.state import Snapshot, State

SAY_SECONDS = 0.5
SAVE_SECONDS = 20.0
FINAL_LR = 1e-6


def cosine(step: int, steps: int, peak: float) -> float:
    """Cosine from `peak` at step 0 to FINAL_LR at the end, without warm-up."""
    return FINAL_LR + (peak - FINAL_LR) * 0.5 * (1 + math.cos(math.pi * step / steps))


def inputs(setup: Setup, positions: list[tuple[int, int]], step: int) -> torch.Tensor:
    """What a step's images put into the trained layers: kept hidden states of views (B, L, width), or new crops (B, 3, S, S)."""
    if setup.views is not None:
        return setup.views.batch(positions)
    pixels = setup.cache.batch(
        [index for _, index in positions], generator_of(setup.spec.training.seed, PIXELS, step), setup.compute.device
    )
    return normalise(pixels, setup.backbone.preprocess)


def one_step(setup: Setup, state: State, step: int) -> float | torch.Tensor:
    """One update; returns the loss, still on the device."""
    config, device = setup.spec.training, setup.compute.device
    positions = batch_positions(len(setup.cache), config.batch_size, step, config.seed)
    chosen = [index for _, index in positions]
    images = inputs(setup, positions, step)
    torch.manual_seed(config.seed * 1_000_003 + step)  # dropout: a function of seed and step, so that a resumed run repeats it
    labels = setup.labels[chosen].to(device)
    state.optimiser.zero_grad(set_to_none=True)
    with setup.compute.autocast():
        text = setup.step_text()
    weights = setup.class_weights(None if text is None else text.float())  # (C, D)
    # The class weights are encoded once and shared by all pieces of the batch: their gradient is collected, then sent back once.
    shared = weights.detach().requires_grad_(weights.requires_grad)
    total = torch.zeros((), device=device)
    for first in range(0, len(chosen), state.progress.micro_batch):
        piece = slice(first, first + state.progress.micro_batch)
        with setup.compute.autocast():
            features = setup.features(images[piece])  # (b, D)
        loss = F.cross_entropy(
            setup.logits(features, shared), labels[piece], label_smoothing=config.label_smoothing, reduction="sum"
        ) / len(chosen)
        loss.backward()
        total += loss.detach()
    if weights.requires_grad:
        weights.backward(shared.grad)
    state.optimiser.step()
    return total


def check(setup: Setup) -> tuple[int, torch.Tensor]:
    """How many held-out images are right now, and the loss (N,) of each at the temperature that suits them best.

    Training makes a model surer than it should be, which the temperature corrects at the end; a loss that counted it would call
    versions worse that are not (Berta et al. 2025, arXiv 2501.19195).
    """
    with torch.inference_mode():
        text = setup.step_text()
        weights = setup.class_weights(None if text is None else text.float()).float().cpu()
    logits = setup.logits(setup.held_out_features(), weights)
    labels = setup.held_out.labels
    temperature = fit_temperature(logits.numpy(), labels.numpy())
    return int((logits.argmax(dim=1) == labels).sum()), F.cross_entropy(logits / temperature, labels, reduction="none").clone()


def clearly_worse(losses: torch.Tensor, lowest: torch.Tensor) -> bool:
    """Whether losses (N,) lie above those of another version on the same images by more than luck: one standard error of the mean
    difference, image by image (the rule of Breiman et al. 1984, chapter 3). One image alone cannot tell.
    """
    if len(losses) < 2 or len(lowest) < 2:
        return False
    more = losses - lowest
    return bool(more.mean() > more.std() / math.sqrt(len(more)))


def _validate(setup: Setup, state: State) -> Event:
    """Look at the held-out images, and keep this version unless an earlier one is clearly better.

    Held-out images are few. Their count of right answers, and small differences of their loss, go up and down by luck; whoever picks
    the luckiest check keeps a version that has learned too little. So the newest is kept until the images really speak against it.
    """
    progress = state.progress
    correct, losses = check(setup)
    best = not clearly_worse(losses, state.lowest)
    if not len(state.lowest) or losses.mean() < state.lowest.mean():
        state.lowest = losses
    if best:
        progress.best_step, progress.stale_checks = progress.step, 0
        state.keep_best()
    else:
        progress.stale_checks += 1
    return Validation(progress.step, correct, len(setup.held_out), losses.mean().item(), best)


def _smaller(setup: Setup, state: State, error: RuntimeError) -> Note:
    """Halve the pieces a batch is computed in, where this error says that memory is short.

    Raises:
        TrainingError: a piece is a single image already.
        RuntimeError: it says something else.
    """
    if not short_of_memory(error):
        raise error
    if state.progress.micro_batch == 1:
        raise too_small() from error
    state.progress.micro_batch = max(1, state.progress.micro_batch // 2)
    setup.compute.free()
    whole, piece = setup.spec.training.batch_size, state.progress.micro_batch
    return Note(f"The device ran out of memory: steps of {whole} images go on in pieces of {piece}, a little slower.")


def train(setup: Setup, state: State, steps: int, control: Control, later: int = 0) -> Generator[Event | Snapshot, None, bool]:
    """Train up to `steps`; returns whether it ended before them (by a person, or because it got worse). What is said of the time left
    counts `later` steps that are to follow.

    On return the trained tensors hold the version to keep: the best one where the recipe watches held-out images, else the last.
    """
    config, progress = setup.spec.training, state.progress
    watches = config.patience is not None and len(setup.held_out) > 0
    every = max(1, math.ceil(steps / config.checks))
    meter = _Meter(config.batch_size)
    early = False
    setup.backbone.model.eval()
    setup.adapters.train(True)
    try:
        if watches and progress.step == 0:
            setup.adapters.train(False)
            yield _validate(setup, state)
            setup.adapters.train(True)
        while progress.step < steps and not progress.over:
            control.check()
            for group in state.optimiser.param_groups:
                group["lr"] = cosine(progress.step, steps, group["peak"])
            try:
                loss = one_step(setup, state, progress.step)
            except RuntimeError as error:
                yield _smaller(setup, state, error)
                continue
            progress.step += 1
            meter.add(loss)
            progress.seconds += meter.lap()
            last = progress.step == steps
            if meter.due(SAY_SECONDS) or last:
                left = steps + later - progress.step
                yield Step(progress.step, steps + later, *meter.take(state.optimiser.param_groups[0]["lr"], left))
            if len(setup.held_out) and (progress.step % every == 0 or last):
                setup.adapters.train(False)
                yield _validate(setup, state)
                setup.adapters.train(True)
                progress.seconds += meter.lap()
                if watches and not last and progress.stale_checks >= (config.patience or 0):
                    early = True
                    yield Note(
                        f"Stopped at step {progress.step} of {steps}: worse for {progress.stale_checks} checks of the held-out images."
                    )
                    break
            if meter.save_due(SAVE_SECONDS):
                yield state.snapshot()
    except StopRequested:
        early = True
        control.clear()
        yield Note(f"Stopped at step {progress.step} of {steps}, as asked; the best so far is kept.")
    setup.adapters.train(False)
    if early and not watches and len(setup.held_out):
        yield _validate(setup, state)
    if state.best and (watches or early):
        state.use_best()
    else:
        progress.best_step = progress.step
    progress.over = True
    return early or progress.step < steps


class _Meter:
    """Time, speed and mean loss between two events; losses stay on the device until they are shown."""

    def __init__(self, batch_size: int) -> None:
        self._batch = batch_size
        self._losses: list[torch.Tensor | float] = []
        self._said = self._saved = self._lap = time.monotonic()
        self._pace: float | None = None  # seconds a step, smoothed

    def add(self, loss: torch.Tensor | float) -> None:
        self._losses.append(loss)

    def lap(self) -> float:
        """Seconds since the last lap."""
        now = time.monotonic()
        passed, self._lap = now - self._lap, now
        return passed

    def due(self, seconds: float) -> bool:
        return time.monotonic() - self._said >= seconds

    def save_due(self, seconds: float) -> bool:
        if time.monotonic() - self._saved < seconds:
            return False
        self._saved = time.monotonic()
        return True

    def take(self, learning_rate: float, left: int) -> tuple[float, float, float, float]:
        """Mean loss, learning rate, images a second and seconds left, since the last time; starts a new span."""
        now, count = time.monotonic(), len(self._losses)
        pace = (now - self._said) / max(1, count)
        self._pace = pace if self._pace is None else 0.7 * self._pace + 0.3 * pace
        loss = float(sum(float(value) for value in self._losses) / max(1, count))
        self._losses, self._said = [], now
        return loss, learning_rate, self._batch / pace, self._pace * left
