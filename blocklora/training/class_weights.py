"""Class weights: what each class looks like to the model, from its name, from its images, or from both.

A row of the (C, D) weights is a direction in the model's embedding space; an image belongs to the class whose direction it is
nearest to. Names give that direction through the text tower (CLIP's zero-shot classifier). Where the tower does not know the name,
the mean of the class's own images says more (nearest class mean; Snell et al. 2017, arXiv 1703.05175), and with enough images the
same mean in the metric of how images of one class differ (linear discriminant analysis; Fisher 1936, for CLIP's features Wang et al.
2024, arXiv 2402.04087). Which of them serves this project is measured on its own images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from blocklora.config import DISCRIMINANT
from blocklora.training.metrics import fit_temperature

BLENDS = tuple(i / 10 for i in range(11))  # share of the text in the blend
FIT_VALUES = 400_000  # logits that a temperature is fitted on
FOLDS = 10  # in which discriminant weights are tried on images that they were not made from


@dataclass(frozen=True)
class Features:
    """Normalised embeddings (N, D) of pictures and their labels (N,); `views` (N, V, D) are those of random views of them, if there are."""

    values: torch.Tensor
    labels: torch.Tensor
    views: torch.Tensor | None = None

    def of(self, places: torch.Tensor | Sequence[int]) -> Features:
        """Those of some of the pictures: their positions, or a mask (N,)."""
        chosen = places if isinstance(places, torch.Tensor) else list(places)
        return Features(self.values[chosen], self.labels[chosen], None if self.views is None else self.views[chosen])


@dataclass(frozen=True)
class Choice:
    """What the images said before training. `text_share` is the share of the text in the class weights, 0..1; `discriminant` is 0, or the
    factor of discriminant weights (`discriminant_weights`) with which they are as sure as they are right; `rotated` says that quarter
    turns are learned from, and all four of a picture looked at (`training.rotations`).

    `zero_shot` and `before_tuning` are top-1 shares on all images looked at (each image left out of its own class mean).
    """

    mode: str
    text_share: float
    zero_shot: float
    before_tuning: float
    names_known: bool
    note: str
    discriminant: float = 0.0
    rotated: bool = False


def class_means(features: Features, n_classes: int) -> torch.Tensor:
    """Normalised mean embedding (C, D) of each class; a class without images gets zeros."""
    sums = torch.zeros(n_classes, features.values.shape[1], dtype=features.values.dtype)
    sums.index_add_(0, features.labels, features.values)
    return F.normalize(sums, dim=1)


def discriminant_weights(features: Features, n_classes: int) -> torch.Tensor:
    """Class weights (C, D) of linear discriminant analysis without an offset: cosines to the class means, in the metric in which images
    of one class differ equally in all directions.

    What all images have in common, the direction of their mean, is left out first: in that metric it would outweigh the differences.
    Where there are views, an image stands half for itself and half for the mean of its views, and how the views of one image differ is
    added to how images of one class do: a direction that another crop changes is no direction to tell classes by.
    The covariance within classes is shrunk towards a multiple of the identity by the oracle approximating rule (Chen et al. 2010,
    arXiv 0907.4698), wholly where there are few images: then these are the class means. Rows are not of length one: the length of an
    image's embedding in that metric is left to its logits, which changes no answer, and is one on average.
    """
    y = features.labels
    freedom = len(y) - int((torch.bincount(y, minlength=n_classes) > 0).sum())
    if freedom < 1:
        return class_means(features, n_classes)
    images, spread = _images_and_spread(features)  # (N, D), (N (V + 1), D)
    common = F.normalize(images.mean(dim=0), dim=0)
    x, images, spread = (rows - (rows @ common)[:, None] * common for rows in (features.values.double(), images, spread))
    counts = torch.bincount(y, minlength=n_classes).clamp(min=1).to(x.dtype)
    means = torch.zeros(n_classes, x.shape[1], dtype=x.dtype).index_add_(0, y, images) / counts[:, None]  # (C, D)
    within = torch.cat([(images - means[y]) / freedom**0.5, spread])  # rows whose products sum to the covariance
    size = x.shape[1]
    few = len(within) < size  # products of rows instead of the covariance (D, D): trace and sum of squares are the same
    products = within @ within.T if few else within.T @ within
    level, square = products.trace() / size, products.square().sum() / size**2
    if level <= 0:
        return class_means(features, n_classes)
    apart = (freedom + 1) * (square - level**2 / size)
    shrinkage = 1.0 if apart <= 0 else min(1.0, float((square + level**2) / apart))
    directions = torch.cat([means, x])  # (C + N, D)
    floor, share = shrinkage * float(level), 1 - shrinkage
    metric = share * products + floor * torch.eye(len(products), dtype=x.dtype)
    if few:  # Woodbury's identity: exact, and a fraction of the time
        inner = torch.linalg.solve(metric, within @ directions.T)
        found = (directions - share * inner.T @ within) / floor
    else:
        found = torch.linalg.solve(metric, directions.T).T
    towards, towards_x = found.split([n_classes, len(x)])
    lengths = (towards * means).sum(dim=1, keepdim=True).clamp(min=1e-12).sqrt()  # of the means in the metric
    usual = (x * towards_x).sum(dim=1).clamp(min=1e-12).sqrt().mean()
    return (towards / lengths / usual).to(features.values.dtype)


def _images_and_spread(features: Features) -> tuple[torch.Tensor, torch.Tensor]:
    """What each image stands for, (N, D), and rows whose products sum to the covariance of an image's views, float64."""
    x = features.values.double()
    if features.views is None:
        return x, x[:0]
    seen = torch.cat([x[:, None], features.views.double()], dim=1)  # (N, V + 1, D)
    rest = (seen - seen.mean(dim=1, keepdim=True)).flatten(0, 1)
    return (x + seen[:, 1:].mean(dim=1)) / 2, rest / (len(x) * (seen.shape[1] - 1)) ** 0.5


