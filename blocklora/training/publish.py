"""Writes the adapter file of a finished run: everything that makes the classifier out of its base model."""

from __future__ import annotations

import time
from importlib.metadata import version

from blocklora import __version__
from blocklora.config import to_dict
from blocklora.jobs.run_folder import RunFolder
from blocklora.lora.adapter_file import FORMAT_VERSION, AdapterMeta, save_adapter
from blocklora.training.evaluate import Measured
from blocklora.training.setup import Setup


def publish_adapter(run: RunFolder, setup: Setup, measured: Measured) -> tuple[int, int]:
    """Write the adapter file, and beside it the version that was measured; returns the size in bytes of the first, and the number of
    trained values.
    """
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
        preprocess=setup.preprocess.to_dict(),
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
    save_adapter(run.adapter_path, tensors, meta)
    save_adapter(run.measured_path, measured.kept, meta)
    return run.adapter_path.stat().st_size, sum(parameter.numel() for parameter in setup.trainable().values())
