"""The output `known`: the graph against NumPy, at the edge of its thresholds, in every precision, and hostile forms of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_export import make_classifier, make_metadata

from blocklora.errors import ExportError, ModelFileError, ParityError
from exporters import quantize
from exporters.inspection import inspect_model
from exporters.known_graph import AXIS, LEAST_FAMILIAR, LEAST_SURE, MEANS_T, Knowing, take_off
from exporters.onnx_export import export_onnx
from exporters.parity import Familiar, Picture, gate, reference
from exporters.predictor import OnnxClassifier

SIZE = (40, 56)


def unit(values: np.ndarray) -> np.ndarray:
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True), dtype=np.float32)


def images(n: int = 12) -> np.ndarray:
    """Noise around a colour of its own each, so that their embeddings differ."""
    rng = np.random.default_rng(5)
    return np.clip(rng.integers(0, 256, (n, 1, 1, 3)) + rng.normal(0, 60, (n, *SIZE, 3)), 0, 255).astype(np.uint8)


def write(path: Path, least_familiar: float | None = None, least_sure: float | None = None) -> Path:
    """A tiny file whose rule splits `images` in the middle of either score, unless told otherwise."""
    classifier = make_classifier()
    answers = [classifier.ask(image) for image in images()]
    embeddings = np.stack([answer.embedding for answer in answers])
    means = unit(embeddings[:3])
    cosines = np.sort((embeddings @ means.T).max(axis=1))
    surest = np.sort([answer.probabilities.max() for answer in answers])
    middle = float(np.float32((cosines[4] + cosines[5]) / 2)), float(np.float32((surest[3] + surest[4]) / 2))
    classifier.knowing = Knowing(
        means, middle[0] if least_familiar is None else least_familiar, middle[1] if least_sure is None else least_sure
    )
    rule = {"rule": "familiar and sure", "least_familiar": classifier.knowing.least_familiar, "least_sure": classifier.knowing.least_sure}
    export_onnx(classifier, dataclasses.replace(make_metadata(), reject=rule), path)
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("known") / "model.onnx")


def constants(path: Path) -> dict[str, np.ndarray]:
    model = onnx.load_model(path, load_external_data=False)
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def by_numpy(path: Path, probabilities: np.ndarray, embedding: np.ndarray) -> np.ndarray:
    values = constants(path)
    familiar = (embedding @ values[MEANS_T]).max(axis=1) >= values[LEAST_FAMILIAR]
    found: np.ndarray = familiar & (probabilities.max(axis=1) >= values[LEAST_SURE])
    return found


def test_the_graph_says_what_numpy_says_in_batches_and_alone(file: Path) -> None:
    session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    probabilities, embedding, known = session.run(None, {"images": images()})
    assert known.dtype == bool and known.shape == (12,) and 0 < known.sum() < 12
    assert known.tolist() == by_numpy(file, probabilities, embedding).tolist()
    alone = [bool(session.run(["known"], {"images": image[None]})[0][0]) for image in images()]
    assert alone == known.tolist()


def test_either_question_alone_can_refuse(file: Path, tmp_path: Path) -> None:
    predictions = {
        name: [p.known for p in OnnxClassifier(write(tmp_path / name, *least)).predict(list(images()))]
        for name, least in {"always": (-2.0, 0.0), "familiar": (None, 0.0), "sure": (-2.0, None), "both": (None, None)}.items()
    }
    assert all(predictions["always"])
    assert predictions["familiar"].count(True) == 7 and predictions["sure"].count(True) == 8
    assert predictions["both"] == [a and b for a, b in zip(predictions["familiar"], predictions["sure"], strict=True)]


def test_a_probability_at_the_threshold_is_known_and_the_next_number_above_is_not(file: Path, tmp_path: Path) -> None:
    picture = images()[0]
    surest = OnnxClassifier(file).predict([picture])[0].probabilities.max()
    at, above = float(surest), float(np.nextafter(surest, np.float32(2)))
    for least, known in ((at, True), (above, False)):
        (found,) = OnnxClassifier(write(tmp_path / f"{known}.onnx", -2.0, least)).predict([picture])
        assert found.known is known


def test_files_without_a_rule_say_nothing(tmp_path: Path) -> None:
    export_onnx(make_classifier(), make_metadata(), tmp_path / "m.onnx")
    assert inspect_model(tmp_path / "m.onnx").props["format_version"] == "1"
    (found,) = OnnxClassifier(tmp_path / "m.onnx", tried_first=True).predict([images()[0]])
    assert found.known is None


def test_a_file_with_a_rule_is_of_a_newer_format_and_opens_with_its_first_run(file: Path) -> None:
    info = inspect_model(file)
    assert info.has_rule and info.props["format_version"] == "2" and info.metadata.reject["rule"] == "familiar and sure"
    model = OnnxClassifier(file, tried_first=True)
    assert model.batches == (1, 4, 16) and {p.known for p in model.predict(list(images()))} == {True, False}


@pytest.mark.parametrize("precision", ["fp16", "dynamic", "static"])
def test_smaller_forms_keep_the_rule_to_the_byte(file: Path, tmp_path: Path, precision: str) -> None:
    target = tmp_path / "small.onnx"
    if precision == "static":
        quantize.to_int8_static(file, target, images())
    else:
        {"fp16": quantize.to_fp16, "dynamic": quantize.to_int8_dynamic}[precision](file, target)
    parts = [take_off(onnx.load_model(path, load_external_data=False)) for path in (file, target)]
    assert parts[0] is not None and parts[0] == parts[1]
    found = OnnxClassifier(target, tried_first=True).predict(list(images()))
    expected = by_numpy(target, np.stack([p.probabilities for p in found]), np.stack([p.embedding for p in found]))
    assert [p.known for p in found] == expected.tolist()


# ---- the gate


def pictures() -> Iterator[Picture]:
    for number, pixels in enumerate(images()):
        yield Picture(f"picture-{number}.png", 0, pixels)


def test_the_gate_stops_a_file_with_another_threshold_or_without_a_rule(file: Path, tmp_path: Path) -> None:
    classifier = make_classifier()
    values = constants(file)
    classifier.knowing = Knowing(values[MEANS_T].T, float(values[LEAST_FAMILIAR]), float(values[LEAST_SURE]))
    expected = reference(classifier.ask, pictures)
    report = gate(OnnxClassifier(file).predict, expected, pictures)
    assert all(batch.same_known == batch.images for batch in report.batches)
    with pytest.raises(ParityError, match="is none of the classes to it"):
        gate(OnnxClassifier(write(tmp_path / "strict.onnx", 0.99999, 0.99)).predict, expected, pictures)
    export_onnx(make_classifier(), make_metadata(), tmp_path / "plain.onnx")
    with pytest.raises(ParityError, match="lacks its rule"):
        gate(OnnxClassifier(tmp_path / "plain.onnx").predict, expected, pictures)
    with pytest.raises(ParityError, match="has a rule"):
        gate(OnnxClassifier(file).predict, reference(make_classifier().ask, pictures), pictures)


def test_what_lies_within_rounding_of_a_threshold_may_differ() -> None:
    assert Familiar(True, 0.1, 0.1).clear(1e-3) and not Familiar(True, 0.1, 0.0009).clear(1e-3)
    assert Familiar(False, -0.1, 0.1).clear(1e-3) and not Familiar(False, -0.0005, 0.2).clear(1e-3)
    assert Familiar(True).clear(1e-3) and Familiar(False).clear(1e-3)  # of a file only the answer is known


def test_means_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    classifier = make_classifier()
    classifier.knowing = Knowing(unit(np.ones((2, 32))), 0.5, 0.5)
    with pytest.raises(ExportError, match="do not fit"):
        export_onnx(classifier, make_metadata(), tmp_path / "m.onnx")
    with pytest.raises(ExportError, match="unit vectors"):
        Knowing(np.ones((3, 32), np.float32), 0.5, 0.5)
    with pytest.raises(ExportError, match="not a number"):
        Knowing(unit(np.ones((3, 32))), float("nan"), 0.5)


# ---- hostile forms


def tensor(name: str, values: object, kind: type = np.float32) -> Callable[[onnx.ModelProto], None]:
    def spoil(model: onnx.ModelProto) -> None:
        found = next(entry for entry in model.graph.initializer if entry.name == name)
        found.CopyFrom(numpy_helper.from_array(np.asarray(values, kind), name))

    return spoil


def other_operator(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.op_type == "And").op_type = "GreaterOrEqual"


def one_more(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Relu", ["known_familiarity"], ["known_more"], name="known_node_more"))


def looked_into(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Relu", ["known_familiarity"], ["more"], name="more"))


def elsewhere(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("GreaterOrEqual", ["embedding", "embedding"], ["more"], name="more"))


def no_output(model: onnx.ModelProto) -> None:
    del model.graph.output[2:]


def of_another_kind(model: onnx.ModelProto) -> None:
    model.graph.output[2].type.tensor_type.elem_type = TensorProto.FLOAT


def of_two_dimensions(model: onnx.ModelProto) -> None:
    model.graph.output[2].type.tensor_type.shape.dim.add().dim_value = 2


def a_fourth(model: onnx.ModelProto) -> None:
    model.graph.output.append(helper.make_tensor_value_info("known_familiar", TensorProto.BOOL, ["batch"]))


def rule(**values: object) -> Callable[[onnx.ModelProto], None]:
    def spoil(model: onnx.ModelProto) -> None:
        props = {entry.key: entry.value for entry in model.metadata_props}
        del model.metadata_props[:]
        helper.set_model_props(model, props | {"reject": json.dumps(json.loads(props["reject"]) | values)})

    return spoil


def silent(model: onnx.ModelProto) -> None:
    props = {entry.key: entry.value for entry in model.metadata_props if entry.key != "reject"}
    del model.metadata_props[:]
    helper.set_model_props(model, props | {"format_version": "1"})


HOSTILE = [
    (tensor(LEAST_SURE, 0.9), "another way than its metadata say"),
    (tensor(LEAST_FAMILIAR, np.nan), "values that are not numbers"),
    (tensor(LEAST_FAMILIAR, [0.5]), "another way than this product"),
    (tensor(LEAST_SURE, 0.5, np.float16), "another way than this product"),
    (tensor(MEANS_T, np.zeros((32, 4))), "another way than this product"),
    (tensor(MEANS_T, np.full((32, 3), np.inf)), "values that are not numbers"),
    (tensor(AXIS, [0], np.int64), "values that are not numbers"),
    (other_operator, "another way than this product"),
    (one_more, "another way than this product"),
    (looked_into, "another way than this product"),
    (elsewhere, "another way than this product"),
    (no_output, "parts of a rule"),
    (of_another_kind, "does not give the outputs"),
    (of_two_dimensions, "does not give the outputs"),
    (a_fourth, "does not give the outputs"),
    (rule(least_sure="0.5"), "cannot be read"),
    (rule(least_familiar=float("nan")), "cannot be read"),
    (rule(least_familiar=0.123), "another way than its metadata say"),
    (silent, "another way than its metadata say"),
]


@pytest.mark.parametrize(("spoil", "reason"), HOSTILE, ids=[str(i) for i in range(len(HOSTILE))])
def test_another_form_of_the_rule_is_refused(file: Path, tmp_path: Path, spoil: Callable[[onnx.ModelProto], None], reason: str) -> None:
    model = onnx.load_model(file, load_external_data=False)
    spoil(model)
    path = tmp_path / "hostile.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match=reason):
        inspect_model(path)


def test_a_plain_file_may_not_compare(tmp_path: Path) -> None:
    export_onnx(make_classifier(), make_metadata(), tmp_path / "m.onnx")
    model = onnx.load_model(tmp_path / "m.onnx", load_external_data=False)
    elsewhere(model)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match="parts of a rule"):
        inspect_model(tmp_path / "m.onnx")
