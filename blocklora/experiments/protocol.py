"""How the tuned methods of an experiment train: stands in the key of every row and at the head of every table."""

from __future__ import annotations

from dataclasses import dataclass

from blocklora.config import TrainingConfig
from blocklora.experiments.tables import Row
from blocklora.presets import BUILTIN, REFERENCE_STEPS_A_SHOT
from blocklora.training.views import MOST

HEAD_LEARNING_RATE = 1e-3
"""Of class weights that start from images: ten times what recipes take, and what the tables in docs/experiments.md were made with."""


@dataclass(frozen=True)
class Protocol:
    """The reference protocol (CLIP-LoRA; Zanella and Ben Ayed 2024, arXiv 2405.18541), and what an experiment takes less of it.

    Nothing is held out and nothing stops early: a fixed number of steps, and the last weights are measured.
    """

    backbone: str = BUILTIN
    weights_hash: str = ""
    pixels: int = 0
    precision: str = "fp32"
    steps_per_shot: int = REFERENCE_STEPS_A_SHOT
    most_steps: int | None = None
    batch: int = 32
    learning_rate: float = 2e-4
    class_weights: str = "text"
    last_layers: int | None = None

    def steps(self, shots: int) -> int:
        """Optimiser steps with so many shots, whatever the number of classes."""
        steps = self.steps_per_shot * shots
        return steps if self.most_steps is None else min(steps, self.most_steps)

    def training(self, shots: int, seed: int, template: str) -> TrainingConfig:
        """The settings of one training; what is not said here is the reference's (`presets.preset_config`, "thorough")."""
        return TrainingConfig(
            preset="thorough",
            class_weights=self.class_weights,
            steps=self.steps(shots),
            batch_size=self.batch,
            learning_rate=self.learning_rate,
            head_learning_rate=HEAD_LEARNING_RATE,
            held_out=0.0,
            patience=None,
            estimate_minutes=0.0,
            seed=seed,
            templates=(template,),
        )

    def key(self, shots: int) -> Row:
        """What makes rows of trainings comparable."""
        return {
            **self.model_key(),
            "precision": self.precision,
            "steps": self.steps(shots),
            "batch": self.batch,
            "learning_rate": self.learning_rate,
            "class_weights": self.class_weights,
            "last_layers": self.last_layers,
        }

    def model_key(self) -> Row:
        """The same for classifiers on frozen features, which take no steps."""
        return {"backbone": self.backbone, "weights": self.weights_hash[:12], "pixels": self.pixels}

    def words(self, shots: list[int], seeds: list[int]) -> str:
        """The protocol for the head of a table."""
        steps = ", ".join(f"{self.steps(count)} at {count}" for count in shots)
        whence = {"text": "names through the text tower", "images": "the shots' images", "blend": "names and images"}
        layers = self.last_layers
        where = "all layers" if layers is None else f"the last {layers} layers, on at most {MOST} kept views of an image"
        return (
            f"Backbone {self.backbone} (weights {self.weights_hash[:12]}, {self.pixels} pixels). Tuned methods: adapters in {where}; "
            f"AdamW, peak learning rate {self.learning_rate:g} with a cosine to 1e-6, batches of {self.batch}, steps by shots: {steps} "
            f"(the reference: {REFERENCE_STEPS_A_SHOT} a shot at 2e-4 in batches of 32), {self.precision}; class weights from "
            f"{whence.get(self.class_weights, 'what the shots chose')}; nothing held out, last weights. Top-1 on all test pictures in "
            f"percent: mean of seeds {', '.join(map(str, seeds))} and the largest distance from it."
        )
