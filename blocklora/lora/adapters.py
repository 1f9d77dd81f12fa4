"""The adapters attached to one model: what a training loop optimises, what an adapter file holds, and the way back off the model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import nn

from blocklora.config import AdapterConfig
from blocklora.errors import AdapterError
from blocklora.lora.block import AdaptedRows, BlockLoRA


@dataclass(frozen=True)
class Swap:
    """An attribute of a module that attaching changed, and what it was before."""

    owner: nn.Module
    name: str
    before: object


@dataclass
class Adapters:
    """The adapters attached to one model. Made by `attach.attach`; spent after `merge` or `detach`.

    Tensor names are "<tower>.<layer>.<projection>.A" and "....B", for instance "image.11.q.A": layers are counted from the tower's
    input, whether adapted or not; projections are q, k, v, o and "mlp.<name>". `n_layers` and `first_layer` say, for each adapted
    tower, how many layers it has and which is the first one adapted: nothing before that one changes in training.
    """

    config: AdapterConfig
    blocks: dict[str, BlockLoRA] = field(default_factory=dict)
    n_layers: dict[str, int] = field(default_factory=dict)
    first_layer: dict[str, int] = field(default_factory=dict)
    folds: list[tuple[torch.Tensor, AdaptedRows]] = field(default_factory=list, repr=False)
    swaps: list[Swap] = field(default_factory=list, repr=False)
    frozen: list[nn.Parameter] = field(default_factory=list, repr=False)

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Every trainable parameter with its name in the adapter file, in a fixed order."""
        for name, block in self.blocks.items():
            yield f"{name}.A", block.A
            yield f"{name}.B", block.B

    def parameters(self) -> list[nn.Parameter]:
        """Every trainable parameter; hand these to the optimiser."""
        return [parameter for _, parameter in self.named_parameters()]

    def state_dict(self) -> dict[str, torch.Tensor]:
        """A copy of every adapter tensor on the CPU, by name: A (w, d_in) and B (n, d_out, w), float32."""
        return {name: parameter.detach().to("cpu", copy=True) for name, parameter in self.named_parameters()}

    @torch.no_grad()
    def load_state_dict(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take over tensors that `state_dict` gave. Nothing is changed if they do not all fit.

        Raises:
            AdapterError: a tensor is missing, unknown or of another shape.
        """
        advice = "Use the base model and the configuration that the adapter was trained with."
        mine = dict(self.named_parameters())
        missing, unknown = sorted(set(mine) - set(tensors)), sorted(set(tensors) - set(mine))
        if missing or unknown:
            wrong = f"missing: {missing[0]}" if missing else f"unknown: {unknown[0]}"
            raise AdapterError(f"The adapter has {len(tensors)} tensors where this model takes {len(mine)} ({wrong}).", advice)
        for name, parameter in mine.items():
            found, needed = tuple(tensors[name].shape), tuple(parameter.shape)
            if found != needed:
                raise AdapterError(f"The adapter tensor {name} has shape {found} where this model takes {needed}.", advice)
        for name, parameter in mine.items():
            parameter.copy_(tensors[name])

    def train(self, mode: bool = True) -> None:
        """Turn the adapters' dropout on or off. The model itself stays in eval mode: its own dropout and batch statistics are frozen."""
        for _, rows in self.folds:
            rows.train(mode)

    @property
    def n_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def n_bytes(self) -> int:
        return sum(parameter.numel() * parameter.element_size() for parameter in self.parameters())

    def describe(self) -> str:
        """One line for logs and result pages: what is adapted and how large it is."""
        where = " and ".join(f"{total - self.first_layer[tower]} of {total} {tower} layers" for tower, total in self.n_layers.items())
        c = self.config
        return (
            f"{len(self.blocks)} matrices ({', '.join(c.targets)} in {where}), rank {c.rank}, blocks {c.blocks}, "
            f"width {c.width}: {self.n_parameters:,} numbers, {self.n_bytes / 1024:,.0f} KB"
        )

    def merge(self) -> None:
        """Add every update to its frozen weight and restore the original module tree: a plain model with tuned weights."""
        self._restore()
        for weight, rows in self.folds:
            rows.fold_into(weight)
        self.folds = []

    def detach(self) -> None:
        """Restore the original module tree with its original weights, bit for bit."""
        self._restore()
        self.folds = []

    def swap(self, owner: nn.Module, name: str, after: object) -> None:
        """Change an attribute of the model, remembering what it was."""
        self.swaps.append(Swap(owner, name, getattr(owner, name)))
        setattr(owner, name, after)

    def _restore(self) -> None:
        if not self.swaps:
            raise RuntimeError("these adapters were already merged or detached")
        for swap in reversed(self.swaps):
            setattr(swap.owner, swap.name, swap.before)
        for parameter in self.frozen:
            parameter.requires_grad_(True)
        self.swaps, self.frozen = [], []