def judged_by_others(images: Features, looks: torch.Tensor, n_classes: int) -> torch.Tensor:
    """Logits (K, N, C), without a scale, of K `looks` (K, N, D) at each image by discriminant weights of the images in other folds."""
    order = torch.argsort(images.labels, stable=True)
    fold = torch.empty_like(images.labels)
    fold[order] = torch.arange(len(order)) % FOLDS
    logits = torch.zeros(*looks.shape[:2], n_classes)
    for number in range(FOLDS):
        out = fold == number
        if out.any() and not out.all():
            rest = images.of(~out)
            found = looks[:, out] @ discriminant_weights(rest, n_classes).T
            unseen = torch.bincount(rest.labels, minlength=n_classes) == 0  # a class of which nothing is left is nobody's answer
            logits[:, out] = torch.where(unseen, found.min() - 1, found)
    return logits


def _tried_discriminant(train: Features, held_out: Features, n_classes: int, scale: float) -> tuple[tuple[float, float], float]:
    """`_scores` of discriminant weights, and the factor that suits them best: training images fold by fold, since the metric too was
    learned from them.
    """
    logits = judged_by_others(train, train.values[None], n_classes)[0]
    logits = torch.cat([logits, held_out.values @ discriminant_weights(train, n_classes).T]) * scale
    labels = torch.cat([train.labels, held_out.labels])
    factor = 1 / suited_temperature(logits, labels)
    return _right_and_loss(logits * factor, labels), factor


