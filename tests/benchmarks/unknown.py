"""How well scores tell pictures of other things from pictures of the classes, and right answers from wrong ones.

    python tests/benchmarks/unknown.py BENCH_DIR --out unknown.jsonl              trains a Quick run on each set first
    python tests/benchmarks/unknown.py BENCH_DIR --files DIR --out unknown.jsonl  with DIR/<set>.onnx that were exported before

BENCH_DIR has a folder for each set, with train/<class>/ and test/<class>/. The classes of one set are what is known; the test pictures of
every other set are of something else: each ordered pair of sets is one measurement. Class means and covariances come from the training
pictures, as embedded by the exported file itself. AUROC is the chance that a known picture scores higher than one of something else; FPR at
95 % is the share of the latter that pass where 95 % of the former do. Right against wrong is asked within a set's own test pictures.

Scores: the largest probability (Hendrycks and Gimpel 2017, arXiv 1610.02136), the energy of the logits (Liu et al. 2020, arXiv 2010.03759),
the largest cosine to a class mean, Mahalanobis and relative Mahalanobis distance (Lee et al. 2018, arXiv 1807.03888; Ren et al. 2021,
arXiv 2106.09022; covariances shrunk half way to a sphere), the cosine to the nearest training picture (Sun et al. 2022, arXiv 2204.06507),
and mixtures of a probability with a familiarity after SIRC (Xia and Bouganis 2022, arXiv 2207.07517).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from blocklora.errors import ImageError
from exporters.predictor import OnnxClassifier

SHRINK = 0.5
Scores = dict[str, np.ndarray]


@dataclass(frozen=True)
class Seen:
    """What a file says of pictures: embeddings (N, D), probabilities (N, C), and labels (N,), -1 for none of the file's."""

    embeddings: np.ndarray
    probabilities: np.ndarray
    labels: np.ndarray


def look(model: OnnxClassifier, root: Path) -> Seen:
    """Ask a file about the pictures in `root`/<class>/."""
    places = {label: i for i, label in enumerate(model.labels)}
    rows = [
        (answer.embedding, answer.probabilities, places.get(path.parent.name, -1))
        for path, answer in model.predict_files(sorted(path for path in root.glob("*/*") if path.is_file()))
        if not isinstance(answer, ImageError)
    ]
    embeddings, probabilities, labels = zip(*rows, strict=True)
    return Seen(np.stack(embeddings).astype(np.float64), np.stack(probabilities).astype(np.float64), np.array(labels))


def unit(values: np.ndarray) -> np.ndarray:
    return np.asarray(values / np.linalg.norm(values, axis=-1, keepdims=True))


def precision_of(centred: np.ndarray, n: int) -> np.ndarray:
    """Inverse of a shrunk covariance (D, D)."""
    covariance = centred.T @ centred / max(1, n)
    sphere = np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    return np.linalg.inv((1 - SHRINK) * covariance + SHRINK * sphere)


def scorer(train: Seen, own: Seen) -> Callable[[Seen], Scores]:
    """All candidates, higher for what is better known. `own` (training pictures) sets the scale of the mixtures."""
    classes = int(train.labels.max()) + 1
    means = np.stack([train.embeddings[train.labels == c].mean(axis=0) for c in range(classes)])
    middle = train.embeddings.mean(axis=0)
    within = precision_of(train.embeddings - means[train.labels], len(train.labels) - classes)
    total = precision_of(train.embeddings - middle, len(train.labels) - 1)

    def single(seen: Seen) -> Scores:
        e, p = seen.embeddings, seen.probabilities
        to_class = np.min([np.einsum("nd,de,ne->n", e - m, within, e - m) for m in means], axis=0)
        to_all = np.einsum("nd,de,ne->n", e - middle, total, e - middle)
        return {
            "largest probability": p.max(axis=1),
            "entropy": (p * np.log(p + 1e-12)).sum(axis=1),
            "cosine to a class mean": (e @ unit(means).T).max(axis=1),
            "Mahalanobis": -to_class,
            "relative Mahalanobis": to_all - to_class,
            "nearest training picture": (e @ train.embeddings.T).max(axis=1),
        }

    scale = {name: (values.mean(), values.std()) for name, values in single(own).items()}

    def standard(name: str, values: np.ndarray) -> np.ndarray:
        mean, spread = scale[name]
        return np.asarray((values - mean) / spread)

    def every(seen: Seen) -> Scores:
        scores = single(seen)
        sure, cosine = scores["largest probability"], standard("cosine to a class mean", scores["cosine to a class mean"])
        far = standard("Mahalanobis", scores["Mahalanobis"])
        mixed = {
            "SIRC, probability with cosine": -(1 - sure + 1e-9) * (1 + np.exp(np.clip(-(cosine + 1), -50, 50))),
            "half probability, cosine": 0.5 * standard("largest probability", sure) + cosine,
            "half probability, Mahalanobis": 0.5 * standard("largest probability", sure) + far,
        }
        return scores | mixed

    return every


