"""Where a training run stands, and all it takes to go on from there: trained tensors, optimiser, progress, the best version."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from blocklora.errors import TrainingError
from blocklora.training.class_weights import Choice
from blocklora.training.memory import fitting
from blocklora.training.setup import Setup


@dataclass
class Progress:
    """Where a run stands; with the tensors of `State` all it takes to go on. `stale_checks` is how many in a row were worse;
    `over` says that the run's watched steps have come to their end, early or not.
    """

    step: int = 0
    micro_batch: int = 0
    best_step: int = 0
    stale_checks: int = 0
    seconds: float = 0.0
    over: bool = False


@dataclass(frozen=True)
class Snapshot:
    """A consistent moment of a run, for the worker to write down. `choice` goes along: a run goes on from the start that it had, even where
    another machine or version would choose another.
    """

    progress: Progress
    choice: Choice
    tensors: dict[str, torch.Tensor]


@dataclass
class State:
    """The trained tensors, their optimiser, and the best version so far.

    `lowest` (N,) are the losses of the held-out images at the check where their mean was lowest; empty before the first.
    """

    named: dict[str, torch.nn.Parameter]
    optimiser: torch.optim.AdamW
    progress: Progress
    choice: Choice
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    lowest: torch.Tensor = field(default_factory=lambda: torch.zeros(0))

    def snapshot(self) -> Snapshot:
        """Copies on the CPU: parameters, both moments and the step count of AdamW, and the best version."""
        tensors: dict[str, torch.Tensor] = {}
        for name, parameter in self.named.items():
            tensors[f"now.{name}"] = parameter.detach().cpu().clone()
            for key, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"adamw.{key}.{name}"] = value.detach().cpu().clone()
        tensors.update({f"best.{name}": value.clone() for name, value in self.best.items()})
        tensors["lowest"] = self.lowest.clone()
        return Snapshot(Progress(**vars(self.progress)), self.choice, tensors)

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a written moment.

        Raises:
            TrainingError: the checkpoint belongs to another set of adapters.
        """
        wanted = {f"now.{name}" for name in self.named}
        found = {key for key in snapshot.tensors if key.startswith("now.")}
        if wanted != found:
            raise TrainingError("the checkpoint does not fit this run's adapters.", "Start a new run.")
        with torch.no_grad():
            for name, parameter in self.named.items():
                parameter.copy_(snapshot.tensors[f"now.{name}"])
                moments = {
                    key.split(".", 2)[1]: value
                    for key, value in snapshot.tensors.items()
                    if key.startswith("adamw.") and key.split(".", 2)[2] == name
                }
                if moments:
                    # AdamW keeps its step count on the CPU unless it is fused, its moments beside the parameter.
                    fused = bool(self.optimiser.defaults.get("fused"))
                    self.optimiser.state[parameter] = {
                        key: value.clone() if key == "step" and not fused else value.to(parameter.device).clone()
                        for key, value in moments.items()
                    }
        self.best = {key.removeprefix("best."): value.clone() for key, value in snapshot.tensors.items() if key.startswith("best.")}
        self.lowest = snapshot.tensors["lowest"].clone()
        self.progress = Progress(**vars(snapshot.progress))

    def keep_best(self) -> None:
        self.best = {name: parameter.detach().cpu().clone() for name, parameter in self.named.items()}

    def use_best(self) -> None:
        with torch.no_grad():
            for name, value in self.best.items():
                self.named[name].copy_(value)


def start_state(setup: Setup, micro_batch: int | None = None) -> State:
    """Adapters and class weights at their start, with a fresh optimiser. `micro_batch` is what is known to fit; else it is found out."""
    config = setup.spec.training
    named = setup.trainable()
    heads = [p for name, p in named.items() if name == "class_weights.shift"]
    rest = [p for name, p in named.items() if name != "class_weights.shift"]
    groups = [{"params": rest, "lr": config.learning_rate, "peak": config.learning_rate}]
    if heads:
        # The shift is measured from a good start, so decay pulls it back to that start.
        groups.append({"params": heads, "lr": config.head_learning_rate, "peak": config.head_learning_rate})
    optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.999), weight_decay=config.weight_decay, fused=setup.compute.device.type == "cuda")
    return State(named, optimiser, Progress(micro_batch=micro_batch or fitting(setup)), setup.choice)
