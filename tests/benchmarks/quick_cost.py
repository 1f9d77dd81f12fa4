"""What a whole run costs, from its start to the published ONNX file: `python tests/benchmarks/quick_cost.py --help`.

The unit is one forward pass of the frozen model's image tower over the same images, in torch and fp32, on the same number of threads,
measured before and after the run (the median counts). Beside the clock's ratio stands that of processor time, which depends less on what
else a machine does; but work on one core counts half in it. The run is the product's: the settings that the preset plans for this machine,
a worker process of its own, the export with its gate. Its time is split by the events that it writes. Weights are random; time does not
depend on them, but where training stops early may, so the steps that were done stand beside. `--adapter` and `--training` overrule the
plan, as Advanced does.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from blocklora.clip.backbones import load_backbone
from blocklora.clip.build import build_model
from blocklora.clip.pixels import to_model_inputs
from blocklora.clip.prompts import image_features
from blocklora.jobs.launcher import worker_environment
from blocklora.jobs.run_folder import RunFolder
from blocklora.plan import seconds
from blocklora.processor import cpu_cores
from blocklora.projects.folders import read_class_folders
from blocklora.services.planning import depth_of, planned
from blocklora.services.runs import RunRequest, make_run, split_of
from blocklora.speeds import recall

ROOT = Path(__file__).resolve().parents[2]
NAME = "ViT-B-32-random"
PARTS = {
    "queued": "start of the worker",
    "started": "start of the worker",
    "caching": "reading and embedding",
    "prepared": "reading and embedding",
    "step": "steps",
    "validation": "held-out checks",
    "estimating": "judging every image",
    "finished": "measuring, writing the result",
    "export_started": "start of the export",
}
STAGES = {  # an export says a stage when it begins
    "Loading the model": "export: loading",
    "Asking the trained model": "gate: asking the model",
    "Writing the ONNX file": "export: writing",
    "Checking it against the trained model": "gate: checking the file",
    "Measuring its speed": "gate: checking the file",
}


def write_backbone(home: Path, model: str) -> None:
    """Random weights of an open_clip model, where a downloaded backbone would be."""
    folder = home / "backbones" / NAME
    folder.mkdir(parents=True)
    cfg = open_clip.get_model_config(model)
    torch.manual_seed(0)
    save_file({name: tensor.contiguous() for name, tensor in build_model(cfg).state_dict().items()}, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": cfg, "preprocess_cfg": {}}))


def write_pictures(folder: Path, classes: int, images: int) -> None:
    """Class folders of JPEGs that differ by hue and a little noise."""
    draw = np.random.default_rng(0)
    for label in range(classes):
        place = folder / f"thing {label}"
        place.mkdir(parents=True)
        hue = draw.integers(0, 256, 3)
        for number in range(images):
            pixels = np.clip(hue + draw.normal(0, 40, (15, 20, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).resize((320, 240), Image.Resampling.BICUBIC).save(place / f"{number}.jpg", quality=90)


def forward(home: Path, folder: Path, rounds: int) -> list[list[float]]:
    """Seconds by the clock and of the processors, `rounds` times, of one forward pass of the frozen image tower over all pictures, in
    batches of 32.
    """
    torch.set_num_threads(cpu_cores())
    backbone = load_backbone(NAME, home)
    backbone.model.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    pictures = [np.array(Image.open(path).convert("RGB")) for path in sorted(folder.glob("*/*.jpg"))]
    inputs = to_model_inputs(pictures, backbone.preprocess)
    found = []
    with torch.inference_mode():
        image_features(backbone.model, inputs[:32])
        for _ in range(rounds):
            began, used = time.perf_counter(), time.process_time()
            for chunk in inputs.split(32):
                image_features(backbone.model, chunk)
            found.append([time.perf_counter() - began, time.process_time() - used])
    return found


def forward_apart(home: Path, folder: Path, rounds: int) -> list[list[float]]:
    """`forward` in a process of its own, in the environment of the product's workers."""
    command = [sys.executable, __file__, "--forward", str(home), str(folder), "--rounds", str(rounds)]
    answer = subprocess.run(command, env=worker_environment(), capture_output=True, text=True, check=True)
    found: list[list[float]] = json.loads(answer.stdout.splitlines()[-1])
    return found


