"""Files from elsewhere: every refusal has its sample, and the refusal comes before a session is made."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_export import Exported

from blocklora.errors import ModelFileError
from exporters import apart, inspection, model_file
from exporters.inspection import inspect_model
from exporters.model_file import check_model_file

ROOT = Path(__file__).parents[2]
Spoil = Callable[[onnx.ModelProto], None]


def prop(key: str, value: str | None) -> Spoil:
    """Replace one metadata string, or drop it."""

    def spoil(model: onnx.ModelProto) -> None:
        props = {entry.key: entry.value for entry in model.metadata_props}
        del model.metadata_props[:]
        props |= {key: value} if value is not None else {}
        props = props if value is not None else {k: v for k, v in props.items() if k != key}
        helper.set_model_props(model, props)

    return spoil


def external_initializer(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")


def external_constant(model: onnx.ModelProto) -> None:
    """The same trick inside a node's attribute."""
    tensor = numpy_helper.from_array(np.zeros(1, np.float32), "hidden")
    tensor.external_data.add(key="location", value="weights.bin")
    model.graph.node.append(helper.make_node("Constant", [], ["hidden"], value=tensor))


def unknown_domain(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("evil.custom", 1))
    model.graph.node.append(helper.make_node("Run", ["embedding"], ["x"], domain="evil.custom"))


def undeclared_domain(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.evil"


def loop(model: onnx.ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node.append(helper.make_node("Loop", ["", ""], ["y"], body=body))


def hidden_graph(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("branches", [helper.make_graph([], "inner", [], [])]))


def local_function(model: onnx.ModelProto) -> None:
    model.functions.append(helper.make_function("", "Relu", ["x"], ["y"], [], []))


def sparse(model: onnx.ModelProto) -> None:
    values = numpy_helper.from_array(np.ones(1, np.float32), "v")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, numpy_helper.from_array(np.zeros(1, np.int64), "i"), [2**40]))


def old_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 9


def two_opsets(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("ai.onnx", 20))


def float_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def second_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


def no_embedding(model: onnx.ModelProto) -> None:
    del model.graph.output[1]


def constant_input(model: onnx.ModelProto) -> None:
    """A second input that has a value already: onnxruntime would let it be replaced."""
    model.graph.input.append(helper.make_tensor_value_info(model.graph.initializer[0].name, TensorProto.FLOAT, [1]))


def renamed_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "scores"


def wider_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 4


def no_nodes(model: onnx.ModelProto) -> None:
    del model.graph.node[:]


HOSTILE: list[tuple[Spoil, str]] = [
    (external_initializer, "other files"),
    (external_constant, "other files"),
    (unknown_domain, "unknown domain evil.custom"),
    (undeclared_domain, "unknown domain com.evil"),
    (loop, "operator Loop"),
    (hidden_graph, "never writes"),
    (local_function, "functions"),
    (sparse, "sparse"),
    (old_opset, "operator set"),
    (two_opsets, "operator set"),
    (float_input, "8-bit pictures"),
    (second_input, "8-bit pictures"),
    (constant_input, "8-bit pictures"),
    (no_embedding, "outputs probabilities and embedding"),
    (renamed_output, "outputs probabilities and embedding"),
    (wider_output, "3 labels for 4 outputs"),
    (no_nodes, "0 operators"),
    (prop("product", None), "not exported by Block-LoRA Studio"),
    (prop("format_version", "99"), "format version '99'"),
    (prop("labels", None), "lack labels"),
    (prop("labels", '["a", "b"]'), "2 labels and 3 class ids"),
    (prop("labels", '{"a": 1}'), "cannot be read"),
    (prop("labels", "[" * 100_000), "cannot be read"),
    (prop("preprocess", '{"size": 32}'), "cannot be read"),
    (prop("preprocess", "[]"), "cannot be read"),
    (prop("temperature", '"warm"'), "cannot be read"),
    (prop("temperature", "0"), "temperature"),
    (prop("temperature", "NaN"), "temperature"),
]


def test_own_file_is_described(exported: Exported) -> None:
    info = inspect_model(exported.path)
    assert (info.opset, info.n_classes, info.embed_dim, info.size) == (20, 3, 32, exported.path.stat().st_size)
    assert info.metadata == exported.metadata


def test_own_file_passes_in_another_process(exported: Exported) -> None:
    assert check_model_file(exported.path) == inspect_model(exported.path)


@pytest.mark.parametrize(("spoil", "reason"), HOSTILE, ids=[f"{i}-{spoil.__name__}" for i, (spoil, _) in enumerate(HOSTILE)])
def test_hostile_files_are_refused(exported: Exported, tmp_path: Path, spoil: Spoil, reason: str) -> None:
    model = onnx.load_model(exported.path, load_external_data=False)
    spoil(model)
    path = tmp_path / "hostile.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match=reason):
        inspect_model(path)


@pytest.mark.parametrize("data", [b"", b"not onnx at all", b"\x08\x07", b"\xff" * 64, b"PK\x03\x04" + bytes(60)])
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelFileError):
        inspect_model(path)


def test_cut_off_file_is_refused(exported: Exported, tmp_path: Path) -> None:
    data = exported.path.read_bytes()
    path = tmp_path / "half.onnx"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelFileError, match="cut off"):
        inspect_model(path)


def test_too_large_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "huge.onnx"
    with path.open("wb") as stream:
        stream.truncate(2**31)  # sparse: takes no room
    monkeypatch.setattr(onnx, "load_model", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(ModelFileError, match="2,147,483,648 bytes"):
        inspect_model(path)


def test_refusal_crosses_the_process_border(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(b"nonsense")
    with pytest.raises(ModelFileError, match="is not an ONNX file") as caught:
        check_model_file(path)
    assert caught.value.advice


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.onnx", tmp_path):
        with pytest.raises(ModelFileError, match="no file"):
            check_model_file(path)
        with pytest.raises(ModelFileError, match="no file"):
            inspect_model(path)


def test_reader_that_dies_or_hangs_is_a_refusal(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(apart.sys, "executable", "/bin/false")
        with pytest.raises(ModelFileError, match="ended with 1"):
            check_model_file(exported.path)
    monkeypatch.setattr(model_file, "SECONDS", 0.05)  # python has not even started by then
    with pytest.raises(ModelFileError, match=r"not done within 0\.05 seconds"):
        check_model_file(exported.path)


def test_asking_loads_neither_onnx_nor_onnxruntime_here(exported: Exported) -> None:
    program = (
        "import sys; from pathlib import Path; from exporters.model_file import check_model_file;"
        f"check_model_file(Path({str(exported.path)!r}));"
        "print(sorted({'onnx', 'onnxruntime', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr


def test_reader_prints_one_json_line(exported: Exported, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the limits, which would stay with this process."""
    monkeypatch.setattr(inspection, "confine", lambda memory: None)
    assert inspection.main(["1000", str(exported.path)]) == 0
    assert json.loads(capsys.readouterr().out)["info"]["n_classes"] == 3
    assert inspection.main(["1000", str(ROOT / "pyproject.toml")]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"error", "advice"}
