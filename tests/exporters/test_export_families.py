"""Every family of image tower that open_clip ships: adapted, merged, exported, and the same answers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from tiny_export import make_metadata
from torch.nn import functional as F

from blocklora.clip.build import build_model, build_preprocess
from blocklora.config import AdapterConfig
from blocklora.lora.attach import attach
from blocklora.preprocess import INTERPOLATIONS, RESIZE_MODES
from exporters import quantize
from exporters.classifier import build_classifier
from exporters.graph_rules import WRITTEN
from exporters.inspection import OPSETS, inspect_model
from exporters.onnx_export import OPSET, export_onnx

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


def files(folder: Path) -> Iterator[Path]:
    """Every family in every precision, and every way to prepare a picture."""
    ways = [(mode, filter_) for mode in RESIZE_MODES for filter_ in INTERPOLATIONS]
    for number, (family, config) in enumerate(FAMILIES.items()):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model, weights = build_model(config), F.normalize(torch.randn(3, config["embed_dim"]), dim=-1)
        mode, filter_ = ways[number % len(ways)]
        preprocess = replace(build_preprocess(config, {}), resize_mode=mode, interpolation=filter_)
        full = folder / f"{family}.onnx"
        export_onnx(build_classifier(model.visual, weights, preprocess, logit_scale=20.0), make_metadata(preprocess), full)
        yield full
        quantize.to_fp16(full, folder / f"{family}-fp16.onnx")
        yield folder / f"{family}-fp16.onnx"
        quantize.to_int8_dynamic(full, folder / f"{family}-dynamic.onnx")
        yield folder / f"{family}-dynamic.onnx"
        pictures = np.random.default_rng(0).integers(0, 256, (2, 50, 70, 3), dtype=np.uint8)
        quantize.to_int8_static(full, folder / f"{family}-static.onnx", pictures)
        yield folder / f"{family}-static.onnx"


@pytest.mark.slow
def test_every_form_of_every_family_may_be_opened_and_the_list_of_operators_is_theirs(tmp_path: Path) -> None:
    """The list says what is written and nothing else: an operator that no export uses any more has to leave it."""
    used: set[str] = set()
    for path in files(tmp_path):
        info = inspect_model(path)
        assert info.n_classes == 3, path.name
        used |= {node.op_type for node in onnx.load_model(path).graph.node}
    assert used == WRITTEN
    assert (OPSET,) == OPSETS
