"""Everything that a run changes, and its checkpoint file.

Nothing random is in it: every random number of step `s` comes from a generator seeded with (seed, s), and the order
of images in epoch `e` from one seeded with (seed, e). So a resumed run sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

import copy
import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from blocklora.errors import TrainingError
from blocklora.files import publish
from blocklora.pretrain.config import Recipe
from blocklora.pretrain.network import Clip, build_model
from blocklora.pretrain.optimiser import Optimisers

FORMAT = 3
PARTS = ("model", "head", "average")


@dataclass
class TrainState:
    """A network in training."""

    recipe: Recipe
    model_cfg: dict[str, Any]
    ids: tuple[str, ...]
    model: Clip
    head: nn.Linear
    """Linear classifier on the image features; thrown away at the end."""
    average: Clip
    """Running average of the model's weights: what is validated and exported."""
    optimisers: Optimisers
    step: int = 0
    passes: int = 0
    """Images seen so far, each time counted."""
    seconds: float = 0.0
    """Wall-clock time of training so far, validation included."""
    notes: dict[str, Any] = field(default_factory=dict)
    """Plain facts for the model card, such as the processor."""


def fresh_state(recipe: Recipe, model_cfg: dict[str, Any], ids: tuple[str, ...], device: torch.device) -> TrainState:
    """First weights, decided by the recipe's seed. Sets torch's global seed."""
    torch.manual_seed(recipe.seed)
    model = build_model(model_cfg)
    head = nn.Linear(model_cfg["embed_dim"], len(ids))
    model, head = model.to(device), head.to(device)
    average = copy.deepcopy(model).requires_grad_(False).eval()
    return TrainState(recipe, model_cfg, ids, model, head, average, Optimisers(model, head, recipe))


@torch.no_grad()
def update_average(state: TrainState) -> None:
    """average <- decay * average + (1 - decay) * model; the decay is smaller at first, so that the first weights fade."""
    decay = min(state.recipe.ema_decay, (1 + state.step) / (10 * state.recipe.text_every + state.step))
    theirs = [p.detach() for p in state.model.parameters()]
    torch._foreach_lerp_(list(state.average.parameters()), theirs, 1.0 - decay)
    for mine, other in zip(state.average.visual.buffers(), state.model.visual.buffers(), strict=True):
        if mine.is_floating_point():  # means and variances of batch normalisation
            mine.lerp_(other, 1.0 - decay)


def _tensors(state: TrainState) -> dict[str, torch.Tensor]:
    """Every tensor of a checkpoint under one flat name: `model.*`, `head.*`, `average.*`, `muon.<index>.*`, `adamw.<index>.*`."""
    parts = {part: getattr(state, part).state_dict() for part in PARTS}
    found = {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}
    for kind, optimiser in state.optimisers.state_dict().items():
        for index, values in optimiser["state"].items():
            found.update({f"{kind}.{index}.{key}": value for key, value in values.items()})
    return {name: value.detach().cpu().contiguous() for name, value in found.items()}


def save_state(state: TrainState, path: Path) -> None:
    """Write the checkpoint (safetensors) whole or not at all: a kill at any moment leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = {
        "format": FORMAT,
        "recipe": state.recipe.as_dict(),
        "model_cfg": state.model_cfg,
        "ids": list(state.ids),
        "step": state.step,
        "passes": state.passes,
        "seconds": state.seconds,
        "notes": state.notes,
    }
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    save_file(_tensors(state), temporary, metadata={"state": json.dumps(facts)})
    publish(temporary, path)


def load_state(path: Path, device: torch.device) -> TrainState:
    """Read a checkpoint that `save_state` wrote.

    Raises:
        TrainingError: there is no such file, or it is not a checkpoint of this recipe.
    """
    advice = "Give a checkpoint that `train` wrote into its work folder."
    if not path.exists():
        raise TrainingError(f"There is no checkpoint {path}.", advice)
    try:
        with safe_open(path, framework="pt") as stream:
            facts = json.loads((stream.metadata() or {}).get("state", "{}"))
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, ValueError) as error:
        raise TrainingError(f"{path} cannot be read as a checkpoint ({type(error).__name__}).", advice) from error
    if facts.get("format") != FORMAT:
        raise TrainingError(f"{path} is not a checkpoint of format {FORMAT}.", advice)
    state = fresh_state(Recipe(**facts["recipe"]), facts["model_cfg"], tuple(facts["ids"]), device)
    for part in PARTS:
        getattr(state, part).load_state_dict(_under(tensors, part))
    content = state.optimisers.state_dict()  # its groups follow from recipe and network; only the moments were saved
    for kind in content:
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in _under(tensors, kind).items():
            index, key = name.split(".", 1)
            moments.setdefault(int(index), {})[key] = value
        content[kind]["state"] = moments
    state.optimisers.load_state_dict(content)
    state.step, state.passes, state.seconds = facts["step"], facts["passes"], facts["seconds"]
    state.notes = facts["notes"]
    return state


def _under(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The tensors whose name begins with `prefix`, without it."""
    return {name.removeprefix(f"{prefix}."): value for name, value in tensors.items() if name.startswith(f"{prefix}.")}
