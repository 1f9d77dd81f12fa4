"""The three recipes that people choose from; everything else about training follows from the data."""

from __future__ import annotations

from dataclasses import dataclass

from blocklora.config import Preset, TrainingConfig

BUILTIN = "builtin"
BUILTIN_SMALL = "builtin-72"
"""The built-in backbone with a smaller input: the same weights, less to do for each picture."""
DEFAULT: Preset = "quick"
"""With few pictures, twice as many steps and more were no better so far as it was tried (README, "How good is it")."""
REFERENCE_STEPS_A_SHOT = 500  # CLIP-LoRA: 500 x shots, whatever the number of classes
REFERENCE_SHOTS_MAX = 16


def is_builtin(backbone: str) -> bool:
    """Whether a backbone's name stands for the built-in weights, whatever the size of input."""
    return backbone in (BUILTIN, BUILTIN_SMALL)


@dataclass(frozen=True)
class PresetText:
    """How a preset is offered. `title` and `line` are what a person reads."""

    name: Preset
    title: str
    line: str


PRESET_TEXTS = (
    PresetText("quick", "Quick", "For most projects. Finds out for how long to train, then does it on all images."),
    PresetText("balanced", "Balanced", "The same with more and smaller steps, for projects with many images."),
    PresetText(
        "thorough",
        "Thorough",
        "The full published recipe, start to end: the last version is kept. "
        "On the built-in backbone the shorter ones did better in every trial.",
    ),
)


def preset_config(preset: str, backbone: str, shots: int, seed: int = 1) -> TrainingConfig:
    """The training configuration of a preset.

    Args:
        shots: training images a class, on average, rounded; sets the length of the thorough recipe.
    """
    # The built-in text tower knows few names; the reference protocol's text-only classifier is meant for a real CLIP.
    words = "auto" if is_builtin(backbone) else "text"
    if preset == "quick":
        return TrainingConfig(
            preset="quick", steps=200, learning_rate=1e-3, retrain="yes", patience=4, checks=10, crop_scale=0.35, seed=seed
        )
    if preset == "balanced":
        return TrainingConfig(
            preset="balanced",
            steps=800,
            learning_rate=5e-4,
            retrain="yes",
            patience=6,
            checks=20,
            crop_scale=0.2,
            estimate_minutes=10.0,
            seed=seed,
        )
    steps = REFERENCE_STEPS_A_SHOT * max(1, min(shots, REFERENCE_SHOTS_MAX))
    return TrainingConfig(
        preset="thorough", steps=steps, class_weights=words, rotations="no", patience=None, checks=20, estimate_minutes=30.0, seed=seed
    )
