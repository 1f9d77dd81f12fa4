"""How quickly many pictures are predicted, beside a plain open_clip loop, and in how much memory.

    python tests/benchmarks/prediction.py speed FOLDER --out speed.json
    python tests/benchmarks/prediction.py memory --out memory.json

Speed: the same files of FOLDER by every way in turn, round after round, so that a busy machine slows all of them; figures are medians
over the rounds, ratios are those of one round. The loops are as people write them: `Image.open`, open_clip's own transform,
`encode_image`, cosine with class weights; one picture at a time, and 32 at a time. Weights are random: time does not depend on them.
Every way decodes the files itself. On a machine that others use too, threads that wait for each other make the loops look slower than
they are, so processor time is told as well, ours with all its children, the loops' on one thread, where nothing is waited for.

Memory: the command `predict --csv` over folders of files with a tiny model, its peak as Linux counts it (VmHWM). Files are hard links to
a few hundred pictures of different sizes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "exporters")]
POLL = 0.05  # seconds between two looks at a process's memory
SIZES = 300  # different pictures in the memory test


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="what")
    speed_parser, memory_parser = commands.add_parser("speed"), commands.add_parser("memory")
    speed_parser.add_argument("folder", type=Path)
    speed_parser.add_argument("--model", default="ViT-B-32", help="an open_clip model with its own towers (default: ViT-B-32)")
    speed_parser.add_argument("--images", type=int, default=64, help="files a round (default: 64)")
    speed_parser.add_argument("--rounds", type=int, default=5)
    memory_parser.add_argument("--files", type=int, nargs="+", default=[2_000, 20_000])
    for one in (speed_parser, memory_parser):
        one.add_argument("--out", type=Path)
    args = parser.parse_args()
    result = speed(args.folder, args.model, args.images, args.rounds) if args.what == "speed" else memory(args.files)
    text = json.dumps(result, indent=1)
    print(text)
    if args.out:
        args.out.write_text(text)
    return 0


# ---- speed


def speed(folder: Path, name: str, count: int, rounds: int) -> dict:
    """Images a second by each way, and how many times each loop's speed ours is."""
    import open_clip
    import torch

    from blocklora.clip.backbones import from_config
    from exporters.frozen import frozen_model
    from exporters.predictor import OnnxClassifier

    files = sorted(folder.rglob("*.jpg"))
    files = files[:: max(1, len(files) // count)][:count]
    torch.manual_seed(0)
    backbone = from_config(open_clip.get_model_config(name))
    model, _, transform = open_clip.create_model_and_transforms(name)
    model.eval()
    weights = torch.nn.functional.normalize(torch.randn(10, backbone.embed_dim), dim=1)
    with tempfile.TemporaryDirectory() as home:
        file = frozen_model(Path(home), backbone, files[:4]).path
        del backbone
        many, one = OnnxClassifier(file, cpu_only=True, many=True), OnnxClassifier(file, cpu_only=True)
        ways: dict[str, Callable[[], object]] = {
            "ours": lambda: list(many.predict_files(files)),
            "ours_one_at_a_time_all_cores": lambda: [one.predict_file(path) for path in files],
            "loop_one_at_a_time": lambda: _loop(model, transform, weights, files, 1),
            "loop_batch_32": lambda: _loop(model, transform, weights, files, 32),
        }
        times = _take_turns(ways, rounds)
        torch_threads = torch.get_num_threads()
        torch.set_num_threads(1)
        del ways["ours_one_at_a_time_all_cores"]
        spent = {way: [_processor_ms(work) / len(files) for _ in range(rounds)] for way, work in ways.items()}
    result = {
        "model": name,
        "images": len(files),
        "rounds": rounds,
        "cores": os.cpu_count(),
        "torch_threads": torch_threads,
        "load_before_and_after": [round(os.getloadavg()[i], 1) for i in (2, 0)],
        "images_a_second": {way: _summary([len(files) / seconds for seconds in found]) for way, found in times.items()},
    }
    result["processor_ms_a_picture"] = {way: _summary(found) for way, found in spent.items()}
    for loop in ("loop_one_at_a_time", "loop_batch_32"):
        result[f"ours_over_{loop}"] = _summary([theirs / mine for mine, theirs in zip(times["ours"], times[loop], strict=True)])
    return result


def _take_turns(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(-1, rounds):  # the first round warms up
        for way, work in ways.items():
            began = time.perf_counter()
            work()
            if number >= 0:
                times[way].append(time.perf_counter() - began)
        print(f"round {number + 1} of {rounds}", {way: round(found[-1], 2) for way, found in times.items() if found}, file=sys.stderr)
    return times


def _processor_ms(work: Callable[[], object]) -> float:
    """Processor time of this process and its children, which stay between two calls."""

    def so_far() -> float:
        own = psutil.Process()
        return sum(sum(process.cpu_times()[:2]) for process in (own, *own.children())) + sum(own.cpu_times()[2:4])

    before = so_far()
    work()
    return 1000 * (so_far() - before)


def _loop(model, transform, weights, files: list[Path], batch: int) -> list:  # type: ignore[no-untyped-def]
    import torch
    from PIL import Image

    found = []
    with torch.inference_mode():
        for first in range(0, len(files), batch):
            pixels = torch.stack([transform(Image.open(path)) for path in files[first : first + batch]])
            features = torch.nn.functional.normalize(model.encode_image(pixels), dim=-1)
            found.extend((100 * features @ weights.T).softmax(dim=-1).topk(3).indices.tolist())
    return found


def _summary(values: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(values), 3), "least": round(min(values), 3), "most": round(max(values), 3)}


# ---- memory


def memory(counts: list[int]) -> dict:
    """Peak memory of `predict --csv` in MB, and its speed, for each number of files."""
    from tiny_export import make_classifier, make_metadata

    from exporters.onnx_export import export_onnx

    with tempfile.TemporaryDirectory() as home:
        model = Path(home) / "tiny.onnx"
        export_onnx(make_classifier(), make_metadata(), model)
        return {"files": {str(count): _predicted(model, _folder(Path(home), count)) for count in counts}}


def _folder(home: Path, count: int) -> Path:
    import numpy as np
    from PIL import Image

    folder, draw = home / str(count), np.random.default_rng(0)
    for number in range(count):
        inner = folder / f"{number // 1000:03d}"
        inner.mkdir(parents=True, exist_ok=True)
        if number < SIZES:
            pixels = draw.integers(0, 256, (64 + number, 80 + number // 2, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(inner / f"{number:06d}.jpg")
        else:
            os.link(folder / "000" / f"{number % SIZES:06d}.jpg", inner / f"{number:06d}.jpg")
    return folder


def _predicted(model: Path, folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "blocklora", "predict", str(model), str(folder), "--csv", str(folder.with_suffix(".csv"))]
    began, peak = time.perf_counter(), 0
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak = max(peak, *(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)
            time.sleep(POLL)
    if process.returncode:
        raise RuntimeError(f"predict ended with {process.returncode}")
    return {"peak_mb": round(peak / 1024, 1), "seconds": round(time.perf_counter() - began, 1)}


if __name__ == "__main__":
    sys.exit(main())
