"""The gate passes a true file and stops a false one, whatever is false about it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tiny_export import LABELS, Exported

from blocklora.errors import ParityError
from exporters.parity import CANVAS, Answer, Picture, Reference, Tolerance, choose, gate, reference
from exporters.predictor import OnnxClassifier, Prediction

SIZES = [(40, 60), (33, 33), (200, 90), (1, 50), (64, 48), (20, 20), (70, 31)]


def pictures() -> Iterator[Picture]:
    for number, size in enumerate(SIZES):
        pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), dtype=np.uint8)
        yield Picture(f"picture-{number}.png", number % len(LABELS), pixels)


@pytest.fixture(scope="module")
def expected(exported: Exported) -> Reference:
    return reference(exported.classifier.ask, pictures)


def prediction(answer: Answer) -> Prediction:
    best = int(answer.probabilities.argmax())
    return Prediction(LABELS[best], float(answer.probabilities[best]), [], answer.probabilities.copy(), answer.embedding.copy(), 1.0)


class Echo:
    """A predictor that knows the right answers by the pictures' bytes, and may be made to lie about one of them."""

    def __init__(self, expected: Reference, lie_at: int | None = None, lie_batch: int = 1) -> None:
        originals = {p.pixels.tobytes(): a for p, a in zip(pictures(), expected.answers, strict=True)}
        self.known = originals | {p.pixels.tobytes(): a for p, a in expected.on_canvas}
        names = [p.pixels.tobytes() for p in pictures()] if lie_batch == 1 else [p.pixels.tobytes() for p, _ in expected.on_canvas]
        self.lie_key = None if lie_at is None else names[lie_at]
        self.lie_batch = lie_batch
        self.batches: list[tuple[int, ...]] = []

    def lie(self, true: Prediction) -> Prediction:
        return true

    def __call__(self, images: Sequence[np.ndarray]) -> list[Prediction]:
        self.batches.append((len(images), *{image.shape for image in images}.pop()))
        found = []
        for image in images:
            true = prediction(self.known[image.tobytes()])
            found.append(self.lie(true) if image.tobytes() == self.lie_key and len(images) == self.lie_batch else true)
        return found


def test_true_file_passes(exported: Exported, expected: Reference) -> None:
    report = gate(OnnxClassifier(exported.path, threads=2).predict, expected, pictures)
    assert report.images == len(SIZES)
    assert [(b.batch, b.images) for b in report.batches] == [(1, 7), (2, 8), (5, 10)]
    assert all(b.probability < 1e-4 and b.cosine < 1e-5 and b.same_top1 == b.images for b in report.batches)
    assert all(b.probability_at.startswith("picture-") for b in report.batches)
    truth = [int(a.probabilities.argmax()) == n % len(LABELS) for n, a in enumerate(expected.answers)]
    assert report.correct == sum(truth)
    assert report.to_dict()["tolerance"] == {"probability": 1e-3, "cosine": 1e-4, "disagreements": 0.0, "lead": 2e-3, "edge": 1e-3}


def test_file_of_other_weights_is_stopped(exported: Exported, expected: Reference, tmp_path: Path) -> None:
    """One matrix changed a little, as a wrong merge would."""
    model = onnx.load_model(exported.path, load_external_data=False)
    (projection,) = [tensor for tensor in model.graph.initializer if tensor.name == "tower.proj"]
    values = numpy_helper.to_array(projection)
    changed = values + 0.02 * np.random.default_rng(1).standard_normal(values.shape, dtype=np.float32)
    projection.CopyFrom(numpy_helper.from_array(changed, "tower.proj"))
    onnx.save_model(model, tmp_path / "m.onnx")
    with pytest.raises(ParityError, match=r"On picture-0\.png \(batch of 1\).*off by .*allowed: 0\.001"):
        gate(OnnxClassifier(tmp_path / "m.onnx", threads=2).predict, expected, pictures)


def test_batches_are_what_is_run(expected: Reference) -> None:
    echo = Echo(expected)
    gate(echo, expected, pictures)
    assert echo.batches[:7] == [(1, *size, 3) for size in SIZES]
    assert set(echo.batches[7:]) == {(2, *CANVAS, 3), (5, *CANVAS, 3)}


