"""`predict` and `evaluate` hold files from elsewhere to the same rules as the window, and their words cannot move a terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from blocklora.cli.parser import main

sys.path.append(str(Path(__file__).parents[1] / "ui"))
from tiny_model import export_tiny_model


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_tiny_model(tmp_path_factory.mktemp("cli-model") / "good.onnx")


def bomb(model: onnx.ModelProto) -> None:
    """64 GB from eight bytes; nothing is wrong with how it is built."""
    size = numpy_helper.from_array(np.array([2**17, 2**17], np.int64), "size")
    one = numpy_helper.from_array(np.array([[1.0]], np.float32), "one")
    model.graph.initializer.extend([size, one])
    for node in model.graph.node:
        node.input[:] = ["inner" if name == "embedding" else name for name in node.input]
        node.output[:] = ["inner" if name == "embedding" else name for name in node.output]
    model.graph.node.extend(
        [
            helper.make_node("Expand", ["one", "size"], ["many"]),
            helper.make_node("ReduceMean", ["many"], ["s"], keepdims=0),
            helper.make_node("Mul", ["inner", "s"], ["embedding"]),
        ]
    )


def stranger(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("ConstantOfShape", ["embedding"], ["more"]))


def turning_labels(model: onnx.ModelProto) -> None:
    props = {entry.key: entry.value for entry in model.metadata_props}
    del model.metadata_props[:]
    helper.set_model_props(model, props | {"labels": json.dumps([f"\x1b[31mred\u202e{i}" for i in range(3)])})


def spoilt(good: Path, target: Path, spoil: Callable[[onnx.ModelProto], None]) -> str:
    model = onnx.load_model(good)
    spoil(model)
    target.write_bytes(model.SerializeToString())
    return str(target)


@pytest.mark.parametrize(("spoil", "reason"), [(bomb, "failed its first run: it takes more memory"), (stranger, "ConstantOfShape")])
@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_a_hostile_file_is_refused(
    command: str,
    spoil: Callable[[onnx.ModelProto], None],
    reason: str,
    good: Path,
    tmp_path: Path,
    sample_pictures: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([command, spoilt(good, tmp_path / "x.onnx", spoil), str(sample_pictures), "--json"]) == 1
    out, err = capsys.readouterr()
    assert reason in err and reason in json.loads(out.splitlines()[-1])["error"]


def test_labels_of_strangers_do_not_reach_the_terminal_as_they_are(
    good: Path, tmp_path: Path, sample_pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = next(sample_pictures.glob("*/*.png"))
    assert main(["predict", spoilt(good, tmp_path / "x.onnx", turning_labels), str(picture)]) == 0
    out = capsys.readouterr().out
    assert "red" in out and "\x1b" not in out and "\u202e" not in out


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names")
def test_a_pipe_does_not_keep_the_command_waiting(tmp_path: Path, sample_pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    for command in ("predict", "evaluate"):
        assert main([command, str(tmp_path / "pipe.onnx"), str(sample_pictures)]) == 1
        assert "file" in capsys.readouterr().err
