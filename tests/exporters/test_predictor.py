"""Prediction from the file alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from PIL import Image
from tiny_export import LABELS, Exported

from blocklora.errors import ImageError, ModelFileError
from exporters import predictor
from exporters.predictor import OnnxClassifier, Prediction

ROOT = Path(__file__).parents[2]


def pictures(*sizes: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in sizes]


@pytest.fixture(scope="module")
def model(exported: Exported) -> OnnxClassifier:
    return OnnxClassifier(exported.path, threads=2)


def test_mixed_sizes_keep_their_order_and_torchs_numbers(model: OnnxClassifier, exported: Exported) -> None:
    images = pictures((40, 30), (8, 9), (40, 30), (1, 1), (8, 9), (40, 30))
    found = model.predict(images)
    for image, prediction in zip(images, found, strict=True):
        with torch.no_grad():
            probabilities, embedding = exported.classifier(torch.from_numpy(image)[None])
        np.testing.assert_allclose(prediction.probabilities, probabilities[0], atol=1e-4)
        np.testing.assert_allclose(prediction.embedding, embedding[0], atol=1e-4)
        assert prediction.label == LABELS[int(probabilities.argmax())]


def test_top_is_ranked_and_as_long_as_asked(model: OnnxClassifier) -> None:
    (found,) = model.predict(pictures((20, 20)), top=2)
    assert len(found.top) == 2 and found.top[0] == (found.label, found.probability)
    assert found.probability == found.probabilities.max() and found.top[0][1] >= found.top[1][1]
    assert found.milliseconds > 0
    assert len(model.predict(pictures((20, 20)), top=50)[0].top) == len(LABELS)


def test_equal_sizes_run_together_up_to_the_limit(model: OnnxClassifier, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[tuple[int, ...]] = []
    run = model._run
    monkeypatch.setattr(model, "_run", lambda batch, top: batches.append(batch.shape) or run(batch, top))
    model.predict(pictures(*[(4, 4)] * (predictor.MAX_BATCH + 3), (5, 4)))
    assert batches == [(predictor.MAX_BATCH, 4, 4, 3), (3, 4, 4, 3), (1, 5, 4, 3)]


def test_large_pictures_run_in_smaller_batches(model: OnnxClassifier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "BATCH_VALUES", 3 * 50)
    batches: list[int] = []
    run = model._run
    monkeypatch.setattr(model, "_run", lambda batch, top: batches.append(len(batch)) or run(batch, top))
    assert len(model.predict(pictures(*[(5, 5)] * 5, *[(10, 10)] * 2))) == 7
    assert batches == [2, 2, 1, 1, 1]


def test_nothing_to_predict(model: OnnxClassifier) -> None:
    assert model.predict([]) == []


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(model: OnnxClassifier, image: np.ndarray) -> None:
    with pytest.raises(ImageError, match="picture 1"):
        model.predict([image])


def test_files_are_predicted_in_order_and_bad_ones_explained(model: OnnxClassifier, tmp_path: Path) -> None:
    (good, other) = pictures((30, 20), (10, 10))
    Image.fromarray(good).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish")
    Image.fromarray(other).save(tmp_path / "other.png")
    paths = [tmp_path / name for name in ("good.png", "bad.png", "missing.png", "other.png")]
    found = list(model.predict_files(paths))
    assert [path for path, _ in found] == paths
    answers = [answer for _, answer in found]
    assert isinstance(answers[1], ImageError) and isinstance(answers[2], ImageError)
    for answer, image in ((answers[0], good), (answers[3], other)):
        assert isinstance(answer, Prediction)
        np.testing.assert_allclose(answer.probabilities, model.predict([image])[0].probabilities, atol=1e-6)
    np.testing.assert_array_equal(model.predict_file(paths[0]).probabilities, model.predict([good])[0].probabilities)
    with pytest.raises(ImageError):
        model.predict_file(paths[1])


def test_phone_pictures_are_turned_upright(model: OnnxClassifier, tmp_path: Path) -> None:
    (picture,) = pictures((12, 30))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side: turn it 90 degrees clockwise
    Image.fromarray(np.rot90(picture)).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(model.predict_file(tmp_path / "turned.png").probabilities, model.predict([picture])[0].probabilities)


def test_says_what_it_is(model: OnnxClassifier, exported: Exported) -> None:
    assert model.labels == list(LABELS) and model.preprocess == exported.metadata.preprocess
    assert model.record == exported.metadata and model.metadata["base_model"] == "tiny"
    assert model.metadata["labels"] == list(LABELS) and json.loads(json.dumps(model.metadata)) == model.metadata
    assert model.threads == 2


def test_provider_is_the_sessions_own_word(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """An accelerator that is wanted and offered, but does not start, is not named."""
    asked: list[list[tuple[str, dict[str, str]]]] = []
    real = ort.InferenceSession

    def session(path: str, options: ort.SessionOptions, providers: list[tuple[str, dict[str, str]]]) -> ort.InferenceSession:
        asked.append(providers)
        assert options.intra_op_num_threads == 1
        return real(path, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(
        predictor.ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CoreMLExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(predictor.ort, "InferenceSession", session)
    assert OnnxClassifier(exported.path, threads=1).provider == "CPUExecutionProvider"
    # Nothing that computes in less than full precision: neither Core ML nor the short products of CUDA.
    assert asked == [[("CUDAExecutionProvider", {"use_tf32": "0"}), ("CPUExecutionProvider", {})]]
    OnnxClassifier(exported.path, threads=1, cpu_only=True)
    assert asked[1] == [("CPUExecutionProvider", {})]


def test_no_session_is_made_of_a_refused_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor.ort, "InferenceSession", lambda *_, **__: pytest.fail("a session was made"))
    (tmp_path / "x.onnx").write_bytes(b"nonsense")
    with pytest.raises(ModelFileError):
        OnnxClassifier(tmp_path / "x.onnx")


def test_runtimes_refusal_is_told(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("no kernel")

    monkeypatch.setattr(predictor.ort, "InferenceSession", refuse)
    with pytest.raises(ModelFileError, match="no kernel"):
        OnnxClassifier(exported.path)


def test_torch_is_never_imported(exported: Exported, tmp_path: Path) -> None:
    Image.fromarray(pictures((20, 20))[0]).save(tmp_path / "p.png")
    program = (
        "import sys, json; from pathlib import Path; from exporters.predictor import OnnxClassifier\n"
        f"model = OnnxClassifier(Path({str(exported.path)!r}), threads=1)\n"
        f"label = model.predict_file(Path({str(tmp_path / 'p.png')!r})).label\n"
        "heavy = {'torch', 'torchvision', 'open_clip', 'timm', 'transformers', 'onnx', 'onnxscript', 'gradio'}\n"
        "print(json.dumps([label, sorted(heavy & set(sys.modules))]))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    label, heavy = json.loads(done.stdout.splitlines()[-1])
    assert label in LABELS and heavy == []
