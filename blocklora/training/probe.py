"""Measures how fast this machine is with a backbone: `python -m blocklora.training.probe HOME BACKBONE DEVICE`.

A few real steps on made-up pictures, so that the first estimate stands before the first run. Only for backbones that are on this
machine already; nothing is downloaded.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from blocklora.config import AdapterConfig
from blocklora.speeds import Depth, Speed, recall, remember, remember_depth, remember_footprint

CLASSES, BATCH = 4, 8
NAMES = 16  # class names that are timed by themselves
EXPORT_START, EXPORT_LOOKS = 10.0, 500  # an export takes so many seconds, and as long as looking at so many pictures: tracing, and the gate
STEPS = 3


def timed(work: Callable[[], object], threads: int | None) -> float:
    """The fastest of STEPS calls, in seconds; the first call, which warms caches, does not count.

    Args:
        threads: that compute, where they are this processor's. A first project is opened while its preview is made and a window draws
            itself: what these take of the processor is not counted then, as a training has it to itself most of the time.
    """
    work()
    times = []
    for _ in range(STEPS):
        began, used = time.perf_counter(), time.process_time()
        work()
        elapsed, used = time.perf_counter() - began, time.process_time() - used
        times.append(min(elapsed, used / threads) if threads else elapsed)
    return min(times)


def probe(home: Path, name: str, device: str) -> Speed:
    """Time embedding and training on a loaded backbone; the memory that they take is remembered on the way."""
    began = time.perf_counter()
    import torch
    import torch.nn.functional as F

    from blocklora.clip.backbones import load_backbone
    from blocklora.clip.prompts import image_features, text_class_weights, tokenise
    from blocklora.clip.split import split_image_tower
    from blocklora.lora.attach import attach
    from blocklora.training.device import choose
    from blocklora.training.memory import footprint

    compute = choose(device, "auto", lambda message: None)
    backbone = load_backbone(name, home)
    backbone.model.to(compute.device).eval()
    fixed = time.perf_counter() - began
    size = backbone.preprocess.size
    images = torch.rand(BATCH, 3, size, size, device=compute.device)
    labels = torch.arange(BATCH, device=compute.device) % CLASSES
    prompts = tokenise([f"class {i}" for i in range(CLASSES)], ["a photo of a {}."], backbone).to(compute.device)

    threads = torch.get_num_threads() if compute.device.type == "cpu" else None

    def look() -> float:
        with torch.inference_mode():
            return float(image_features(backbone.model, images).sum())

    forward = timed(look, threads) / BATCH
    compute.take(backbone.model)
    looking = min(forward, timed(look, threads) / BATCH)
    adapters = attach(backbone.model, AdapterConfig(), seed=0)

    def step() -> float:
        with compute.autocast():
            logits = 100 * image_features(backbone.model, images).float() @ text_class_weights(backbone.model, prompts).float().T
        loss = F.cross_entropy(logits, labels)
        torch.autograd.grad(loss, adapters.parameters())
        return float(loss.detach())

    names = tokenise([f"class {i}" for i in range(NAMES)], ["a photo of a {}."], backbone).to(compute.device)

    def naming() -> float:
        with compute.autocast():
            weights = text_class_weights(backbone.model, names)
        torch.autograd.grad(weights.float().sum(), adapters.parameters(), allow_unused=True)
        return float(weights.detach().float().sum())  # waits for the device, as the others do

    remember_footprint(home, device, name, footprint(backbone, adapters, compute))
    remember_depth(home, name, Depth(adapters.n_layers["image"], split_image_tower(backbone.model, 1) is not None))
    known = recall(home, device, name)
    a_name = timed(naming, threads) / NAMES
    an_image = max(0.0, timed(step, threads) - CLASSES * a_name) / BATCH
    return Speed(fixed, looking, an_image, known.export if known else EXPORT_START + EXPORT_LOOKS * forward, a_name, forward)


def main() -> int:
    if len(sys.argv) != 4:
        print("usage: python -m blocklora.training.probe HOME BACKBONE DEVICE", file=sys.stderr)
        return 2
    home, name, device = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    remember(home, device, name, probe(home, name, device))
    return 0


if __name__ == "__main__":
    sys.exit(main())
