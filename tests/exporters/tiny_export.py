"""A tiny CLIP with random weights, and what a file made of it says about itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from open_clip.model import CLIP
from torch.nn import functional as F

from blocklora.preprocess import Preprocess
from exporters.classifier import Classifier, build_classifier
from exporters.metadata import ModelMetadata

LABELS = ("apple", "Birne äöü", "=cmd()")
PREPROCESS = Preprocess(32, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


@dataclass(frozen=True)
class Exported:
    classifier: Classifier
    metadata: ModelMetadata
    path: Path


def make_classifier(seed: int = 0, preprocess: Preprocess = PREPROCESS, temperature: float = 2.0) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = CLIP(
            embed_dim=32,
            vision_cfg={"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 8},
            text_cfg={"context_length": 16, "vocab_size": 100, "width": 32, "heads": 2, "layers": 1},
        )
        weights = F.normalize(torch.randn(len(LABELS), 32), dim=-1)
    model.requires_grad_(False)
    return build_classifier(model.visual, weights, preprocess, logit_scale=20.0, temperature=temperature)


def make_metadata(preprocess: Preprocess = PREPROCESS) -> ModelMetadata:
    return ModelMetadata(
        labels=LABELS,
        class_ids=("c1", "c2", "c3"),
        templates=("a photo of a {}.",),
        preprocess=preprocess,
        temperature=2.0,
        logit_scale=20.0,
        base_model="tiny",
        weights_hash="0" * 64,
        created="2026-01-01T00:00:00Z",
        adapter={"rank": 2, "blocks": 2},
        accuracy={"held_out": {"n": 30, "correct": 27}},
        versions={"torch": torch.__version__},
    )
