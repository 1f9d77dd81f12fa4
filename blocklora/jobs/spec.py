"""What a run was asked to do: everything a worker needs, and everything it takes to do it again."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from blocklora.config import AdapterConfig, TrainingConfig, from_dict, to_dict
from blocklora.errors import JobError

FORMAT = 1
BEFORE = {"rotations": "no"}
"""What runs did whose specification is older than a setting, where that is not what the setting would be today: they are done again as
they were.
"""


@dataclass(frozen=True)
class RunSpec:
    """One training run. The pictures and their split stand beside it in dataset.json.

    `home` is the data home (for downloaded backbones, measured speeds and the queue); `then` names the worker modules that
    follow a finished training, such as the export.
    """

    backbone: str
    home: str
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    project_id: str = ""
    project_name: str = ""
    device: str = "cpu"
    then: tuple[str, ...] = ()
    created: float = 0.0
    data_hash: str = ""

    def to_dict(self) -> dict[str, Any]:
        plain = {k: v for k, v in asdict(self).items() if k not in ("adapter", "training", "then")}
        return {"format": FORMAT, **plain, "adapter": to_dict(self.adapter), "training": to_dict(self.training), "then": list(self.then)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RunSpec:
        """A specification from JSON values.

        Raises:
            JobError: it was written by a newer version.
        """
        if values.get("format") != FORMAT:
            raise JobError(
                f"this run has specification format {values.get('format')!r}; this version reads {FORMAT}.", "Update the studio."
            )
        plain = {k: v for k, v in values.items() if k not in ("format", "adapter", "training", "then")}
        return cls(
            **plain,
            adapter=from_dict(AdapterConfig, values["adapter"]),
            training=from_dict(TrainingConfig, {**BEFORE, **values["training"]}),
            then=tuple(values["then"]),
        )
