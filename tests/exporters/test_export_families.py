"""Every family of image tower that open_clip ships: adapted, merged, exported, and the same answers."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from tiny_export import make_metadata
from torch.nn import functional as F

from blocklora.clip.build import build_model, build_preprocess
from blocklora.config import AdapterConfig
from blocklora.lora.attach import attach
from exporters.classifier import build_classifier
from exporters.onnx_export import export_onnx

sys.path.append(str(Path(__file__).parents[1] / "lora"))
from tiny_towers import FAMILIES


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_file_agrees_with_the_adapted_tower(family: str, tmp_path: Path) -> None:
    config = FAMILIES[family]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(config)
        adapters = attach(model, AdapterConfig(), seed=0)
        with torch.no_grad():
            for parameter in adapters.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
        weights = F.normalize(torch.randn(3, config["embed_dim"]), dim=-1)
        images = torch.randint(0, 256, (5, 50, 70, 3), dtype=torch.uint8)
    preprocess = build_preprocess(config, {})
    classifier = build_classifier(model.visual, weights, preprocess, logit_scale=20.0)
    with torch.no_grad():
        expected = [output.numpy() for output in classifier(images)]
    adapters.merge()
    export_onnx(classifier, make_metadata(preprocess), tmp_path / "m.onnx")
    session = ort.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    for batch in (1, 2, 5):
        for found, wanted in zip(session.run(None, {"images": images[:batch].numpy()}), expected, strict=True):
            np.testing.assert_allclose(found, wanted[:batch], atol=2e-5)
