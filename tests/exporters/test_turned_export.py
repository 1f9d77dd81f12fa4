"""Files that look at all four quarter turns of a picture: the same answer whichever side is up, the same as the trained model's."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_run import write_run

from blocklora.clip.pixels import to_model_input
from blocklora.clip.turns import all_turns, mean_of_turns, places_of_turns, turned
from blocklora.errors import AdapterError
from blocklora.jobs.run_folder import RunFolder
from blocklora.jobs.spec import RunSpec
from blocklora.preprocess import TURNS, Preprocess
from blocklora.training.data import Data
from exporters.heatmap import explain
from exporters.inspection import inspect_model
from exporters.loading import load_run
from exporters.pipeline import gate_pictures, make_export
from exporters.predictor import OnnxClassifier
from exporters.variants import make_variants

sys.path.append(str(Path(__file__).parents[1] / "lora"))
from tiny_towers import FAMILIES


def quiet(words: str, share: float) -> None:
    del words, share


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    made = write_run(tmp_path_factory.mktemp("turned"), turns=TURNS)
    make_export(made, quiet)
    return made


@pytest.fixture(scope="module")
def upright(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    made = write_run(tmp_path_factory.mktemp("upright"))
    make_export(made, quiet)
    return made


def pictures(*shape: int, number: int = 3) -> list[np.ndarray]:
    random = np.random.default_rng(8)
    return [random.integers(0, 256, (*shape, 3), dtype=np.uint8) for _ in range(number)]


def test_turns_are_quarter_turns() -> None:
    inputs = torch.rand(2, 3, 5, 5)
    for quarters in range(TURNS):
        assert torch.equal(turned(inputs, quarters), torch.rot90(inputs, quarters, (2, 3)))
    assert torch.equal(
        all_turns(inputs, places_of_turns(5)), torch.cat([torch.rot90(inputs, quarters, (2, 3)) for quarters in range(TURNS)])
    )


def test_one_embedding_is_the_normalised_mean_of_four() -> None:
    looks = F.normalize(torch.randn(TURNS, 3, 6), dim=2)
    mean = mean_of_turns(looks.flatten(0, 1))
    torch.testing.assert_close(mean, F.normalize(looks.sum(dim=0), dim=1))


def test_file_answers_as_the_mean_of_what_the_tower_makes_of_the_turns(run: RunFolder) -> None:
    classifier, model = load_run(run, RunSpec.from_dict(run.spec())).classifier, OnnxClassifier(run.onnx_path)
    for shape in ((32, 32), (50, 90), (7, 200)):
        for picture, answer in zip(pictures(*shape), model.predict(pictures(*shape)), strict=True):
            inputs = to_model_input(torch.tensor(picture)[None], model.preprocess)
            with torch.no_grad():
                looks = [F.normalize(classifier.head.tower(torch.rot90(inputs, quarters, (2, 3))), dim=1) for quarters in range(TURNS)]
            embedding = F.normalize(torch.stack(looks).mean(dim=0), dim=1)
            expected = (embedding @ classifier.head.weights_t).softmax(dim=1)[0]
            np.testing.assert_allclose(answer.probabilities, expected.numpy(), atol=1e-5)


def test_any_side_may_be_up(run: RunFolder, upright: RunFolder) -> None:
    for made, same in ((run, True), (upright, False)):
        model = OnnxClassifier(made.onnx_path)
        answers = [
            [model.predict([np.rot90(picture, quarters).copy()])[0].probabilities for quarters in range(4)] for picture in pictures(48, 48)
        ]
        apart = max(float(np.abs(found - of[0]).max()) for of in answers for found in of)
        assert apart < 1e-4 if same else apart > 0.01


def test_file_says_what_it_looks_at(run: RunFolder, upright: RunFolder) -> None:
    said, plain = (inspect_model(made.onnx_path).metadata.preprocess for made in (run, upright))
    assert (said.turns, plain.turns) == (TURNS, 1) and "turns" not in plain.to_dict()
    assert Preprocess.from_dict(plain.to_dict()) == plain and Preprocess.from_dict(said.to_dict()) == said


def test_smaller_files_and_heat_maps_follow(run: RunFolder) -> None:
    shown, _, _ = gate_pictures(Data.read(run.dataset_path))
    made = {row["precision"]: row for row in make_variants(run, shown, quiet)}
    whole = OnnxClassifier(run.onnx_path)
    for precision, close in (("fp16", 0.02), ("int8", 0.2)):
        small = OnnxClassifier(run.export_dir / made[precision]["file"])
        for expected, found in zip(whole.predict(pictures(40, 60)), small.predict(pictures(40, 60)), strict=True):
            np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=close)
    heat = explain(whole, pictures(40, 60)[0], windows=3)
    assert heat.reasons and np.isfinite(heat.reasons[0].heat).all()


def test_other_numbers_of_turns_are_refused() -> None:
    with pytest.raises(AdapterError, match="2 turns"):
        Preprocess(8, (0.5,) * 3, (0.5,) * 3, turns=2)


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_can_look_at_all_turns(family: str, tmp_path: Path) -> None:
    made = write_run(tmp_path, model_cfg=FAMILIES[family], turns=TURNS)
    assert make_export(made, quiet)["checked"]["images"]  # the gate and the reading of files held it
