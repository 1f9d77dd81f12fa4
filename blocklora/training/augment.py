"""Random resized crop, horizontal flip and quarter turns, drawn and applied to a whole batch at once on the training device.

The reference protocol (CLIP-LoRA, arXiv 2405.18541) crops 8 to 100 % of a picture's area at proportions of 3:4 to 4:3, resizes with
a bicubic filter and mirrors every second picture. The crops are drawn as torchvision's RandomResizedCrop draws them; the resampling
is one `grid_sample` for the batch, with as many samples a pixel as the reduction needs and their mean taken.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

TRIES = 10
RATIO = (3 / 4, 4 / 3)


def draw_crops(sizes: torch.Tensor, scale: float, generator: torch.Generator) -> torch.Tensor:
    """Random crop boxes.

    Args:
        sizes: (N, 2) height and width of each picture in pixels.
        scale: smallest share of the area that a crop keeps; the largest is 1.

    Returns:
        (N, 4) top, left, height, width in pixels. A picture too long for any of the tries gets its largest allowed central crop.
    """
    height, width = sizes[:, :1].double(), sizes[:, 1:].double()  # (N, 1)
    count = len(sizes)
    area = height * width * torch.empty(count, TRIES, dtype=torch.double).uniform_(scale, 1.0, generator=generator)
    ratio = torch.exp(torch.empty(count, TRIES, dtype=torch.double).uniform_(math.log(RATIO[0]), math.log(RATIO[1]), generator=generator))
    wide, high = torch.sqrt(area * ratio), torch.sqrt(area / ratio)  # (N, TRIES)
    fits = (wide <= width) & (high <= height)
    first = fits.int().argmax(dim=1, keepdim=True)  # the first try that fits, 0 where none does
    wide, high = wide.gather(1, first), high.gather(1, first)
    # No try fitted: the whole picture, cut to the nearest allowed proportions.
    none = ~fits.any(dim=1, keepdim=True)
    wide = torch.where(none, torch.minimum(width, height * RATIO[1]), wide)
    high = torch.where(none, torch.minimum(height, width / RATIO[0]), high)
    place = torch.rand(count, 2, dtype=torch.double, generator=generator)
    place = torch.where(none.expand(-1, 2), torch.full_like(place, 0.5), place)
    top, left = (height - high) * place[:, :1], (width - wide) * place[:, 1:]
    return torch.cat([top, left, high, wide], dim=1)


def quarter_turns(pixels: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Turn each square picture of (N, 3, S, S) counter-clockwise by its number of quarter turns, (N,) of 0..3."""
    turned = pixels.clone()
    for quarters in (1, 2, 3):
        own = (turns == quarters).to(pixels.device)
        turned[own] = torch.rot90(pixels[own], quarters, (2, 3))
    return turned


def crop_resize_flip(pixels: torch.Tensor, boxes: torch.Tensor, flips: torch.Tensor, size: int) -> torch.Tensor:
    """Cut each box out of its picture, resize it to a square, mirror it where asked.

    Args:
        pixels: float (N, 3, H, W), 0..255, pictures padded to one size.
        boxes: (N, 4) top, left, height, width in pixels.
        flips: bool (N,).
        size: side of the result in pixels.

    Returns:
        float (N, 3, size, size), held in 0..255.
    """
    height, width = pixels.shape[2:]
    reduction = float(boxes[:, 2:].max()) / size
    samples = 1 if reduction <= 1.5 else 2 if reduction <= 4 else 4  # a side; enough that no pixel is skipped
    boxes = boxes.to(pixels.device, pixels.dtype)
    steps = (torch.arange(size * samples, device=pixels.device, dtype=pixels.dtype) + 0.5) / (size * samples)  # (S,)
    across = torch.where(flips.to(pixels.device)[:, None], 1 - steps, steps)  # (N, S)
    x = (boxes[:, 1:2] + across * boxes[:, 3:4]) * (2 / width) - 1  # (N, S), grid_sample's -1..1
    y = (boxes[:, 0:1] + steps * boxes[:, 2:3]) * (2 / height) - 1
    grid = torch.stack([x[:, None, :].expand(-1, len(steps), -1), y[:, :, None].expand(-1, -1, len(steps))], dim=-1)  # (N, S, S, 2)
    mode = "bicubic" if samples == 1 else "bilinear"  # the mean over samples does the filtering
    cut = F.grid_sample(pixels, grid, mode=mode, padding_mode="border", align_corners=False)
    if samples > 1:
        cut = F.avg_pool2d(cut, samples)
    return cut.clamp(0.0, 255.0)
