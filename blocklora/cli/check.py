"""`check`: what is wrong with the pictures of class folders, found without any training."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blocklora.cli.compose import studio
from blocklora.cli.data import read_data
from blocklora.errors import ImageError
from blocklora.projects.dataset import Dataset, Item
from blocklora.projects.records import ClassInfo, ImageInfo
from blocklora.services.data_check import Found, found
from blocklora.services.runs import check_dataset

if TYPE_CHECKING:
    from blocklora.services.findings import Check


def check(args: argparse.Namespace) -> int:
    """Look through DATA and print what was found; exit 0 whatever that is."""
    service = studio()
    with tempfile.TemporaryDirectory(prefix="blocklora-check-") as folder:
        dataset, skipped = read_data(service, args.data, Path(folder))
        for entry in skipped:
            print(f"left out: {entry.name}: {entry.reason}", file=sys.stderr)
        check_dataset(dataset)
        kept, record = _look(service.home, args.backbone, dataset)
    seen = seen_as(kept, record)
    paths = {item.image_id: item.path for item in kept.items}
    rows = as_rows(seen, paths, {info.id: info.name for info in class_infos(kept)})
    if args.json:
        print(json.dumps(rows, ensure_ascii=False))
    else:
        _print(rows)
    return 0


def _look(home: Path, backbone_name: str, dataset: Dataset) -> tuple[Dataset, Check]:
    """The pictures that can be read, and what is to be said of them."""
    import numpy as np
    import torch

    from blocklora.clip.backbones import load_backbone
    from blocklora.clip.prompts import text_class_weights, tokenise
    from blocklora.config import DEFAULT_TEMPLATE
    from blocklora.training.class_weights import Features, closed_form
    from exporters import checker
    from exporters.frozen import frozen_model

    backbone = load_backbone(backbone_name, home)
    paths = [Path(item.path) for item in dataset.items]
    model = frozen_model(home, backbone, paths[:: max(1, len(paths) // 12)])
    items: list[Item] = []
    embeddings = []
    for item, (_, answer) in zip(dataset.items, model.predict_files(paths), strict=True):
        if not isinstance(answer, ImageError):
            items.append(item)
            embeddings.append(answer.embedding)
    kept = dataclasses.replace(dataset, items=tuple(items))
    check_dataset(kept)
    with torch.inference_mode():
        tokens = tokenise(list(kept.class_names), [DEFAULT_TEMPLATE], backbone)
        text = text_class_weights(backbone.model, tokens).float().clone()
    values = np.stack(embeddings)
    features = Features(torch.from_numpy(values), torch.tensor([item.label for item in items]))
    _, choice = closed_form(features, text, backbone.logit_scale)
    qualities = list(checker.look(Path(item.path) for item in items))
    return kept, checker.check("", kept, values, text, choice, backbone.logit_scale, qualities)


def class_infos(dataset: Dataset) -> list[ClassInfo]:
    """The classes of a dataset as a project would tell of them."""
    rows = zip(dataset.class_ids, dataset.class_names, dataset.counts, strict=True)
    return [ClassInfo(key, name, place, count) for place, (key, name, count) in enumerate(rows)]


def seen_as(dataset: Dataset, record: Check) -> Found:
    """What the window would show of a record."""
    images = {
        item.image_id: ImageInfo(
            item.image_id, dataset.class_ids[item.label], item.sha256, "", 0, 0, 0, item.phash, Path(item.path).name, 0.0
        )
        for item in dataset.items
    }
    return found(record, class_infos(dataset), images, set(), {})


def as_rows(seen: Found, paths: dict[str, str], names: dict[str, str]) -> dict[str, Any]:
    """The findings as JSON values: files by path, classes by name."""
    return {
        "pictures": seen.n,
        "wrong_class": [{"file": paths[row.image.id], "class": row.labelled.name, "likelier": row.likelier.name} for row in seen.suspects],
        "alike": [[{"file": paths[image.id], "class": names[image.class_id]} for image in group] for group in seen.alike],
        "unlike_all": [{"file": paths[image.id], "class": names[image.class_id]} for image in seen.far],
        "hard_to_see": [{"file": paths[image.id], "class": names[image.class_id], "why": kind} for image, kind in seen.poor],
        "few_pictures": [{"class": info.name, "pictures": info.count} for info in (*seen.few, *seen.uneven)],
    }


def _print(rows: dict[str, Any]) -> None:
    for row in rows["wrong_class"]:
        print(f"may be in the wrong class: {row['file']} (in {row['class']}, looks more like {row['likelier']})")
    for group in rows["alike"]:
        print("look alike: " + ", ".join(f"{row['file']} ({row['class']})" for row in group))
    for row in rows["unlike_all"]:
        print(f"unlike everything else: {row['file']} ({row['class']})")
    for row in rows["hard_to_see"]:
        print(f"{row['why']}: {row['file']} ({row['class']})")
    for row in rows["few_pictures"]:
        print(f"few pictures: {row['class']} has {row['pictures']}")
    count = sum(len(rows[key]) for key in ("wrong_class", "alike", "unlike_all", "hard_to_see", "few_pictures"))
    print(f"{count} findings in {rows['pictures']:,} pictures" if count else f"nothing to mend in {rows['pictures']:,} pictures")
