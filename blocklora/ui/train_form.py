"""What a person sets before training: read from the page into one frozen form, and drawn from it again.

Every limit, choice and explanation comes from the settings' own declarations in `blocklora.config`; nothing is repeated here. An
empty field means the preset's own value, which the field shows in grey.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from blocklora.config import AdapterConfig, TrainingConfig
from blocklora.errors import ConfigError
from blocklora.presets import BUILTIN, DEFAULT, PRESET_TEXTS

if TYPE_CHECKING:
    from blocklora.projects.project import Project
    from blocklora.services.studio import Studio

SETTING = "train_form"  # kept with the project, so that a reload and a second page find what was chosen
ADAPTER_NUMBERS = ("rank", "blocks", "alpha", "dropout", "last_layers")
TRAINING_NUMBERS = (
    *("learning_rate", "head_learning_rate", "weight_decay", "label_smoothing", "crop_scale"),
    *("steps", "batch_size", "views", "held_out", "estimate_minutes", "seed"),
)
WHOLE = frozenset({"rank", "blocks", "last_layers", "steps", "batch_size", "views", "seed"})
SETS = {"targets": AdapterConfig, "towers": AdapterConfig}
RUN_CHOICES = ("class_weights", "rotations", "retrain", "device", "precision")
CHOICES = {"scaling": AdapterConfig, **dict.fromkeys(RUN_CHOICES, TrainingConfig)}
MOST_TEMPLATES, LONGEST = 20, 2000


def limits(name: str) -> Mapping[str, Any]:
    """What `blocklora.config` declares for a setting: doc, low, high, choices."""
    kind = AdapterConfig if name in AdapterConfig.__dataclass_fields__ else TrainingConfig
    return kind.__dataclass_fields__[name].metadata


@dataclass(frozen=True)
class TrainForm:
    """The form as the page holds it: texts, as typed. `fields` has only what differs from the preset's or the method's own values."""

    preset: str = DEFAULT
    backbone: str = BUILTIN
    fields: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> TrainForm:
        """The form in what the page sent, or in what was kept of it; unknown fields and presets are ignored."""

        def text(name: str) -> str:
            value = data.get(name, "")
            return str(value).strip()[:LONGEST] if isinstance(value, (str, int, float)) else ""

        fields = {name: text(name) for name in (*ADAPTER_NUMBERS, *TRAINING_NUMBERS, *CHOICES, "templates") if text(name)}
        for name in SETS:
            chosen = [choice for choice in limits(name)["choices"] if data.get(f"{name}.{choice}")]
            if f"{name}." in data:  # the group is on the page, so nothing chosen means nothing
                fields[name] = ",".join(chosen)
            elif text(name):
                fields[name] = text(name)
        preset = text("preset") if text("preset") in [known.name for known in PRESET_TEXTS] else cls.preset
        return cls(preset, text("backbone") or BUILTIN, _without_defaults(fields))

    @classmethod
    def kept(cls, project: Project) -> TrainForm:
        """What was last chosen in a project."""
        values = project.get_setting(SETTING, None)
        return cls.of(values if isinstance(values, dict) else {})

    def keep(self, project: Project) -> None:
        """Let the project remember what was chosen."""
        project.set_setting(SETTING, {**self.fields, "preset": self.preset, "backbone": self.backbone})

    def adapter(self, own: AdapterConfig | None = None) -> AdapterConfig:
        """The adapter that the form asks for, the preset's `own` where it asks for nothing else.

        Raises:
            ConfigError: a field is not a number, or outside its declared limits.
        """
        values: dict[str, Any] = {name: _number(name, self.fields[name]) for name in ADAPTER_NUMBERS if name in self.fields}
        values |= {name: tuple(filter(None, self.fields[name].split(","))) for name in SETS if name in self.fields}
        if "scaling" in self.fields:
            values["scaling"] = self.fields["scaling"]
        return dataclasses.replace(own or AdapterConfig(), **values)

    def training(self, studio: Studio, project: Project) -> TrainingConfig:
        """The training configuration of `settings`."""
        return self.settings(studio, project)[0]

    def settings(self, studio: Studio, project: Project) -> tuple[TrainingConfig, AdapterConfig]:
        """The preset for this project, with the form's own values in place of the preset's.

        Raises:
            ConfigError: as `adapter`, or a template without {}.
        """
        device = self.fields.get("device", "auto")
        own = studio.plan(project, self.preset, self.backbone, device=device if device in limits("device")["choices"] else "auto")
        values: dict[str, Any] = {name: _number(name, self.fields[name]) for name in TRAINING_NUMBERS if name in self.fields}
        values |= {name: self.fields[name] for name in RUN_CHOICES if name in self.fields}
        if "templates" in self.fields:
            lines = [line.strip() for line in self.fields["templates"].splitlines() if line.strip()]
            if len(lines) > MOST_TEMPLATES:
                raise ConfigError(f"{len(lines)} prompt templates; at most {MOST_TEMPLATES} are used.", "Keep the best ones.")
            values["templates"] = tuple(lines)
        return dataclasses.replace(own.training, **values), self.adapter(own.adapter)


def default_text(name: str) -> str:
    """The text that a field of the adapter, the split or the device shows when nobody has changed it; '' means the preset decides."""
    if name in AdapterConfig.__dataclass_fields__:
        value = getattr(AdapterConfig(), name)
        if isinstance(value, tuple):
            return ",".join(value)
        return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return {"held_out": f"{TrainingConfig().held_out:g}", "seed": str(TrainingConfig().seed), "device": "auto", "precision": "auto"}.get(
        name, ""
    )


def _without_defaults(fields: dict[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in fields.items() if value != default_text(name)}
    if kept.get("templates") == TrainingConfig().templates[0]:
        del kept["templates"]
    return kept


def _number(name: str, text: str) -> int | float:
    """A field as a number.

    Raises:
        ConfigError: it is none.
    """
    try:
        value = float(text)
        if name not in WHOLE:
            return value
        if value == int(value):
            return int(value)
    except (ValueError, OverflowError):
        pass
    low, high = limits(name)["low"], limits(name)["high"]
    kind = "a whole number" if name in WHOLE else "a number"
    raise ConfigError(f"{name.replace('_', ' ')} is {text!r}; allowed: {kind} from {low} to {high}.", "Correct it under Advanced.")