def suited_temperature(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """`fit_temperature` on as many images as it takes to know it: evenly chosen ones of very many."""
    step = max(1, logits.numel() // FIT_VALUES)
    return fit_temperature(logits[::step].numpy(), labels[::step].numpy())


def _right_and_loss(logits: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    return (logits.argmax(dim=1) == labels).double().mean().item(), F.cross_entropy(logits, labels).item()


def blend(text: torch.Tensor | None, means: torch.Tensor, text_share: float) -> torch.Tensor:
    """Normalised weighted sum of two sets of normalised class weights (C, D)."""
    if text is None or text_share == 0.0:
        return means
    return F.normalize(text_share * text + (1 - text_share) * means, dim=-1)


def left_out_logits(train: Features, text: torch.Tensor | None, n_classes: int, text_share: float) -> torch.Tensor:
    """Cosines (N, C) of training images to class weights from which each image itself was left out.

    Without leaving it out, an image would be compared with a mean that it is part of, and every mean would look good.
    """
    sums = torch.zeros(n_classes, train.values.shape[1], dtype=train.values.dtype)
    sums.index_add_(0, train.labels, train.values)
    logits = train.values @ blend(text, F.normalize(sums, dim=1), text_share).T  # (N, C)
    own = F.normalize(sums[train.labels] - train.values, dim=1)  # (N, D), zero for a class of one image
    own_text = None if text is None else text[train.labels]
    mine = (blend(own_text, own, text_share) * train.values).sum(dim=1)
    return logits.scatter(1, train.labels[:, None], mine[:, None])


def _scores(
    train: Features, held_out: Features, text: torch.Tensor | None, n_classes: int, share: float, scale: float
) -> tuple[float, float]:
    """Top-1 share and mean negative log-likelihood (at its best temperature) over held-out images and left-out training images."""
    weights = blend(text, class_means(train, n_classes), share)
    logits = torch.cat([left_out_logits(train, text, n_classes, share), held_out.values @ weights.T]) * scale
    labels = torch.cat([train.labels, held_out.labels])
    return _right_and_loss(logits / suited_temperature(logits, labels), labels)


def _names_known(share_right: float, n: int, n_classes: int) -> bool:
    """Whether the zero-shot share is clearly above guessing: three standard errors, and half as good again as chance."""
    chance = 1 / n_classes
    return share_right > max(chance + 3 * (chance * (1 - chance) / n) ** 0.5, 1.5 * chance)


def choose(train: Features, held_out: Features, text: torch.Tensor, wanted: str, scale: float) -> Choice:
    """Where the class weights of this project should come from.

    Args:
        train, held_out: embeddings of the frozen model.
        text: (C, D) normalised class weights of the names.
        wanted: "auto" or one of "text", "images", "blend".
        scale: factor of the cosines in the logits.
    """
    n_classes, n = len(text), len(train.labels) + len(held_out.labels)
    scores = {share: _scores(train, held_out, text, n_classes, share, scale) for share in BLENDS}
    known = _names_known(scores[1.0][0], n, n_classes)
    allowed = {"auto": BLENDS if known else (0.0,), "text": (1.0,), "images": (0.0,), "blend": BLENDS[1:-1]}[wanted]
    # The lowest loss, each at its own best temperature: with few images the count of right answers is too coarse to choose by, and the
    # luckiest of a dozen candidates would win.
    share = min(allowed, key=lambda s: scores[s][1])
    before, discriminant = scores[share], 0.0
    if wanted in DISCRIMINANT:
        tried, factor = _tried_discriminant(train, held_out, n_classes, scale)
        if tried[1] < before[1]:
            share, before, discriminant = 0.0, tried, factor
    mode = "text" if share == 1.0 else "images" if share == 0.0 else "blend"
    if wanted != "auto":
        note = {
            "text": "Class weights come from the names alone, as asked.",
            "images": "Class weights come from the images alone, as asked.",
        }.get(mode, f"Class weights are {share:.0%} names and {1 - share:.0%} images, chosen on your images.")
    elif mode == "images":
        reason = "do not mean enough to this model" if not known else "add nothing to your images"
        note = f"Your class names {reason}: it learns from your images alone."
    elif mode == "text":
        note = "Your class names mean something to this model: it starts from them."
    else:
        note = f"Your class names mean something to this model: it starts from {share:.0%} names and {1 - share:.0%} images."
    return Choice(mode, share, scores[1.0][0], before[0], known, note, discriminant)


def closed_form(features: Features, text: torch.Tensor, scale: float) -> tuple[torch.Tensor, Choice]:
    """A whole classifier without training: weights (C, D) with scale and temperature in them, and where they come from.

    The kind (names, means, a blend, discriminant) and the temperature are chosen on images that the weights at trial were not made of.

    Args:
        features: of all images; every class has one.
        text: (C, D) normalised class weights of the names.
        scale: factor of the cosines in the backbone's logits.
    """
    n_classes = len(text)
    none = features.of([])
    choice = choose(features, none, text, "auto", scale)
    if choice.discriminant:
        return choice.discriminant * scale * discriminant_weights(features, n_classes), choice
    logits = left_out_logits(features, text, n_classes, choice.text_share) * scale
    temperature = suited_temperature(logits, features.labels)
    return blend(text, class_means(features, n_classes), choice.text_share) * (scale / temperature), choice


class ClassWeights(nn.Module):
    """The trainable class weights of a run: a start from text and images, plus a learned shift.

    In "text" mode there is no shift: the text tower alone gives the weights, as in the reference protocol. Rows are of length one unless
    the start is `discriminant_weights`, whose lengths carry the metric.
    """

    means: torch.Tensor
    text: torch.Tensor
    shift: nn.Parameter | None

    def __init__(self, choice: Choice, features: Features, text: torch.Tensor) -> None:
        super().__init__()
        self.mode, self.text_share, self.free = choice.mode, choice.text_share, choice.discriminant > 0
        means = choice.discriminant * discriminant_weights(features, len(text)) if self.free else class_means(features, len(text)).clone()
        self.register_buffer("means", means)
        self.register_buffer("text", text)
        self.shift = nn.Parameter(torch.zeros_like(means)) if choice.mode != "text" else None

    @property
    def uses_text(self) -> bool:
        return self.mode != "images"

    def forward(self, text: torch.Tensor | None = None) -> torch.Tensor:
        """Class weights (C, D); `text` (C, D) is this step's encoding of the names, by default the frozen one."""
        if self.mode == "text":
            return self.text if text is None else text
        if self.free and self.shift is not None:
            return self.means + self.shift
        start = blend((self.text if text is None else text) if self.uses_text else None, self.means, self.text_share)
        return start if self.shift is None else F.normalize(start + self.shift, dim=-1)
