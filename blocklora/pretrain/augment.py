"""Random views of a batch, on the device it is on: crop, flip, colour, blur and sharpening, lost resolution, mixup and CutMix.

All randomness comes from one CPU generator, so the same seed gives the same views on every device. The parameters are
drawn per image; what is drawn for the whole batch (how far it is scaled down, mixing) falls on random images because
the batch itself is in random order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from blocklora.pretrain.config import CLIP_MEAN, CLIP_STD


def _uniform(generator: torch.Generator, count: int, low: float, high: float) -> torch.Tensor:
    return torch.rand(count, generator=generator) * (high - low) + low


def normalise(pixels: torch.Tensor) -> torch.Tensor:
    """(B, 3, R, R) on the 0..1 scale -> the network's input."""
    mean = pixels.new_tensor(CLIP_MEAN).view(1, 3, 1, 1)
    std = pixels.new_tensor(CLIP_STD).view(1, 3, 1, 1)
    return (pixels - mean) / std


def random_crop(pixels: torch.Tensor, resolution: int, smallest: float, generator: torch.Generator) -> torch.Tensor:
    """Random resized crop with flip: (B, 3, S, S) -> (B, 3, R, R).

    Bilinear without a filter: at most every second pixel is skipped, and what that aliases is one more variation.
    """
    count = len(pixels)
    area = _uniform(generator, count, smallest, 1.0)
    ratio = torch.exp(_uniform(generator, count, -math.log(4 / 3), math.log(4 / 3)))
    wide, high = (area * ratio).sqrt().clamp(max=1.0), (area / ratio).sqrt().clamp(max=1.0)
    left, top = (_uniform(generator, count, -1.0, 1.0) * (1 - side) for side in (wide, high))
    flip = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0)
    zero = torch.zeros(count)
    theta = torch.stack([torch.stack([wide * flip, zero, left], 1), torch.stack([zero, high, top], 1)], 1)
    grid = F.affine_grid(theta.to(pixels.device), [count, 3, resolution, resolution], align_corners=False)
    return F.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)


def colour(pixels: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Brightness, contrast, saturation and a tint for most images; at strength 1 one in ten becomes grey."""
    count = len(pixels)
    on = torch.rand(count, generator=generator) < 0.8

    def factor(spread: float, channels: int = 1) -> torch.Tensor:
        drawn = _uniform(generator, count * channels, 1 - strength * spread, 1 + strength * spread).view(count, channels, 1, 1)
        return torch.where(on.view(-1, 1, 1, 1), drawn, 1.0).to(pixels.device)

    light, contrast, saturation, tint = factor(0.4), factor(0.4), factor(0.5), factor(0.08, channels=3)
    grey_only = (torch.rand(count, generator=generator) < 0.1 * strength).view(-1, 1, 1, 1).to(pixels.device)
    saturation = torch.where(grey_only, 0.0, saturation)
    weights = pixels.new_tensor((0.299, 0.587, 0.114)).view(1, 3, 1, 1)
    grey = (pixels * weights).sum(1, keepdim=True)
    middle = grey.mean((2, 3), keepdim=True)
    # blend towards grey, then spread around the mean: both are affine, so one expression does them
    view = (grey + (pixels - grey) * saturation - middle) * contrast + middle
    return view.mul_(light * torch.where(grey_only, 1.0, tint)).clamp_(0, 1)


def sharpness(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Blur or sharpen four in ten images by a random amount (unsharp mask with a 3 x 3 binomial kernel)."""
    count, _, height, width = pixels.shape
    amount = _uniform(generator, count, -1.0, 1.0)
    amount = torch.where(torch.rand(count, generator=generator) < 0.4, amount, 0.0).view(-1, 1, 1, 1).to(pixels.device)
    line = pixels.new_tensor((0.25, 0.5, 0.25))
    flat = F.pad(pixels, (1, 1, 1, 1), mode="replicate").view(count * 3, 1, height + 2, width + 2)
    soft = F.conv2d(flat, (line[:, None] * line[None, :]).view(1, 1, 3, 3)).view_as(pixels)
    return (pixels + amount * (pixels - soft)).clamp_(0, 1)


def lose_resolution(pixels: torch.Tensor, share: float, generator: torch.Generator) -> torch.Tensor:
    """Scale a share of the batch down and up again, so that the network also knows soft pictures."""
    affected = int(len(pixels) * share)
    resolution = pixels.shape[-1]
    smaller = int(resolution * float(_uniform(generator, 1, 0.4, 0.85)))
    if affected == 0 or smaller < 4:
        return pixels
    low = F.interpolate(pixels[:affected], size=(smaller, smaller), mode="area")
    back = F.interpolate(low, size=(resolution, resolution), mode="bilinear", align_corners=False)
    return torch.cat([back, pixels[affected:]])


def augment(
    images: torch.Tensor, resolution: int, smallest_crop: float, colour_strength: float, generator: torch.Generator
) -> torch.Tensor:
    """Stored images, uint8 (B, 3, S, S) -> random views ready for the network, float (B, 3, R, R)."""
    view = random_crop(images.float().div_(255), resolution, smallest_crop, generator)
    return normalise(lose_resolution(sharpness(colour(view, colour_strength, generator), generator), 0.2, generator))


@dataclass(frozen=True)
class Mixed:
    """A batch in which each image may be a blend of two: label a with weight `share`, label b with the rest."""

    pixels: torch.Tensor
    a: torch.Tensor
    b: torch.Tensor
    share: float

    def split(self, size: int) -> list[Mixed]:
        """The same in pieces of at most `size` images."""
        parts = zip(self.pixels.split(size), self.a.split(size), self.b.split(size), strict=True)
        return [Mixed(pixels, a, b, self.share) for pixels, a, b in parts]


def mix(pixels: torch.Tensor, labels: torch.Tensor, probability: float, generator: torch.Generator) -> Mixed:
    """mixup (Zhang et al. 2018) or CutMix (Yun et al. 2019) of the batch with itself shifted by one, or neither."""
    chance, kind, drawn = torch.rand(3, generator=generator).tolist()
    row, column = torch.rand(2, generator=generator).tolist()
    if chance >= probability:
        return Mixed(pixels, labels, labels, 1.0)
    other, other_labels = pixels.roll(1, 0), labels.roll(1, 0)
    if kind < 0.5:
        share = 0.5 + 0.5 * drawn
        return Mixed(torch.lerp(other, pixels, share), labels, other_labels, share)
    size = pixels.shape[-1]
    side = max(1, round(size * math.sqrt(0.5 * drawn)))  # the pasted square covers at most half
    top, left = int(row * (size - side + 1)), int(column * (size - side + 1))
    pasted = pixels.clone()
    pasted[:, :, top : top + side, left : left + side] = other[:, :, top : top + side, left : left + side]
    return Mixed(pasted, labels, other_labels, 1.0 - (side / size) ** 2)
