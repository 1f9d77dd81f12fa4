"""A run that goes on from another one: the same adapters and class weights to begin with, on images that were mended or added.

It begins with the version that the other run's held-out figure belongs to, which has not seen the held-out images, and the split keeps
them held out (`blocklora.projects.splits.split_after`): so the figures of both runs, on the images that both held out, can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from blocklora.clip.backbones import Backbone
from blocklora.errors import TrainingError
from blocklora.files import read_json
from blocklora.jobs.run_folder import RunFolder
from blocklora.lora.adapter_file import AdapterMeta, check_base, load_adapter
from blocklora.lora.adapters import Adapters
from blocklora.projects.dataset import Dataset
from blocklora.training.class_weights import Choice, ClassWeights

SHIFT = "class_weights.shift"


@dataclass(frozen=True)
class Start:
    """What a run begins with. `answers` are the other run's: class ids by content, of the images that it held out."""

    run: str
    choice: Choice
    tensors: dict[str, torch.Tensor]
    meta: AdapterMeta
    answers: dict[str, str]
    seen: frozenset[str] = frozenset()
    """Contents that the other run, and those before it, learned from."""

    @classmethod
    def read(cls, folder: Path) -> Start | None:
        """The start that lies in a run's folder; None where the run begins from nothing.

        Raises:
            StudioError: it is damaged.
        """
        run = RunFolder(folder)
        values = read_json(run.start_info_path)
        if not isinstance(values, dict):
            return None
        tensors, meta = load_adapter(run.start_path)
        try:
            choice = Choice(**{field.name: values["choice"][field.name] for field in fields(Choice) if field.name in values["choice"]})
            answers = {str(key): str(value) for key, value in dict(values["answers"]).items()}
            return cls(str(values["run"]), choice, tensors, meta, answers, frozenset(map(str, values.get("seen", ()))))
        except (KeyError, TypeError, ValueError) as error:
            raise TrainingError(f"what this run should begin with is damaged ({error}).", "Start a new run.") from error

    def adapters_into(self, adapters: Adapters, backbone: Backbone) -> None:
        """Let the adapters begin as the other run's were.

        Raises:
            AdapterError: they do not fit this backbone or these settings.
        """
        check_base(self.meta, backbone)
        adapters.load_state_dict({name: tensor for name, tensor in self.tensors.items() if name.endswith((".A", ".B"))})

    def shift_into(self, weights: ClassWeights, class_ids: tuple[str, ...]) -> torch.Tensor | None:
        """Let the learned shift of the classes that the other run had begin as it was; the shift (C, D), None where there is none."""
        if weights.shift is None or SHIFT not in self.tensors:
            return None
        rows = dict(zip(self.meta.class_ids, self.tensors[SHIFT], strict=True))
        with torch.no_grad():
            for place, class_id in enumerate(class_ids):
                if class_id in rows:
                    weights.shift[place].copy_(rows[class_id])
        return weights.shift.detach().clone()

    def since(self, section: dict[str, Any], dataset: Dataset) -> dict[str, Any]:
        """Both runs on the images that both held out, with the labels of today: how many, and how many each has right."""
        sha = {item.image_id: item.sha256 for item in dataset.items}
        both = [row for row in section["images"] if sha.get(row.get("image_id", "")) in self.answers]
        before = sum(self.answers[sha[row["image_id"]]] == dataset.class_ids[row["label"]] for row in both)
        now = sum(row["label"] == row["predicted"] for row in both)
        return {"run": self.run, "n": len(both), "before": before, "now": now}
