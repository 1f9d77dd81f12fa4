"""Zero-shot validation: how often the text of the right class is the nearest."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from blocklora.pretrain.augment import normalise
from blocklora.pretrain.data import ImageArray
from blocklora.pretrain.names import PromptBook
from blocklora.pretrain.network import Clip, autocast, encode_image


@torch.no_grad()
def text_classifier(model: Clip, book: PromptBook, device: torch.device) -> torch.Tensor:
    """Class weights (C, D): each class's usual name, averaged over the evaluation templates, of length one."""
    prompts = book.evaluation().to(device)  # (T, C, L)
    features = torch.stack([F.normalize(model.encode_text(template).float(), dim=-1) for template in prompts])
    return F.normalize(features.mean(0), dim=-1)


@torch.no_grad()
def zero_shot_top1(
    model: Clip, data: ImageArray, book: PromptBook, device: torch.device, precision: str = "fp32", limit: int | None = None
) -> float:
    """Top-1 accuracy in percent on the stored images at full size; on an even sample of `limit` of them if given."""
    total = len(data.labels)
    count = total if limit is None else min(limit, total)
    chosen = torch.arange(count) * total // count
    weights = text_classifier(model, book, device)
    right = 0
    for rows in chosen.split(250):
        pixels = normalise(data.images[rows].to(device).float().div_(255))
        with autocast(device, precision):
            features = encode_image(model.visual, pixels)
        logits = features.float() @ weights.T
        right += int((logits.argmax(1).cpu() == data.labels[rows]).sum())
    return 100.0 * right / count
