"""Classifiers on frozen features, without a step of training through the towers: what tuning has to beat.

All take embeddings (N, D) of length 1 with labels (N,), class weights (C, D) of the names, and give logits (M, C) of other embeddings. What
they have to choose they choose on the shots: no test picture decides anything.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from blocklora.training.class_weights import Features, class_means, discriminant_weights
from blocklora.training.metrics import fit_temperature

FOLDS = 5
GDA_SHARES = tuple(10.0**power for power in range(-4, 3))  # of the discriminant beside the names, as its authors search
BANDWIDTHS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
ONE_SHOT = (5.0, 1.0)  # bandwidth and ridge where no picture of a class is left to choose on


def zero_shot(shots: Features, text: torch.Tensor, scale: float, images: torch.Tensor) -> torch.Tensor:
    """Cosines to the names alone, times the model's own scale."""
    return scale * images @ text.T


def nearest_mean(shots: Features, text: torch.Tensor, scale: float, images: torch.Tensor) -> torch.Tensor:
    """Cosines to the class means (Snell et al. 2017, arXiv 1703.05175)."""
    return images @ class_means(shots, len(text)).T


def discriminant(shots: Features, text: torch.Tensor, scale: float, images: torch.Tensor) -> torch.Tensor:
    """The product's own discriminant weights, without names (`blocklora.training.class_weights`)."""
    return images @ discriminant_weights(shots, len(text)).T


def linear_probe(shots: Features, text: torch.Tensor, scale: float, images: torch.Tensor) -> torch.Tensor:
    """Logistic regression on features centred and scaled to mean square 1 a dimension."""
    centre, spread = shots.values.mean(0), shots.values.std()
    head = logistic((shots.values - centre) / spread, shots.labels, len(text))
    with torch.no_grad():
        return head((images - centre) / spread)


def logistic(features: torch.Tensor, labels: torch.Tensor, n_classes: int, decay: float = 1e-3) -> torch.nn.Linear:
    """Multinomial logistic regression by L-BFGS on features scaled to mean square 1 a dimension."""
    head = torch.nn.Linear(features.shape[1], n_classes)
    optimiser = torch.optim.LBFGS(head.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(head(features), labels) + decay * head.weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    return head


def gda(shots: Features, text: torch.Tensor, scale: float, images: torch.Tensor) -> torch.Tensor | None:
    """Gaussian discriminant analysis beside the names (Wang et al. 2024, arXiv 2402.04087): logits of the names plus a share of those of
    Gaussians with one covariance, whose inverse is the Kubokawa-Srivastava estimate D ((n - 1) S + tr(S) I)^-1. Their validation pictures
    choose the share; here folds of the shots do. None with one shot: a single picture has no spread within its class.
    """
    if int(torch.bincount(shots.labels, minlength=len(text)).min()) < 2:
        return None
    fold = folds_of(shots.labels)
    names, gaussians = torch.zeros(len(fold), len(text)), torch.zeros(len(fold), len(text))
    for number in fold.unique():
        out = fold == number
        rest = Features(shots.values[~out], shots.labels[~out])
        names[out] = zero_shot(rest, text, scale, shots.values[out])
        gaussians[out] = _gaussians(rest, len(text), shots.values[out])
    share = min(GDA_SHARES, key=lambda share: log_loss(names + share * gaussians, shots.labels))
    return zero_shot(shots, text, scale, images) + share * _gaussians(shots, len(text), images)


def _gaussians(shots: Features, n_classes: int, images: torch.Tensor) -> torch.Tensor:
    """Log densities (M, C) of Gaussians with equal priors and one covariance, up to what all classes have in common."""
    x, y = shots.values.double(), shots.labels
    counts = torch.bincount(y, minlength=n_classes).clamp(min=1)[:, None]
    means = torch.zeros(n_classes, x.shape[1], dtype=x.dtype).index_add_(0, y, x) / counts  # (C, D)
    within = x - means[y]
    covariance = within.T @ within / max(1, len(y) - 1)
    size = len(covariance)
    shrunk = ((len(y) - 1) * covariance + covariance.trace() * torch.eye(size, dtype=x.dtype)) / size
    if covariance.trace() <= 1e-12:
        shrunk = torch.eye(size, dtype=x.dtype)  # every class has one picture left, or equal ones: plain distances to the means
    weights = torch.linalg.solve(shrunk, means.T).T  # (C, D)
    return (images.double() @ weights.T - 0.5 * (weights * means).sum(1)).to(images.dtype)


def proker(shots: Features, text: torch.Tensor, scale: float, images: torch.Tensor) -> torch.Tensor:
    """ProKeR (Bendou et al. 2025, arXiv 2501.11175), its training-free form, as read here: of all functions, the one that is close to the
    one-hot labels of the shots in squares and close to the zero-shot classifier f0 (cosines) in the space of the kernel
    k(x, x') = exp(-beta (1 - cos)). With ridge lambda: f(x) = f0(x) + k(x, X) (K + lambda I)^-1 (Y - f0(X)).

    Its authors choose beta and lambda on validation pictures, and weigh the correction once more with lambda; here the squared error on
    each shot that is left out chooses (in closed form: Hastie et al. 2009, chapter 7.10), or, with one shot a class, they are fixed.
    """
    x, f0 = shots.values.double(), shots.values.double() @ text.double().T
    rest = F.one_hot(shots.labels, len(text)).double() - f0  # what the names leave to explain
    beta, ridge = ONE_SHOT
    if int(torch.bincount(shots.labels, minlength=len(text)).min()) > 1:
        errors = {(beta, ridge): _left_out_error(_kernel(x, x, beta), rest, ridge) for beta in BANDWIDTHS for ridge in RIDGES}
        beta, ridge = min(errors, key=lambda pair: errors[pair])
    solved = torch.linalg.solve(_kernel(x, x, beta) + ridge * torch.eye(len(x), dtype=x.dtype), rest)
    wanted = images.double()
    return (wanted @ text.double().T + _kernel(wanted, x, beta) @ solved).to(images.dtype)


def _kernel(a: torch.Tensor, b: torch.Tensor, beta: float) -> torch.Tensor:
    return torch.exp(-beta * (1 - a @ b.T))


def _left_out_error(kernel: torch.Tensor, values: torch.Tensor, ridge: float) -> float:
    """Mean squared error of kernel ridge regression on each row when that row is left out: (K + lambda I)^-1 y over its diagonal."""
    inverse = torch.linalg.inv(kernel + ridge * torch.eye(len(kernel), dtype=kernel.dtype))
    return float(((inverse @ values) / inverse.diagonal()[:, None]).square().mean())


def folds_of(labels: torch.Tensor, folds: int = FOLDS) -> torch.Tensor:
    """A fold (N,) for each picture, every class spread over as many as it has pictures."""
    fold = torch.empty_like(labels)
    for label in labels.unique():
        places = (labels == label).nonzero()[:, 0]
        fold[places] = torch.arange(len(places)) % folds
    return fold


def log_loss(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Cross-entropy at the temperature that suits the logits best: kinds of logits of any size can be compared."""
    temperature = fit_temperature(logits.numpy(), labels.numpy())
    return F.cross_entropy(logits / temperature, labels).item()


HEADS = {
    "zero-shot": zero_shot,
    "nearest-mean": nearest_mean,
    "discriminant": discriminant,
    "gda": gda,
    "proker": proker,
    "linear-probe": linear_probe,
}
