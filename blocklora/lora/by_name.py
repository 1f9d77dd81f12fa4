"""Attach Block-LoRA to the linear maps of any model by their module names, where `attach` does not know the model's layers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from blocklora.config import AdapterConfig
from blocklora.errors import NothingToAdapt
from blocklora.lora.adapters import Adapters
from blocklora.lora.attach import freeze
from blocklora.lora.block import AdaptedRows, BlockLoRA
from blocklora.lora.layers import AdaptedLinear


def attach_by_name(model: nn.Module, names: Mapping[str, tuple[str, ...]], config: AdapterConfig, seed: int) -> Adapters:
    """Freeze `model` and put adapters beside the nn.Linear modules that are named; they start in eval mode, as those of `attach` do.

    Args:
        names: ends of dotted module names, each with the projections that are stacked in its rows from the top, such as
            {"self_attn.qkv": ("q", "k", "v"), "self.query": ("q",)}. Those that `config.targets` holds are adapted.

    Returns:
        Adapters whose tensors are called by the module's whole name, the projection, and A or B.

    Raises:
        NothingToAdapt: no linear map has such a name, or its rows do not divide by the number of projections.
        RuntimeError: the model carries adapters already.
    """
    if any(isinstance(module, AdaptedRows) for module in model.modules()):
        raise RuntimeError("this model carries adapters already; merge or detach them first")
    adapters, generator = Adapters(config), torch.Generator().manual_seed(seed)
    modules = dict(model.named_modules())
    for path, module in modules.items():
        rows = next((rows for end, rows in names.items() if f".{path}".endswith(f".{end}")), None)
        if rows is None or type(module) is not nn.Linear or not set(rows) & set(config.targets):
            continue
        height, rest = divmod(module.out_features, len(rows))
        if rest:
            adapters.detach() if adapters.swaps else None
            raise NothingToAdapt(f"{path} has {module.out_features} rows, which are not {len(rows)} projections.", "Name others.")
        deltas = {row: BlockLoRA(module.in_features, height, config, generator) for row in rows if row in config.targets}
        adapters.blocks.update({f"{path}.{row}": delta for row, delta in deltas.items()})
        made = AdaptedRows(deltas, rows, config.dropout).to(module.weight.device).train(False)
        adapters.folds.append((module.weight, made))
        owner, _, name = path.rpartition(".")
        adapters.swap(modules[owner], name, AdaptedLinear(module, made).train(False))
    if not adapters.blocks:
        raise NothingToAdapt(
            f"No linear map of this model is called {' or '.join(names)} and holds {', '.join(config.targets)}.", "Name others."
        )
    freeze(model, adapters)
    return adapters
