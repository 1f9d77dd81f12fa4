"""What a preview costs, in units of one forward pass over the same images: `python tests/benchmarks/preview.py --help`.

The unit is onnxruntime running the frozen image tower, preprocessing included, over all images. The preview is the same run, then class
weights in closed form with their choice and calibration. Both take turns, so that a busy machine slows both, and who is first changes; the
median of the rounds' ratios is written, and that of the previews to their own forward passes, which says the same with less noise. Weights
are random: time does not depend on them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import open_clip
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from PIL import Image

from blocklora.clip.backbones import from_config
from blocklora.clip.prompts import text_class_weights, tokenise
from blocklora.training.class_weights import Features, closed_form
from exporters.frozen import frozen_model


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ViT-B-32", help="an open_clip model with its own towers (default: ViT-B-32)")
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--images", type=int, default=16, help="images a class (default: 16)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    draw = np.random.default_rng(0)
    pictures = [draw.integers(0, 256, (240, 320, 3), dtype=np.uint8) for _ in range(args.classes * args.images)]
    labels = torch.arange(args.classes).repeat_interleave(args.images)
    backbone = from_config(open_clip.get_model_config(args.model))
    with torch.inference_mode():
        text = text_class_weights(
            backbone.model, tokenise([f"thing {i}" for i in range(args.classes)], ["a photo of a {}."], backbone)
        ).clone()
    with tempfile.TemporaryDirectory() as home:
        shown = Path(home) / "shown.png"
        Image.fromarray(pictures[0]).save(shown)
        model = frozen_model(Path(home), backbone, [shown])
        forward, preview, solving = [], [], []
        model.predict(pictures[:16])

        def plain() -> None:
            began = time.perf_counter()
            model.predict(pictures)
            forward.append(time.perf_counter() - began)

        def whole() -> None:
            began = time.perf_counter()
            values = np.stack([found.embedding for found in model.predict(pictures)])
            looked = time.perf_counter()
            closed_form(Features(torch.from_numpy(values), labels), text, backbone.logit_scale)
            preview.append(time.perf_counter() - began)
            solving.append(time.perf_counter() - looked)

        for number in range(args.rounds):
            for part in (plain, whole) if number % 2 == 0 else (whole, plain):
                part()
    ratios = [mine / unit for mine, unit in zip(preview, forward, strict=True)]
    result = {
        "model": args.model,
        "images": len(pictures),
        "forward_seconds": statistics.median(forward),
        "closed_form_seconds": statistics.median(solving),
        "preview_over_forward": statistics.median(ratios),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "preview_over_its_own_forward": statistics.median(all_ / (all_ - own) for all_, own in zip(preview, solving, strict=True)),
    }
    print(json.dumps(result, indent=1))
    if args.out:
        args.out.write_text(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
