"""Settings as frozen dataclasses; each limit is declared once, here, and read by validation, sliders and docs."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from blocklora.errors import ConfigError

TARGETS = ("q", "k", "v", "o", "mlp")
TOWERS = ("image", "text")
SCALINGS = ("sqrt", "linear")
CLASS_WEIGHTS = ("auto", "text", "images", "blend")
DISCRIMINANT = ("auto", "images")  # wishes for class weights that discriminant weights may answer
PRESETS = ("quick", "balanced", "thorough")
RETRAIN = ("no", "yes")
ROTATIONS = ("auto", "no", "yes")
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "bf16")

DEFAULT_TEMPLATE = "a photo of a {}."

ConfigT = TypeVar("ConfigT", bound="AdapterConfig | TrainingConfig")


def setting(default: Any, doc: str, low: float | None = None, high: float | None = None, choices: tuple[str, ...] = ()) -> Any:
    """A dataclass field that carries its one-sentence meaning and its limits."""
    return field(default=default, metadata={"doc": doc, "low": low, "high": high, "choices": choices})


def _check(config: Any) -> None:
    """Hold every field of `config` against its declared limits.

    Raises:
        ConfigError: naming the field, the value found and what is allowed.
    """
    for spec in dataclasses.fields(config):
        value, low, high, choices = (
            getattr(config, spec.name),
            spec.metadata.get("low"),
            spec.metadata.get("high"),
            spec.metadata.get("choices"),
        )
        label = spec.name.replace("_", " ")
        if value is None and "None" in str(spec.type):
            continue
        if choices:
            wrong = [v for v in (value if isinstance(value, tuple) else (value,)) if v not in choices]
            if wrong or value == ():
                found = ", ".join(map(str, wrong)) or "nothing"
                raise ConfigError(f"{label} is {found}; allowed: {', '.join(choices)}.", "Choose from the list.")
        if low is not None or high is not None:
            whole = str(spec.type).startswith("int")
            number_ok = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool) and value == value
            if not number_ok or (low is not None and value < low) or (high is not None and value > high):
                kind = "whole number" if whole else "number"
                raise ConfigError(f"{label} is {value!r}; allowed: {low} to {high}.", f"Choose a {kind} in that range.")


@dataclass(frozen=True)
class AdapterConfig:
    """What Block-LoRA adds to the frozen model (arXiv 2501.16720; defaults as in the paper: r = 2, n = 2)."""

    rank: int = setting(2, "Rank r of the low-rank update; together with the blocks it sets its capacity.", 1, 64)
    blocks: int = setting(2, "Number n of up-projections that share one down-projection; it trades adapter size and step size.", 1, 64)
    alpha: float = setting(1.0, "Strength of the update, divided by the root of the rank or by the rank.", 0.01, 1024.0)
    scaling: str = setting("sqrt", "Divide alpha by the root of the rank (sqrt) or by the rank (linear).", choices=SCALINGS)
    dropout: float = setting(0.25, "Share of the adapter's inputs that are dropped in training.", 0.0, 0.9)
    targets: tuple[str, ...] = setting(("q", "k", "v"), "Which projections of a layer are adapted.", choices=TARGETS)
    towers: tuple[str, ...] = setting(("image", "text"), "Which towers of the model are adapted.", choices=TOWERS)
    last_layers: int | None = setting(None, "Adapt only the last k layers of each tower; empty means all.", 1, 64)

    def __post_init__(self) -> None:
        _check(self)
        if self.rank % self.blocks and self.blocks % self.rank:
            raise ConfigError(
                f"rank {self.rank} and {self.blocks} blocks do not fit together.",
                "The blocks must divide the rank, or the rank must divide the blocks.",
            )

    @property
    def width(self) -> int:
        """Rows w of the shared down-projection: r // n, at least 1 (the paper's "one head, n arms" when n >= r)."""
        return max(1, self.rank // self.blocks)

    @property
    def scale(self) -> float:
        """The factor s of W + s * (sum B_i) A_s."""
        return self.alpha / (self.rank**0.5 if self.scaling == "sqrt" else self.rank)


@dataclass(frozen=True)
class TrainingConfig:
    """How a run trains. `preset_config` gives the three that people choose from."""

    preset: str = setting("balanced", "Which of the three recipes this run follows.", choices=PRESETS)
    class_weights: str = setting(
        "auto", "Where class weights come from: words, images, a blend, or chosen on held-out images.", choices=CLASS_WEIGHTS
    )
    steps: int = setting(800, "Number of optimiser steps.", 1, 200_000)
    batch_size: int = setting(32, "Images in a step.", 1, 512)
    learning_rate: float = setting(2e-4, "Peak step size of AdamW for the adapters.", 1e-7, 1e-1)
    head_learning_rate: float = setting(1e-4, "Peak step size of AdamW for class weights that start from images.", 1e-7, 1e-1)
    weight_decay: float = setting(1e-2, "Decoupled weight decay of AdamW.", 0.0, 1.0)
    crop_scale: float = setting(0.08, "Smallest share of a picture's area that a random crop keeps.", 0.05, 1.0)
    rotations: str = setting(
        "auto",
        "Whether quarter turns of pictures are learned from, and all four looked at; automatic: where which side is up tells nothing.",
        choices=ROTATIONS,
    )
    label_smoothing: float = setting(0.0, "Share of the target spread over all classes.", 0.0, 0.5)
    held_out: float = setting(0.2, "Share of the images kept out of training to measure with.", 0.0, 0.5)
    retrain: str = setting(
        "no", "Whether the file is trained anew on all images, held-out ones included, once they have said for how long.", choices=RETRAIN
    )
    estimate_minutes: float = setting(
        3.0,
        "How many minutes may go into judging every image by a model that has not seen it; with 0 the held-out images must do.",
        0.0,
        1440.0,
    )
    patience: int | None = setting(None, "Held-out checks without progress before stopping; empty means never stop early.", 1, 100)
    views: int = setting(
        10,
        "Random views of a picture: class weights are made of them, and steps see them again where only the last layers are trained.",
        1,
        10,
    )
    checks: int = setting(10, "How many times in a run the held-out images are looked at.", 1, 100)
    seed: int = setting(1, "Seed of everything random.", 0, 2**31 - 1)
    device: str = setting("auto", "Where to train.", choices=DEVICES)
    precision: str = setting("auto", "Number format of the forward pass.", choices=PRECISIONS)
    templates: tuple[str, ...] = (DEFAULT_TEMPLATE,)

    def __post_init__(self) -> None:
        _check(self)
        for template in self.templates or ("",):
            if template.count("{}") != 1:
                raise ConfigError(
                    f"the prompt template {template!r} does not have exactly one {{}}.",
                    "Write {} where the class name goes, as in 'a photo of a {}.'",
                )

    @property
    def steps_planned(self) -> int:
        """All steps of a run that nothing stops early, those of the second training included."""
        return self.steps * (2 if self.retrain == "yes" and self.held_out > 0 else 1)


def to_dict(config: AdapterConfig | TrainingConfig) -> dict[str, Any]:
    """`config` as plain JSON values."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(config).items()}


def from_dict(kind: type[ConfigT], values: dict[str, Any]) -> ConfigT:
    """A configuration from JSON values.

    Raises:
        ConfigError: a key is not a setting of `kind`, or a value is outside its limits.
    """
    known = {spec.name for spec in dataclasses.fields(kind)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ConfigError(
            f"unknown setting {', '.join(unknown)}; known: {', '.join(sorted(known))}.", "Remove it, or use the version that wrote it."
        )
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return kind(**plain)


Preset = Literal["quick", "balanced", "thorough"]
