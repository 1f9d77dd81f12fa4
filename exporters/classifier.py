"""The whole classifier as one module: pictures in, probabilities and embeddings out, nothing else needed."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from blocklora.clip.pixels import to_model_input
from blocklora.clip.turns import all_turns, mean_of_turns, places_of_turns
from blocklora.errors import ExportError
from blocklora.preprocess import Preprocess
from exporters.known_graph import Knowing
from exporters.parity import Answer, Familiar


class Head(nn.Module):
    """Image tower and class weights: normalised pixels -> probabilities and embedding. This is the part that torch exports.

    Args:
        tower: (N, 3, S, S) -> (N, D), or a tuple that begins with it (CoCa also returns its tokens).
        class_weights: (C, D).
        logit_scale: factor of embedding @ class_weights^T; 100 in CLIP.
        temperature: the calibration that `logit_scale` is divided by.
        side: S of pictures of which all quarter turns are looked at, whose mean then is their embedding; None: upright alone.

    Raises:
        ExportError: class weights that are not (C, D) with C >= 2, are not finite, or a scale that is not positive.
    """

    weights_t: torch.Tensor
    turns: torch.Tensor | None

    def __init__(
        self, tower: nn.Module, class_weights: torch.Tensor, logit_scale: float, temperature: float, side: int | None = None
    ) -> None:
        super().__init__()
        if class_weights.ndim != 2 or class_weights.shape[0] < 2:
            found = tuple(class_weights.shape)
            raise ExportError(
                f"the class weights have the shape {found}; needed: (classes, dimensions), two classes at least.", "Train this run again."
            )
        if not torch.isfinite(class_weights).all():
            raise ExportError("the class weights hold a value that is not a number.", "Train this run again.")
        if not (logit_scale > 0 and temperature > 0):
            raise ExportError(f"logit scale {logit_scale} and temperature {temperature} must both be above zero.", "Train this run again.")
        self.tower = tower
        self.register_buffer("turns", None if side is None else places_of_turns(side))
        scaled = class_weights.detach().float() * (logit_scale / temperature)
        self.register_buffer("weights_t", scaled.t().contiguous())  # (D, C), scale and temperature folded in

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.tower(pixels if self.turns is None else all_turns(pixels, self.turns))
        if isinstance(features, tuple):
            features = features[0]
        embedding = F.normalize(features, dim=-1)  # (N, D)
        if self.turns is not None:
            embedding = mean_of_turns(embedding)
        return torch.softmax(embedding @ self.weights_t, dim=-1), embedding  # (N, C), (N, D)


class Classifier(nn.Module):
    """`Head` behind the preprocessing: uint8 (N, H, W, 3) of any size -> probabilities (N, C), embedding (N, D).

    It runs the tower as it stands, so the same object is the adapted model before `Adapters.merge` and the merged one after.
    `knowing` is the rule for pictures of none of the classes, where there is one.
    """

    def __init__(self, head: Head, preprocess: Preprocess, knowing: Knowing | None = None) -> None:
        super().__init__()
        self.head = head
        self.preprocess = preprocess
        self.knowing = knowing

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.head(to_model_input(images, self.preprocess))

    def ask(self, pixels: np.ndarray) -> Answer:
        """What it says of one picture, uint8 (H, W, 3)."""
        with torch.inference_mode():
            probabilities, embedding = self(torch.tensor(pixels)[None])  # a copy: decoded pictures are read-only
        answer = Answer(probabilities[0].float().cpu().numpy(), embedding[0].float().cpu().numpy())
        if self.knowing is None:
            return answer
        familiarity = float((self.knowing.means @ answer.embedding).max())
        beyond = familiarity - self.knowing.least_familiar, float(answer.probabilities.max()) - self.knowing.least_sure
        return Answer(answer.probabilities, answer.embedding, Familiar(min(beyond) >= 0, *beyond))

    @property
    def n_classes(self) -> int:
        return int(self.head.weights_t.shape[1])

    @property
    def embed_dim(self) -> int:
        return int(self.head.weights_t.shape[0])


def build_classifier(
    tower: nn.Module,
    class_weights: torch.Tensor,
    preprocess: Preprocess,
    logit_scale: float = 100.0,
    temperature: float = 1.0,
    knowing: Knowing | None = None,
) -> Classifier:
    """A classifier in evaluation mode around `tower` (kept, not copied); see `Head` for shapes and Raises."""
    side = None if preprocess.turns == 1 else preprocess.size
    return Classifier(Head(tower, class_weights, logit_scale, temperature, side), preprocess, knowing).eval()
