"""Writes the adapter file of a finished run: everything that makes the classifier out of its base model."""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path

from blocklora import __version__
from blocklora.config import to_dict
from blocklora.lora.adapter_file import FORMAT_VERSION, AdapterMeta, save_adapter
from blocklora.training.evaluate import Measured
from blocklora.training.setup import Setup

MEASURED = "measured.safetensors"
"""The version that the held-out figure belongs to, where the published one learned from the held-out images too: whoever goes on from this
run begins here, so that the held-out images stay unseen."""


def publish_adapter(path: Path, setup: Setup, measured: Measured) -> tuple[int, int]:
    """Write the adapter file; returns its size in bytes and the number of trained values."""
    held = measured.result["held_out"]
    meta = AdapterMeta(
        format_version=FORMAT_VERSION,
        base_model=setup.backbone.name,
        weights_hash=setup.backbone.weights_hash,
        adapter=to_dict(setup.spec.adapter),
        classes=list(setup.data.dataset.class_names),
        class_ids=list(setup.data.dataset.class_ids),
        templates=list(setup.spec.training.templates),
        class_weights_mode=setup.choice.mode,
        preprocess=setup.backbone.preprocess.to_dict(),
        logit_scale=setup.backbone.logit_scale,
        temperature=measured.temperature,
        metrics={
            "held_out_n": held["n"],
            "held_out_correct": held["correct"],
            "zero_shot_correct": measured.result["zero_shot"]["correct"],
        },
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        versions={"blocklora": __version__, "torch": version("torch"), "open_clip_torch": version("open_clip_torch")},
    )
    tensors = {**{k: v.detach().cpu() for k, v in setup.adapters.state_dict().items()}, "class_weights": measured.class_weights}
    tensors |= {} if measured.familiarity is None else measured.familiarity.tensors()
    save_adapter(path, tensors, meta)
    if measured.kept:
        save_adapter(path.with_name(MEASURED), {**measured.kept, "class_weights": measured.kept["class_weights"]}, meta)
    return path.stat().st_size, sum(parameter.numel() for parameter in setup.trainable().values())