@pytest.mark.parametrize(("batch", "at"), [(1, 3), (2, 4), (5, 6)])
def test_picture_and_distance_are_named(expected: Reference, batch: int, at: int) -> None:
    class Lying(Echo):
        def lie(self, true: Prediction) -> Prediction:
            shift = np.array([0.25, -0.25, 0.0], dtype=np.float32)
            return dataclasses.replace(true, probabilities=true.probabilities + shift)

    with pytest.raises(ParityError, match=rf"On picture-{at}\.png \(batch of {batch}\).*off by 0\.25 .*allowed: 0\.001") as caught:
        gate(Lying(expected, at, batch), expected, pictures)
    assert "Nothing was published" in caught.value.advice


def test_turned_embedding_is_stopped(expected: Reference) -> None:
    class Turning(Echo):
        def lie(self, true: Prediction) -> Prediction:
            return dataclasses.replace(true, embedding=-true.embedding)

    with pytest.raises(ParityError, match="1 - cos = 2;"):
        gate(Turning(expected, 0), expected, pictures)


@pytest.mark.parametrize("field", ["probabilities", "embedding"])
def test_not_a_number_is_stopped(expected: Reference, field: str) -> None:
    class Broken(Echo):
        def lie(self, true: Prediction) -> Prediction:
            return dataclasses.replace(true, **{field: np.full_like(getattr(true, field), np.nan)})

    with pytest.raises(ParityError, match="nan"):
        gate(Broken(expected, 2), expected, pictures)


def test_missing_class_is_stopped(expected: Reference) -> None:
    class Short(Echo):
        def lie(self, true: Prediction) -> Prediction:
            return dataclasses.replace(true, probabilities=true.probabilities[:2])

    with pytest.raises(ParityError, match="gives 2 probabilities, not 3"):
        gate(Short(expected, 0), expected, pictures)


def answers(*rows: Sequence[float]) -> Reference:
    return Reference([Answer(np.array(row, np.float32), np.array([1.0, 0.0], np.float32)) for row in rows], [])


def told(*rows: Sequence[float]) -> list[Prediction]:
    return [prediction(Answer(np.array(row, np.float32), np.array([1.0, 0.0], np.float32))) for row in rows]


@pytest.mark.parametrize(("lead", "passes"), [(0.001, True), (0.003, False)])
def test_other_first_answer_only_where_it_is_a_coin_toss(lead: float, passes: bool) -> None:
    one = [Picture("p", 0, np.zeros((1, 1, 3), np.uint8))]
    expected = answers([0.5 + lead / 2, 0.5 - lead / 2, 0.0])
    loose = Tolerance(probability=0.1)
    if passes:
        report = gate(lambda _: told([0.49, 0.51, 0.0]), expected, lambda: one, loose)
        assert report.batches[0].same_top1 == 0 and report.correct == 0
    else:
        with pytest.raises(ParityError, match=r"on 1 of 1 pictures.*p is taken for"):
            gate(lambda _: told([0.49, 0.51, 0.0]), expected, lambda: one, loose)


@pytest.mark.parametrize(("wrong", "passes"), [(1, True), (2, False)])
def test_share_of_other_answers_is_limited(wrong: int, passes: bool) -> None:
    ten = [Picture(f"p{n}", 0, np.full((1, 1, 3), n, np.uint8)) for n in range(10)]
    expected = answers(*[[0.9, 0.1, 0.0]] * 10)

    def predict(images: Sequence[np.ndarray]) -> list[Prediction]:
        return told([0.1, 0.9, 0.0] if images[0][0, 0, 0] < wrong else [0.9, 0.1, 0.0])

    loose = Tolerance(probability=1.0, disagreements=0.1)
    if passes:
        assert gate(predict, expected, lambda: ten, loose).correct == 9
    else:
        with pytest.raises(ParityError, match=r"on 2 of 10 pictures.*p0"):
            gate(predict, expected, lambda: ten, loose)


def test_nothing_to_check_with_is_no_pass(exported: Exported) -> None:
    with pytest.raises(ParityError, match="no picture"):
        reference(exported.classifier.ask, list)


def test_one_picture_fills_every_batch(exported: Exported) -> None:
    def one() -> list[Picture]:
        return [next(pictures())]

    report = gate(OnnxClassifier(exported.path, threads=2).predict, reference(exported.classifier.ask, one), one)
    assert [b.images for b in report.batches] == [1, 2, 5]


def test_pictures_are_chosen_from_all_classes() -> None:
    labels = [0, 0, 0, 0, 1, 1, 2, 0]
    assert choose(labels, 3) == [0, 4, 6]
    assert choose(labels, 5) == [0, 1, 4, 5, 6]
    assert choose(labels, 100) == list(range(8))
