"""What the data check finds of planted errors: `python tests/benchmarks/data_check.py BENCH_DIR [--seeds 3] [--out FILE]`.

BENCH_DIR holds `<set>/train/<class>/*.jpg`. For each set and seed 5 % of the labels are changed, and copies of another 5 % are added, by
turns into the same and into another class: re-encoded, at 80 % of the size, mirrored, cropped to 90 %, brighter. Then the product's own
check looks at them with the built-in backbone, and what it lists is counted: at the length that a person would see. A copy in another
class is a wrong label too. Pictures of the sets that look alike, or are labelled oddly, of their own count as false: the precision is a
lower bound. Poor pictures are counted on blurred, darkened and overexposed copies of every second picture (the bounds were chosen on the
others), beside the untouched ones.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from blocklora.cli.check import seen_as
from blocklora.clip.backbones import load_backbone
from blocklora.clip.prompts import text_class_weights, tokenise
from blocklora.config import DEFAULT_TEMPLATE
from blocklora.presets import BUILTIN
from blocklora.projects.dataset import Dataset, Item
from blocklora.projects.decoding import shared_decoder
from blocklora.projects.folders import read_class_folders
from blocklora.projects.quality import kind_of
from blocklora.training.class_weights import Features, closed_form
from exporters.checker import check, look
from exporters.frozen import frozen_model

COPIES = ("re-encoded", "smaller", "mirrored", "cropped", "brighter")
POOR = {"blurry": "blurred", "dark": "darkened", "washed out": "overexposed"}


def altered(picture: Image.Image, how: str) -> bytes:
    """A copy of a picture, as JPEG."""
    width, height = picture.size
    quality = 60 if how == "re-encoded" else 92
    if how == "smaller":
        picture = picture.resize((round(width * 0.8), round(height * 0.8)), Image.Resampling.LANCZOS)
    elif how == "mirrored":
        picture = ImageOps.mirror(picture)
    elif how == "cropped":
        picture = picture.crop((round(width * 0.05), round(height * 0.05), round(width * 0.95), round(height * 0.95)))
    elif how == "brighter":
        picture = ImageEnhance.Brightness(picture).enhance(1.15)
    elif how == "blurred":
        picture = picture.filter(ImageFilter.GaussianBlur(0.015 * min(width, height)))
    elif how == "darkened":
        picture = ImageEnhance.Brightness(picture).enhance(0.2)
    elif how == "overexposed":
        picture = Image.fromarray((np.asarray(picture, np.float32) * 3 + 80).clip(0, 255).astype(np.uint8))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()


def plant(dataset: Dataset, seed: int, folder: Path) -> tuple[Dataset, set[str], dict[str, tuple[str, str]]]:
    """The dataset with errors; ids of the wrongly labelled, and of each copy its original and how it was made."""
    draw, classes, items = random.Random(seed), range(len(dataset.class_names)), list(dataset.items)
    order = draw.sample(range(len(items)), len(items))
    count = round(0.05 * len(items))
    wrong: set[str] = set()
    copies: dict[str, tuple[str, str]] = {}

    def another(label: int) -> int:
        return draw.choice([other for other in classes if other != label])

    for number, index in enumerate(order[count : 2 * count]):
        original, how = items[index], COPIES[number % len(COPIES)]
        path = folder / f"{seed}-{number}.jpg"
        with Image.open(original.path) as picture:
            path.write_bytes(altered(picture.convert("RGB"), how))
        found: Any = shared_decoder().inspect(path)
        label = another(original.label) if number % 2 else original.label
        items.append(Item(str(path), label, found.sha256, found.phash, found.sha256[:16]))
        copies[found.sha256[:16]] = (original.image_id, how)
        if number % 2:
            wrong.add(found.sha256[:16])
    for index in order[:count]:
        items[index] = dataclasses.replace(items[index], label=another(items[index].label))
        wrong.add(items[index].image_id)
    return dataclasses.replace(dataset, items=tuple(items)), wrong, copies


class Looker:
    """The built-in backbone; pictures are embedded once."""

    def __init__(self, home: Path, some: list[Path]) -> None:
        self.backbone = load_backbone(BUILTIN, home)
        self.model = frozen_model(home, self.backbone, some)
        self.known: dict[str, np.ndarray] = {}

    def check(self, dataset: Dataset) -> Any:
        new = {Path(item.path): item.sha256 for item in dataset.items if item.sha256 not in self.known}
        for path, answer in self.model.predict_files(new):
            self.known[new[path]] = answer.embedding  # type: ignore[union-attr]
        values = np.stack([self.known[item.sha256] for item in dataset.items])
        with torch.inference_mode():
            tokens = tokenise(list(dataset.class_names), [DEFAULT_TEMPLATE], self.backbone)
            text = text_class_weights(self.backbone.model, tokens).float().clone()
        features = Features(torch.from_numpy(values), torch.tensor([item.label for item in dataset.items]))
        _, choice = closed_form(features, text, self.backbone.logit_scale)
        record = check("", dataset, values, text, choice, self.backbone.logit_scale, [None] * len(dataset.items))
        return seen_as(dataset, record)


def poor_row(dataset: Dataset, folder: Path) -> dict[str, list[int]]:
    """Of every second picture, altered in each way: how many were found, of how many; untouched: how many were listed."""
    chosen = sorted(dataset.items, key=lambda item: item.path)[1::2]
    rows: dict[str, list[int]] = {}
    for kind, how in POOR.items():
        paths = []
        for number, item in enumerate(chosen):
            path = folder / f"{how}-{number}.jpg"
            with Image.open(item.path) as picture:
                path.write_bytes(altered(picture.convert("RGB"), how))
            paths.append(path)
        rows[how] = [sum(quality is not None and kind_of(quality) == kind for quality in look(paths)), len(paths)]
    untouched = look([Path(item.path) for item in chosen])
    rows["untouched"] = [sum(quality is not None and kind_of(quality) != "" for quality in untouched), len(chosen)]
    return rows


def measure(bench: Path, name: str, seeds: int, home: Path, folder: Path) -> dict[str, Any]:
    dataset, _ = read_class_folders(bench / name / "train")
    looker = Looker(home, [Path(item.path) for item in dataset.items[:12]])
    clean = looker.check(dataset)
    row: dict[str, Any] = {"set": name, "pictures": len(dataset.items), "clean": [len(clean.suspects), len(clean.alike), len(clean.far)]}
    labels, alike, kinds = np.zeros(3, int), np.zeros(4, int), {how: np.zeros(2, int) for how in COPIES}
    for seed in range(1, seeds + 1):
        planted, wrong, copies = plant(dataset, seed, folder)
        seen = looker.check(planted)
        listed = {suspect.image.id for suspect in seen.suspects}
        labels += [len(listed & wrong), len(listed), len(wrong)]
        groups = [{image.id for image in group} for group in seen.alike]
        pairs = [{copy, original} for copy, (original, _) in copies.items()]
        alike += [sum(any(pair <= group for pair in pairs) for group in groups), len(groups), 0, len(pairs)]
        for copy, (original, how) in copies.items():
            hit = any({copy, original} <= group for group in groups)
            kinds[how] += [hit, 1]
            alike[2] += hit
    row |= {"labels": labels.tolist(), "alike": alike.tolist(), "kinds": {how: found.tolist() for how, found in kinds.items()}}
    return row | {"poor": poor_row(dataset, folder)}


def share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "–"


def markdown(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| set | wrong class: listed | right of these | of all planted | copies: right of the groups | of all planted "
        "| listed with nothing planted |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        hit, listed, planted = row["labels"]
        good, groups, found, copies = row["alike"]
        lines.append(
            f"| {row['set']} | {listed} | {share(hit, listed)} | {share(hit, planted)} | {share(good, groups)} | {share(found, copies)} "
            f"| {row['clean'][0]} labels, {row['clean'][1]} groups, {row['clean'][2]} strangers of {row['pictures']} |"
        )
    kinds = {how: np.sum([row["kinds"][how] for row in rows], axis=0) for how in COPIES}
    poor = {how: np.sum([row["poor"][how] for row in rows], axis=0) for how in rows[0]["poor"]}
    lines += ["", "copies found: " + ", ".join(f"{how} {share(*found)} of {found[1]}" for how, found in kinds.items())]
    lines += ["poor pictures found: " + ", ".join(f"{how} {share(*found)} ({found[0]} of {found[1]})" for how, found in poor.items())]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", nargs="*", help="only these")
    parser.add_argument("--out", type=Path, help="also write the counts as JSON")
    args = parser.parse_args()
    names = args.sets or sorted(path.parent.name for path in args.bench.glob("*/train"))
    rows = []
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as folder:
        for name in names:
            place = Path(folder) / name
            place.mkdir()
            rows.append(measure(args.bench, name, args.seeds, Path(home), place))
            print(f"{name}: {json.dumps(rows[-1])}", file=sys.stderr, flush=True)
    print(markdown(rows))
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
