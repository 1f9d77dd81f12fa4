"""What frozen features are worth: class means and logistic regression on a few images a class.

The bench is a folder of sets, each `train/<class>/*` and `test/<class>/*`. For k shots and seeds 1, 2 and 3, the first
k of each class's shuffled sorted train files are used; nothing else is fitted and no test image decides anything.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from blocklora.errors import TrainingError
from blocklora.preprocess import central_square, to_rgb
from blocklora.pretrain.augment import normalise
from blocklora.pretrain.data import IMAGE_SUFFIXES
from blocklora.pretrain.export import load_exported
from blocklora.pretrain.network import ImageTower, encode_image

SEEDS = (1, 2, 3)
STRENGTHS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
"""Weight penalties that logistic regression chooses from by cross-validation on its training images."""

Files = dict[str, list[Path]]


def read_set(folder: Path, part: str) -> Files:
    """Class name -> its sorted image files. Raises TrainingError when there are fewer than two classes."""
    root = folder / part
    classes = sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
    found = {c.name: sorted(p for p in c.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES) for c in classes}
    if len(found) < 2:
        raise TrainingError(f"{root} holds {len(found)} classes.", f"A set needs {part}/<class>/<images> of at least two classes.")
    return found


@torch.no_grad()
def features(visual: ImageTower, files: Sequence[Path]) -> torch.Tensor:
    """Unit-length image features (N, D): central square, bicubic to the network's size, no augmentation."""
    size = visual.image_size[0]
    rows = []
    for path in files:
        with Image.open(path) as image:
            pixels = to_rgb(image)
        top, left, side = central_square(*pixels.shape[:2])
        square = Image.fromarray(pixels[top : top + side, left : left + side])
        rows.append(torch.from_numpy(np.array(square.resize((size, size), Image.Resampling.BICUBIC))))
    batch = torch.stack(rows).permute(0, 3, 1, 2).float().div_(255)
    return torch.cat([F.normalize(encode_image(visual, normalise(part)).float(), dim=-1) for part in batch.split(128)])


def class_means(train: torch.Tensor, labels: torch.Tensor, test: torch.Tensor) -> torch.Tensor:
    """Nearest class mean by cosine: predicted labels (M,) of `test` (M, D)."""
    means = torch.stack([train[labels == c].mean(0) for c in range(int(labels.max()) + 1)])
    return (test @ F.normalize(means, dim=-1).T).argmax(1)


def _fit(train: torch.Tensor, labels: torch.Tensor, strength: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Multinomial logistic regression on standardised features, to convergence with L-BFGS; returns its logits."""
    mean, deviation = train.mean(0), train.std(0).clamp(min=1e-6)
    classes = int(labels.max()) + 1
    weight, bias = torch.zeros(classes, train.shape[1], requires_grad=True), torch.zeros(classes, requires_grad=True)
    scaled = (train - mean) / deviation
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(scaled @ weight.T + bias, labels) + 0.5 * strength * weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return lambda x: ((x - mean) / deviation @ weight.T + bias).detach()


def logistic_regression(train: torch.Tensor, labels: torch.Tensor, test: torch.Tensor, seed: int) -> torch.Tensor:
    """Predicted labels (M,); the penalty is the best in 4-fold cross-validation, the middle one below 4 shots."""
    fewest = int(labels.bincount().min())
    strength = STRENGTHS[len(STRENGTHS) // 2]
    if fewest >= 4:
        # folds within each class, so that every fold has all classes
        fold = torch.empty_like(labels)
        draw = torch.Generator().manual_seed(seed)
        for c in range(int(labels.max()) + 1):
            rows = (labels == c).nonzero().flatten()
            fold[rows[torch.randperm(len(rows), generator=draw)]] = torch.arange(len(rows)) % 4

        def right(candidate: float) -> int:
            total = 0
            for f in range(4):
                predict = _fit(train[fold != f], labels[fold != f], candidate)
                total += int((predict(train[fold == f]).argmax(1) == labels[fold == f]).sum())
            return total

        strength = max(STRENGTHS, key=right)
    return _fit(train, labels, strength)(test).argmax(1)


def evaluate_set(visual: ImageTower, folder: Path, shots: Sequence[int]) -> dict[int, tuple[float, float]]:
    """Shots -> (class means, logistic regression): top-1 in percent on all test images, mean over the seeds."""
    train, test = read_set(folder, "train"), read_set(folder, "test")
    if list(train) != list(test):
        raise TrainingError(f"{folder} has different classes in train and test.", "Both must have the same folders.")
    known = {path: row for paths in train.values() for path, row in zip(paths, features(visual, paths), strict=True)}
    test_x = torch.cat([features(visual, paths) for paths in test.values()])
    test_y = torch.cat([torch.full((len(paths),), c) for c, paths in enumerate(test.values())])
    results = {}
    for k in shots:
        figures = []
        for seed in SEEDS:
            chosen = [_first(paths, k, seed) for paths in train.values()]
            x = torch.stack([known[path] for paths in chosen for path in paths])
            y = torch.cat([torch.full((len(paths),), c) for c, paths in enumerate(chosen)])
            found = (class_means(x, y, test_x), logistic_regression(x, y, test_x, seed))
            figures.append([100.0 * float((labels == test_y).float().mean()) for labels in found])
        means, regression = np.mean(figures, axis=0).tolist()
        results[k] = (means, regression)
    return results


def _first(paths: list[Path], k: int, seed: int) -> list[Path]:
    """The first k of the sorted files after the protocol's shuffle."""
    shuffled = list(paths)
    random.Random(seed).shuffle(shuffled)
    return shuffled[:k]


def report(
    model: Path, bench: Path, sets: Sequence[str], shots: Sequence[int], say: Callable[[str], None], image_size: int | None = None
) -> None:
    """Say one line for every set and number of shots."""
    visual = load_exported(model, image_size).visual
    for name in sets:
        for k, (means, regression) in evaluate_set(visual, bench / name, shots).items():
            say(f"{name} {k} shots: class means {means:.1f}, logistic regression {regression:.1f}")
