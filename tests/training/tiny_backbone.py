"""A random CLIP small enough to train in seconds, put where a downloaded backbone would be."""

from __future__ import annotations

import json
from pathlib import Path

TINY = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


def write_tiny_backbone(home: Path) -> str:
    """Put a random tiny CLIP where a downloaded backbone would be; returns its name."""
    import torch
    from safetensors.torch import save_file

    from blocklora.clip.build import build_model

    folder = home / "backbones" / "tiny"
    folder.mkdir(parents=True)
    torch.manual_seed(7)
    model = build_model(TINY)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY, "preprocess_cfg": {}}))
    return "tiny"
