"""Pictures that have no top: the model looks at all four quarter turns of one, and what it makes of it is their mean."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from blocklora.preprocess import TURNS


def turned(inputs: torch.Tensor, quarters: int) -> torch.Tensor:
    """Model inputs (N, 3, S, S), turned counter-clockwise by 0 to 3 quarters."""
    return torch.rot90(inputs, quarters, (2, 3)) if quarters else inputs


def places_of_turns(side: int) -> torch.Tensor:
    """Which pixel of a picture lies where after one, two and three quarter turns: (3, S * S), int32."""
    pixels = torch.arange(side * side, dtype=torch.int32).view(1, 1, side, side)
    return torch.stack([turned(pixels, quarters).flatten() for quarters in range(1, TURNS)])


def all_turns(inputs: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Model inputs (N, 3, S, S) -> (4 N, 3, S, S): all of them upright, then all turned by one quarter, and so on.

    By `places_of_turns` instead of turning: onnxruntime 1.30 refuses an exported file with the transpose of a turn in it, naming the
    Resize of the preprocessing; the likely reason is that its optimiser moves the one across the other.
    """
    flat = inputs.flatten(2)
    return torch.cat([inputs, *(flat.index_select(2, turn).view_as(inputs) for turn in places.unbind(0))])


def mean_of_turns(embeddings: torch.Tensor) -> torch.Tensor:
    """Normalised embeddings (4 N, D) of what `all_turns` gives -> their normalised means (N, D)."""
    return F.normalize(embeddings.reshape(TURNS, -1, embeddings.shape[-1]).mean(dim=0), dim=-1)