def parts_of(run: RunFolder, began: float, ended: float) -> dict[str, float]:
    """Seconds of each part of a run, from the events it wrote: the time before an event belongs to what the event tells of."""
    parts: dict[str, float] = {}
    last, stage, pace, told = began, "", 0.0, 0

    def add(part: str, seconds: float) -> None:
        parts[part] = parts.get(part, 0.0) + seconds

    for line in run.events_path.read_text().splitlines():
        event = json.loads(line)
        kind, passed = event["type"], event["time"] - last
        last = event["time"]
        if kind == "step":
            pace, told = 32 / event["images_per_second"], event["step"]
        if kind == "validation":  # steps that no event has told of yet lie before a check
            steps = min(passed, pace * max(0, event["step"] - told))
            told = max(told, event["step"])
            add("steps", steps)
            passed -= steps
        if kind == "export_progress":
            add(stage or "start of the export", passed)
            stage = STAGES[event["stage"]]
        elif kind.startswith("export_f"):
            add(stage, passed)
        else:
            add(PARTS.get(kind, "other"), passed)
    add("other", ended - last)
    return parts


def processor_seconds() -> float:
    """Of all processes that this one has waited for, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(args: argparse.Namespace, work: Path) -> dict[str, Any]:
    home, folder = work / "home", args.pictures or work / "pictures"
    write_backbone(home, args.model)
    if args.pictures is None:
        write_pictures(folder, args.classes, args.images)
    subprocess.run(
        [sys.executable, "-m", "blocklora.training.probe", str(home), NAME, "cpu"], cwd=ROOT, env=worker_environment(), check=True
    )
    dataset, _ = read_class_folders(folder)
    images, classes = len(dataset.items), len(dataset.class_names)
    plan = planned(home, args.preset, NAME, images, classes, device="cpu")
    config = replace(plan.training, **json.loads(args.training))
    adapter = replace(plan.adapter, **json.loads(args.adapter))
    speed, depth = recall(home, "cpu", NAME), depth_of(home, NAME)
    assert speed is not None
    foretold = seconds(speed, depth, config, adapter, images, classes)
    units = forward_apart(home, folder, args.rounds)
    run = make_run(work / "run", home, dataset, split_of(dataset, config), RunRequest(NAME, config, adapter, ("exporters.worker",)))
    began, used = time.time(), processor_seconds()
    subprocess.run([sys.executable, "-m", "blocklora.training.worker", str(run.path)], cwd=ROOT, env=worker_environment(), check=True)
    ended, used = time.time(), processor_seconds() - used
    units += forward_apart(home, folder, args.rounds)
    unit, unit_used = (statistics.median(values) for values in zip(*units, strict=True))
    result = run.result() or {}
    parts = parts_of(run, began, ended)
    return {
        "model": args.model,
        "images": len(dataset.items),
        "published": run.onnx_path.is_file(),
        "unit_seconds": unit,
        "units": [round(value, 2) for value, _ in units],
        "seconds": ended - began,
        "foretold_seconds": foretold,
        "run_over_forward": (ended - began) / unit,
        "processor_seconds_over_forward": used / unit_used,
        "parts_in_units": {name: round(seconds / unit, 2) for name, seconds in parts.items()},
        "last_layers": adapter.last_layers,
        "steps": config.steps,
        "steps_done": result.get("steps_done"),
        "best_step": result.get("best_step"),
        "training": {name: getattr(config, name) for name in ("views", "checks", "patience", "retrain", "estimate_minutes")},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ViT-B-32", help="an open_clip model with its own towers (default: ViT-B-32)")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--images", type=int, default=16, help="pictures a class (default: 16)")
    parser.add_argument("--pictures", type=Path, help="a folder of class folders, instead of made-up pictures")
    parser.add_argument("--adapter", default="{}", help="AdapterConfig values as JSON, over the plan's")
    parser.add_argument("--training", default="{}", help="TrainingConfig values as JSON, over the plan's")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of the unit before the run, and again after it")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--forward", nargs=2, type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.forward:
        print(json.dumps(forward(*args.forward, args.rounds)))
        return 0
    with tempfile.TemporaryDirectory() as work:
        result = measure(args, Path(work))
    print(json.dumps(result, indent=1))
    if args.out:
        args.out.write_text(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