def with_energy(model: OnnxClassifier, score: Callable[[Seen], Scores]) -> Callable[[Seen], Scores]:
    """Candidates with the energy of the logits, whose class weights are read from the file."""
    import onnx

    graph = onnx.load_model(model.path, load_external_data=False).graph
    wanted = [model.info.embed_dim, model.info.n_classes]
    found = [t for t in graph.initializer if list(t.dims) == wanted and not t.name.startswith("known_")]
    weights = onnx.numpy_helper.to_array(found[0]).astype(np.float64)

    def scored(seen: Seen) -> Scores:
        logits = seen.embeddings @ weights
        top = logits.max(axis=1)
        return score(seen) | {"energy": top + np.log(np.exp(logits - top[:, None]).sum(axis=1))}

    return scored


def auroc(higher: np.ndarray, lower: np.ndarray) -> float:
    """Chance that one of `higher` is above one of `lower`, ties counted half (Mann and Whitney 1947)."""
    if not len(higher) or not len(lower):
        return float("nan")
    lower = np.sort(lower)
    below = np.searchsorted(lower, higher, "left"), np.searchsorted(lower, higher, "right")
    return float((below[0] + below[1]).sum() / (2 * len(higher) * len(lower)))


def fpr_at_95(known: np.ndarray, others: np.ndarray) -> float:
    return float((others >= np.quantile(known, 0.05)).mean())


def trained(bench: Path, name: str, folder: Path) -> Path:
    """A Quick run on a set, exported."""
    from blocklora.__main__ import main

    assert main(["train", str(bench / name / "train"), "--out", str(folder / name), "--preset", "quick"]) == 0
    assert main(["export", str(folder / name), "--out", str(folder / f"{name}.onnx")]) == 0
    return folder / f"{name}.onnx"


def measure(bench: Path, name: str, path: Path, names: list[str]) -> list[dict[str, Any]]:
    """Rows for one known set against all others, and for right against wrong in it."""
    model = OnnxClassifier(path)
    train = look(model, bench / name / "train")
    score = with_energy(model, scorer(train, train))
    own = look(model, bench / name / "test")
    known, right = score(own), own.probabilities.argmax(axis=1) == own.labels
    rows: list[dict[str, Any]] = [
        {"known": name, "wrong": int((~right).sum()), "score": key, "auroc": auroc(values[right], values[~right])}
        for key, values in known.items()
    ]
    for other in names:
        if other != name:
            unknown = score(look(model, bench / other / "test"))
            rows += [
                {
                    "known": name,
                    "unknown": other,
                    "score": key,
                    "auroc": auroc(values, unknown[key]),
                    "fpr95": fpr_at_95(values, unknown[key]),
                }
                for key, values in known.items()
            ]
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Mean over pairs with the smallest and the largest, best AUROC first."""
    lines = ["| score | AUROC, other things | FPR at 95 % | AUROC, right against wrong |", "| --- | --- | --- | --- |"]
    found = []
    for key in dict.fromkeys(row["score"] for row in rows):
        pairs = [row for row in rows if row["score"] == key and "unknown" in row]
        within = [row["auroc"] for row in rows if row["score"] == key and "wrong" in row]
        figures = [[row["auroc"] for row in pairs], [row["fpr95"] for row in pairs], within]
        found.append((np.mean(figures[0]), key, [f"{np.mean(v):.3f} ({min(v):.2f} to {max(v):.2f})" for v in figures]))
    lines += [f"| {key} | " + " | ".join(cells) + " |" for _, key, cells in sorted(found, reverse=True)]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("--files", type=Path, help="folder with <set>.onnx, exported before")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines; the table goes beside it as Markdown, and to the terminal")
    args = parser.parse_args()
    names = sorted(path.name for path in args.bench.iterdir() if (path / "test").is_dir())
    rows: list[dict[str, Any]] = []
    with TemporaryDirectory() as folder, args.out.open("w", encoding="utf-8") as out:
        for name in names:
            path = args.files / f"{name}.onnx" if args.files else trained(args.bench, name, Path(folder))
            for row in measure(args.bench, name, path, names):
                rows.append(row)
                out.write(json.dumps(row) + "\n")
            print(f"{name} done", file=sys.stderr)
    args.out.with_suffix(".md").write_text(table(rows) + "\n", encoding="utf-8")
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
