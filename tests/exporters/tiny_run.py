"""A finished run on a tiny random backbone, written by hand: what training would have left behind, in a moment."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional as F

from blocklora.clip.backbones import load_backbone
from blocklora.clip.build import build_model
from blocklora.config import AdapterConfig, TrainingConfig, to_dict
from blocklora.files import write_json
from blocklora.jobs.run_folder import RunFolder
from blocklora.lora.adapter_file import AdapterMeta, save_adapter
from blocklora.lora.attach import attach
from blocklora.projects.folders import read_class_folders
from blocklora.projects.splits import Split
from blocklora.services.runs import RunRequest, make_run

TINY = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
CLASSES = ("apple", "pear", "=plum")
EACH = 4


def write_backbone(home: Path, model_cfg: dict[str, Any] = TINY) -> None:
    folder = home / "backbones" / "tiny"
    folder.mkdir(parents=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = build_model(model_cfg)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model_cfg, "preprocess_cfg": {}}))


def write_pictures(root: Path) -> Path:
    """Pictures of many sizes and two kinds of file, one of them a sliver."""
    rng = np.random.default_rng(3)
    for name in CLASSES:
        (root / name).mkdir(parents=True)
        for number in range(EACH):
            height, width = (1, 50) if (name, number) == ("pear", 0) else rng.integers(20, 120, 2)
            pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}{'.jpg' if number % 2 else '.png'}")
    return root


def write_run(
    root: Path,
    config: AdapterConfig | None = None,
    model_cfg: dict[str, Any] = TINY,
    backbone_name: str = "tiny",
    strength: float = 0.3,
    turns: int = 1,
) -> RunFolder:
    """A run in `root`/run with adapters that change the model's answers by far more than the gate allows.

    `model_cfg` is what the backbone "tiny" is made of; another `backbone_name` must be there already.
    """
    home = root / "home"
    if backbone_name == "tiny":
        write_backbone(home, model_cfg)
    dataset, _ = read_class_folders(write_pictures(root / "pictures"))
    held = tuple(i for i, item in enumerate(dataset.items) if Path(item.path).stem in ("0", "1"))
    parts = Split(tuple(i for i in range(len(dataset.items)) if i not in held), held, groups=0, grouped=0, divided=0)
    config = config or AdapterConfig()
    run = make_run(root / "run", home, dataset, parts, RunRequest(backbone_name, TrainingConfig(device="cpu"), config))
    write_adapter(run, config, strength, turns)
    held_out = {"n": 6, "correct": 4, "top1": 4 / 6, "interval": [0.3, 0.9], "images": [{"path": "/private/secret.jpg"}]}
    write_json(run.result_path, {"held_out": held_out, "zero_shot": {"n": 6, "correct": 2, "top1": 1 / 3}})
    return run


def write_adapter(run: RunFolder, config: AdapterConfig, strength: float = 0.3, turns: int = 1) -> None:
    """The run's adapter file, as if trained with `config` on pictures of which so many turns are looked at."""
    spec, classes = run.spec(), sorted(CLASSES)
    backbone = load_backbone(spec["backbone"], Path(spec["home"]))
    adapters = attach(backbone.model, config, seed=1)
    generator = torch.Generator().manual_seed(2)
    tensors = {k: v + strength * torch.randn(v.shape, generator=generator) for k, v in adapters.state_dict().items()}
    tensors["class_weights"] = F.normalize(torch.randn(len(CLASSES), backbone.embed_dim, generator=generator), dim=1)
    meta = AdapterMeta(
        base_model=spec["backbone"],
        weights_hash=backbone.weights_hash,
        adapter=to_dict(config),
        classes=classes,
        class_ids=[f"id of {name}" for name in classes],
        templates=["a photo of a {}."],
        class_weights_mode="blend",
        preprocess=replace(backbone.preprocess, turns=turns).to_dict(),
        logit_scale=20.0,
        temperature=1.5,
        versions={"blocklora": "0"},
    )
    save_adapter(run.adapter_path, tensors, meta)
