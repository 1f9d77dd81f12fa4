"""The adapter file: it says everything about itself, and a file that is not what it should be is refused in words."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch
from tiny_towers import images
from torch import nn

from blocklora.config import AdapterConfig, to_dict
from blocklora.errors import AdapterError, StudioError
from blocklora.lora.adapter_file import AdapterMeta, as_plain_lora, check_base, load_adapter, read_meta, save_adapter
from blocklora.lora.attach import attach
from blocklora.preprocess import Preprocess

MakeModel = Callable[[str], nn.Module]
CONFIG = AdapterConfig(rank=4, blocks=2, alpha=2.0)


@dataclass
class Base:
    name: str
    weights_hash: str


def meta(**changes: Any) -> AdapterMeta:
    plain = AdapterMeta(
        base_model="ViT-B-32",
        weights_hash="ab" * 32,
        adapter=to_dict(CONFIG),
        classes=["Zwölf Äpfel", "猫", "a\nb"],
        class_ids=["c1", "c2", "c3"],
        templates=["a photo of a {}.", "{}"],
        class_weights_mode="blend",
        preprocess=Preprocess(224, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)).to_dict(),
        temperature=1.7,
        metrics={"held_out_correct": 27, "held_out_n": 30},
        versions={"torch": "2.9"},
    )
    return dataclasses.replace(plain, **changes)


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {
        "image.0.q.A": torch.randn(2, 6),
        "image.0.q.B": torch.randn(2, 5, 2),
        "class_weights": nn.functional.normalize(torch.randn(3, 8), dim=-1),
    }


def test_file_comes_back_as_it_was(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "run" / "adapter.safetensors"
    save_adapter(path, tensors, meta())
    back, words = load_adapter(path)
    assert words == meta(created=words.created)
    assert words.config == CONFIG
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)
    assert read_meta(path) == words
    assert [file.name for file in path.parent.iterdir()] == [path.name], "a temporary file was left behind"


def test_any_tool_can_read_it(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "a.safetensors"
    save_adapter(path, tensors, meta())
    with safetensors.safe_open(path, framework="pt") as file:
        words = file.metadata()
        assert set(file.keys()) == set(tensors)
    assert words["format"] == "blocklora-adapter"
    assert words["format_version"] == "1"
    assert json.loads(words["meta"])["classes"] == ["Zwölf Äpfel", "猫", "a\nb"]


def test_a_trained_adapter_survives_the_trip(tmp_path: Path, make_model: MakeModel) -> None:
    model, other = make_model("vit"), make_model("vit")
    adapters = attach(model, CONFIG, seed=1)
    with torch.no_grad():
        for parameter in adapters.parameters():
            parameter.normal_()
    save_adapter(tmp_path / "a.safetensors", adapters.state_dict(), meta())
    state, words = load_adapter(tmp_path / "a.safetensors")
    attach(other, words.config, seed=None).load_state_dict(state)
    assert torch.equal(model.encode_image(images("vit")), other.encode_image(images("vit")))


def test_as_ordinary_lora(make_model: MakeModel) -> None:
    """Applied by hand as W + scale * B A, the exported form gives the merged weights."""
    model, merged = make_model("vit"), make_model("vit")
    adapters = attach(merged, CONFIG, seed=1)
    with torch.no_grad():
        for parameter in adapters.parameters():
            parameter.normal_()
    plain = as_plain_lora({**adapters.state_dict(), "class_weights": torch.ones(2, 2)}, CONFIG)
    assert set(plain) == set(adapters.blocks)
    adapters.merge()
    q, k, v = (plain[f"image.1.{name}"] for name in "qkv")
    assert q.A.shape == (2, 48) and q.B.shape == (48, 2) and q.scale == CONFIG.scale
    weight = model.visual.transformer.resblocks[1].attn.in_proj_weight + torch.cat([p.scale * p.B @ p.A for p in (q, k, v)])
    torch.testing.assert_close(weight, merged.visual.transformer.resblocks[1].attn.in_proj_weight, rtol=0, atol=1e-5)


def test_another_base_model_is_refused_with_both_names() -> None:
    check_base(meta(), Base("a copy of it under another name", "ab" * 32))
    with pytest.raises(AdapterError, match=r"trained on ViT-B-32 \(weights abababababab\).*is builtin \(weights cdcdcdcdcdcd\)") as caught:
        check_base(meta(), Base("builtin", "cd" * 32))
    assert "Use it with ViT-B-32" in caught.value.advice


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"class_ids": ["c1"]}, "3 class names and 1 class ids"),
        ({"classes": [], "class_ids": []}, "0 class names"),
        ({"class_weights_mode": "magic"}, "class weights from 'magic'"),
        ({"temperature": 0.0}, "temperature 0.0"),
        ({"classes": ["a", "b"], "class_ids": ["1", "2"]}, r"class weights of shape \(3, 8\) for 2 classes"),
    ],
)
def test_contradictions_are_refused_before_writing(
    changes: dict[str, Any], words: str, tmp_path: Path, tensors: dict[str, torch.Tensor]
) -> None:
    with pytest.raises(AdapterError, match=words):
        save_adapter(tmp_path / "a.safetensors", tensors, meta(**changes))
    assert not list(tmp_path.iterdir())


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    tensors["image.0.q.A"][0, 0] = float("nan")
    with pytest.raises(AdapterError, match=r"image\.0\.q\.A with numbers that are not finite"):
        save_adapter(tmp_path / "a.safetensors", tensors, meta())


def forge(path: Path, tensors: dict[str, torch.Tensor], **words: str) -> Path:
    """A safetensors file with metadata of our choosing."""
    good = {"format": "blocklora-adapter", "format_version": "1", "meta": json.dumps(dataclasses.asdict(meta()))}
    safetensors.torch.save_file(tensors, path, metadata={**good, **words})
    return path


def _changed(**changes: Any) -> str:
    values = {**dataclasses.asdict(meta()), **changes}
    return json.dumps({key: value for key, value in values.items() if value is not ...})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"format": "another tool"}, "not an adapter of this program"),
        ({"format_version": "2"}, "format version 2; this program reads version 1"),
        ({"format_version": "new"}, "damaged"),
        ({"meta": "{"}, "damaged"),
        ({"meta": "[]"}, "damaged"),
        ({"meta": _changed(base_model=...)}, "damaged"),
        ({"meta": _changed(surprise=1)}, "damaged"),
        ({"meta": _changed(adapter={"rank": 0})}, "rank is 0; allowed: 1 to 64"),
        ({"meta": _changed(preprocess={"size": 224})}, "damaged"),
        ({"meta": _changed(temperature=-1.0)}, "both must be above 0"),
        ({"meta": _changed(temperature="1")}, "damaged"),
        ({"meta": _changed(classes="abc")}, "damaged"),
        ({"meta": _changed(classes=[1, 2, 3])}, "damaged"),
        ({"meta": _changed(weights_hash=None)}, "damaged"),
    ],
)
def test_forged_metadata_is_refused(words: dict[str, str], message: str, tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    with pytest.raises(StudioError, match=message):
        load_adapter(forge(tmp_path / "a.safetensors", tensors, **words))


def test_damaged_files_are_refused(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    whole = forge(tmp_path / "a.safetensors", tensors).read_bytes()
    for number, data in enumerate((b"", b"short", whole[:-20], whole[:40], b"\xff" * 64, b"PK\x03\x04" + whole)):
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(data)
        with pytest.raises(AdapterError, match=f"{path.name} is damaged"):
            load_adapter(path)


def test_a_missing_and_a_huge_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="no adapter file at"):
        load_adapter(tmp_path / "none.safetensors")
    huge = tmp_path / "huge.safetensors"
    with huge.open("wb") as stream:
        stream.truncate((1 << 30) + 1)  # sparse
    with pytest.raises(AdapterError, match="an adapter file has at most"):
        load_adapter(huge)
