"""How quick and how small each precision of an exported file is: `python tests/benchmarks/precision.py --out figures.json --help`.

For each model its image tower with ten classes is exported in fp32, fp16, int8 (scales found while running, and beforehand), as the fp32
file that looks at all quarter turns of a picture, and as the fp32 file with layers as the model's modules have them instead of written
out for export (`exporters.plain_layers`), and asked about one picture at a time on the processor. The files take turns of a
few pictures, so that a busy machine slows all of them; medians of the turns and of each round's ratio to fp32 are written. `builtin` and
`builtin-72` are the backbone in this repository; an open_clip name gets random weights, since time does not depend on them. Accuracy is
measured where a run is exported (`variants.json`), not here.

Files that take turns in one process also take each other's caches. `--processes N` asks the fp32 file of each model in N new processes, one
after another, the models in turns, about pictures of 224 x 224: what a program sees that uses one file.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from unittest import mock

import numpy as np
import onnxruntime as ort
import open_clip
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from blocklora.clip.backbones import Backbone, from_config, load_backbone
from blocklora.preprocess import TURNS
from blocklora.presets import is_builtin
from blocklora.projects.home import default_home
from exporters import onnx_export, quantize
from exporters.classifier import build_classifier
from exporters.metadata import ModelMetadata
from exporters.predictor import OnnxClassifier

CLASSES = 10
TURNED, UNCHANGED = "fp32, all turns", "fp32, layers unchanged"
RUNS, UNTIMED = 9, 4  # of a turn


def backbone_of(name: str) -> Backbone:
    if is_builtin(name):
        return load_backbone(name, default_home())
    config = open_clip.get_model_config(name)
    if config is None:
        raise SystemExit(f"open_clip knows no model {name!r}.")
    return from_config(config, name)


def export(backbone: Backbone, path: Path, turns: int = 1) -> None:
    """The fp32 file of `backbone` with random class weights, which looks at a picture as it is or at all its quarter turns."""
    preprocess = replace(backbone.preprocess, turns=turns)
    width = backbone.embed_dim
    weights = torch.nn.functional.normalize(torch.randn(CLASSES, width), dim=1)
    classifier = build_classifier(cast(torch.nn.Module, backbone.model.visual), weights, preprocess)
    names = tuple(f"class {number}" for number in range(CLASSES))
    about = ModelMetadata(names, names, ("{}",), preprocess, 1.0, 100.0, backbone.name, "", "2026-01-01T00:00:00Z")
    onnx_export.export_onnx(classifier, about, path)


def pictures(count: int) -> Iterator[np.ndarray]:
    for number in range(count):
        yield np.random.default_rng(number).integers(0, 256, (256, 320, 3), dtype=np.uint8)


def measure(name: str, folder: Path, rounds: int) -> dict[str, Any]:
    paths = {
        way: folder / f"{name.replace('/', '-')}-{way}.onnx" for way in ("fp32", "fp16", "int8 dynamic", "int8 static", TURNED, UNCHANGED)
    }
    backbone = backbone_of(name)
    export(backbone, paths["fp32"])
    export(backbone, paths[TURNED], TURNS)
    with mock.patch.object(onnx_export, "plain_layers", nullcontext):
        export(backbone, paths[UNCHANGED])
    quantize.to_fp16(paths["fp32"], paths["fp16"])
    quantize.to_int8_dynamic(paths["fp32"], paths["int8 dynamic"])
    quantize.to_int8_static(paths["fp32"], paths["int8 static"], pictures(16))
    models = {way: OnnxClassifier(path, cpu_only=True) for way, path in paths.items()}
    picture = next(pictures(1))
    times: dict[str, list[float]] = {way: [] for way in models}
    for number in range(rounds + 1):
        for way, model in models.items():
            # The threads of the file before go on waiting awake for a while, and would slow the first runs of this one.
            spent = [model.predict([picture])[0].milliseconds for _ in range(RUNS)][UNTIMED:]
            if number:
                times[way].append(statistics.median(spent))
    rows = {}
    for way, spent in times.items():
        ratios = [mine / full for mine, full in zip(spent, times["fp32"], strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        rows[way] = {
            "megabytes": paths[way].stat().st_size / 1e6,
            "milliseconds": statistics.median(spent),
            "ratio": statistics.median(ratios),
            "quarter": low,
            "three_quarters": high,
        }
    return rows


def alone(path: Path) -> float:
    """Milliseconds of one picture in the median, where nothing else is open."""
    model = OnnxClassifier(path, cpu_only=True)
    shown = [np.random.default_rng(number).integers(0, 256, (224, 224, 3), dtype=np.uint8) for number in range(60)]
    spent = [model.predict([picture])[0].milliseconds for picture in (*shown, *shown)]
    return statistics.median(spent[20:])


def in_processes(names: list[str], folder: Path, processes: int) -> dict[str, list[float]]:
    """What `alone` finds for the fp32 file of each model, in so many processes."""
    paths = {name: folder / f"{name.replace('/', '-')}-alone.onnx" for name in names}
    for name, path in paths.items():
        export(backbone_of(name), path)
    found: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(processes):
        for name, path in paths.items():
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                found[name].append(pool.apply(alone, (path,)))
    return found


def profile(name: str, folder: Path, runs: int = 60) -> list[str]:
    """Where the fp32 file's time goes, as onnxruntime's own profiler sees it: the operators that take the most."""
    path = folder / "profiled.onnx"
    export(backbone_of(name), path)
    options = ort.SessionOptions()
    options.enable_profiling, options.profile_file_prefix, options.intra_op_num_threads = True, str(folder / "profile"), 2
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    picture = next(pictures(1))[None]
    for _ in range(runs):
        session.run(None, {"images": picture})
    spent: Counter[str] = Counter()
    count: Counter[str] = Counter()
    for event in json.loads(Path(session.end_profiling()).read_text(encoding="utf-8")):
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            spent[event["args"]["op_name"]] += event["dur"]
            count[event["args"]["op_name"]] += 1
    total = sum(spent.values())
    return [f"{operator} ({count[operator] // runs} of them): {share / total:.0%}" for operator, share in spent.most_common(8)]


def table(results: dict[str, Any]) -> str:
    lines = ["| model | precision | MB | ms | of fp32's time (median; middle half) |", "| --- | --- | --- | --- | --- |"]
    for name, rows in results.items():
        for way, row in rows.items():
            spread = f"{row['ratio']:.2f} ({row['quarter']:.2f} to {row['three_quarters']:.2f})"
            lines.append(f"| {name} | {way} | {row['megabytes']:.1f} | {row['milliseconds']:.1f} | {spread} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["builtin", "ViT-B-32"])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--profile", action="store_true", help="also tell which operators of the fp32 file take the time")
    parser.add_argument("--processes", type=int, default=0, metavar="N", help="ask each fp32 file in N new processes, and nothing else")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.manual_seed(1)
    if args.processes:
        with tempfile.TemporaryDirectory() as folder:
            found = in_processes(args.models, Path(folder), args.processes)
        if args.out:
            args.out.write_text(json.dumps(found, indent=1))
        for name, spent in found.items():
            print(f"{name}: {statistics.median(spent):.1f} ms, from {min(spent):.1f} to {max(spent):.1f} in {len(spent)} processes")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        results = {name: measure(name, Path(folder), args.rounds) for name in args.models}
    if args.out:
        args.out.write_text(json.dumps(results, indent=1))
    print(table(results))
    if args.profile:
        for name in args.models:
            with tempfile.TemporaryDirectory() as folder:
                print(f"\n{name}: " + "; ".join(profile(name, Path(folder))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
