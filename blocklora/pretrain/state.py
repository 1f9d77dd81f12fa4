"""Everything that a run changes, and its checkpoint file.

Nothing random is in it: every random number of step `s` comes from a generator seeded with (seed, s), and the order
of images in epoch `e` from one seeded with (seed, e). So a resumed run sees what an uninterrupted one would have seen.
"""

from __future__ import annotations

import copy
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from blocklora.errors import TrainingError
from blocklora.files import publish
from blocklora.pretrain.config import Recipe
from blocklora.pretrain.network import Clip, build_model
from blocklora.pretrain.optimiser import Optimisers

FORMAT = 1


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


def save_state(state: TrainState, path: Path) -> None:
    """Write the checkpoint whole or not at all: a kill at any moment leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "format": FORMAT,
        "recipe": state.recipe.as_dict(),
        "model_cfg": state.model_cfg,
        "ids": list(state.ids),
        "step": state.step,
        "passes": state.passes,
        "seconds": state.seconds,
        "notes": state.notes,
        "model": state.model.state_dict(),
        "head": state.head.state_dict(),
        "average": state.average.state_dict(),
        "optimisers": state.optimisers.state_dict(),
    }
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp", delete=False) as stream:
        torch.save(content, stream)
    publish(Path(stream.name), path)


def load_state(path: Path, device: torch.device) -> TrainState:
    """Read a checkpoint that `save_state` wrote. Never unpickles anything but tensors and plain values.

    Raises:
        TrainingError: there is no such file, or it is not a checkpoint of this recipe.
    """
    advice = "Give a checkpoint that `train` wrote into its work folder."
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise TrainingError(f"There is no checkpoint {path}.", advice) from None
    except Exception as error:  # torch raises many kinds for a file that is no checkpoint
        raise TrainingError(f"{path} cannot be read as a checkpoint ({type(error).__name__}).", advice) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise TrainingError(f"{path} is not a checkpoint of format {FORMAT}.", advice)
    state = fresh_state(Recipe(**content["recipe"]), content["model_cfg"], tuple(content["ids"]), device)
    state.model.load_state_dict(content["model"])
    state.head.load_state_dict(content["head"])
    state.average.load_state_dict(content["average"])
    state.optimisers.load_state_dict(content["optimisers"])
    state.step, state.passes, state.seconds = content["step"], content["passes"], content["seconds"]
    state.notes = content["notes"]
    return state
