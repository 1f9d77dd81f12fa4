"""Does a merged model cost what the base model costs? Latency and memory of base, adapted and merged, in torch and in onnxruntime.

The four variants take turns picture by picture, in an order that turns too, so that a busy machine slows all of them alike; what is
compared is the median of the rounds' ratios to the base. One of the four is the base model once more (`control`): its ratio shows what this
way of measuring cannot tell apart. Weights are random, and so are the adapters: time does not depend on them.
"""

from __future__ import annotations

import copy
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from blocklora.clip.backbones import Backbone
from blocklora.config import AdapterConfig
from blocklora.experiments.tables import Row
from blocklora.lora.attach import attach
from exporters.classifier import Classifier, build_classifier
from exporters.metadata import ModelMetadata
from exporters.onnx_export import export_onnx
from exporters.predictor import OnnxClassifier

VARIANTS = ("base", "control", "unmerged", "merged")
LABELS = tuple(f"class {number}" for number in range(10))
WARM_UP = 3

Call = Callable[[], Any]


def models(backbone: Backbone, config: AdapterConfig, seed: int) -> dict[str, nn.Module]:
    """The image tower in each variant. The adapters of the last two hold the same random values."""
    draw = torch.Generator().manual_seed(seed)
    found: dict[str, nn.Module] = {}
    for variant in ("unmerged", "merged"):
        whole = copy.deepcopy(backbone.model)
        adapters = attach(whole, config, seed)
        if variant == "unmerged":
            for name, parameter in adapters.named_parameters():
                if name.endswith(".B"):
                    nn.init.normal_(parameter, std=0.02, generator=draw)
            learned = adapters.state_dict()
        else:
            adapters.load_state_dict(learned)
            adapters.merge()
        found[variant] = whole.visual.eval()  # type: ignore[union-attr]
    for variant in ("base", "control"):
        found[variant] = copy.deepcopy(backbone.model.visual).eval()  # type: ignore[union-attr]
    return {variant: found[variant] for variant in VARIANTS}


def interleaved(calls: dict[str, Call], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each call in each round; who goes first changes from round to round."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for number in range(rounds + WARM_UP):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            began = time.perf_counter()
            calls[name]()
            if number >= WARM_UP:
                times[name].append(1000 * (time.perf_counter() - began))
    return times


def peak_mb(call: Call) -> float:
    """Most megabytes that torch holds on the CPU at once for what `call` makes, beside what was there before."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler otherwise tells the terminal of its own doings
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        call()
    now = most = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most / 2**20


def _rows(runtime: str, batch: int, times: dict[str, list[float]], sizes: dict[str, dict[str, float]]) -> list[Row]:
    return [
        {
            "runtime": runtime,
            "batch": batch,
            "variant": variant,
            "ms": statistics.median(values),
            "ratio_to_base": statistics.median(mine / base for mine, base in zip(values, times["base"], strict=True)),
            **sizes[variant],
        }
        for variant, values in times.items()
    ]


def weights_mb(model: nn.Module) -> float:
    """Megabytes of a model's tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers())) / 2**20


def in_torch(towers: dict[str, nn.Module], size: int, batch: int, rounds: int) -> list[Row]:
    """A row for each variant: milliseconds of a batch, megabytes of weights, and of what a batch needs beside them."""
    images = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(0))

    def call(tower: nn.Module) -> Call:
        def ask() -> torch.Tensor:
            with torch.inference_mode():
                found: torch.Tensor = tower(images)
                return found

        return ask

    calls = {variant: call(tower) for variant, tower in towers.items()}
    sizes = {variant: {"weights_mb": weights_mb(tower), "peak_mb": peak_mb(calls[variant])} for variant, tower in towers.items()}
    difference = float((F.normalize(calls["unmerged"](), dim=-1) - F.normalize(calls["merged"](), dim=-1)).abs().max())
    rows = _rows("torch", batch, interleaved(calls, rounds), sizes)
    return [{**row, "merged_differs_by": difference} if row["variant"] == "merged" else row for row in rows]


def classifiers(backbone: Backbone, towers: dict[str, nn.Module]) -> dict[str, Classifier]:
    """Each tower with the same random class weights."""
    weights = F.normalize(torch.randn(len(LABELS), backbone.embed_dim, generator=torch.Generator().manual_seed(0)), dim=1)
    return {variant: build_classifier(tower, weights, backbone.preprocess) for variant, tower in towers.items()}


def export(backbone: Backbone, towers: dict[str, nn.Module], folder: Path) -> dict[str, Path]:
    """An ONNX file of each variant in `folder`; the control is a copy of the base's."""
    metadata = ModelMetadata(
        labels=LABELS,
        class_ids=LABELS,
        templates=(),
        preprocess=backbone.preprocess,
        temperature=1.0,
        logit_scale=100.0,
        base_model=backbone.name,
        weights_hash=backbone.weights_hash,
        created="",
        class_weights="none",
    )
    paths = {}
    for variant, classifier in classifiers(backbone, towers).items():
        paths[variant] = folder / f"{variant}.onnx"
        if variant == "control":
            paths[variant].write_bytes(paths["base"].read_bytes())
        else:
            export_onnx(classifier, metadata, paths[variant])
    return paths


def in_onnxruntime(paths: dict[str, Path], size: int, batch: int, rounds: int) -> list[Row]:
    """A row for each variant: milliseconds of a batch of pictures, preprocessing included, and megabytes of the file."""
    draw = torch.Generator().manual_seed(0)
    pictures = [torch.randint(0, 256, (size, size, 3), generator=draw, dtype=torch.uint8).numpy() for _ in range(batch)]
    files = {variant: OnnxClassifier(path) for variant, path in paths.items()}

    def call(file: OnnxClassifier) -> Call:
        return lambda: file.predict(pictures)

    sizes = {variant: {"weights_mb": path.stat().st_size / 2**20} for variant, path in paths.items()}
    return _rows("onnxruntime", batch, interleaved({variant: call(file) for variant, file in files.items()}, rounds), sizes)


def compare(backbone: Backbone, rounds: int, batches: tuple[int, ...], seed: int) -> list[Row]:
    """All rows. Batches above one have a quarter of the rounds, ten at least."""
    towers = models(backbone, AdapterConfig(), seed)
    size, rows = backbone.preprocess.size, []
    counts = {batch: rounds if batch == 1 else max(min(rounds, 10), rounds // 4) for batch in batches}
    for batch in batches:
        rows += in_torch(towers, size, batch, counts[batch])
    with tempfile.TemporaryDirectory() as folder:
        paths = export(backbone, towers, Path(folder))
        for batch in batches:
            rows += in_onnxruntime(paths, size, batch, counts[batch])
    return rows
