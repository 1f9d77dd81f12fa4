"""A known backbone made of a file that is already here: exactly that model, or a reason."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from blocklora.clip import local_file
from blocklora.clip.backbones import load_backbone
from blocklora.clip.build import build_model, build_preprocess
from blocklora.clip.catalog import CONFIG_FILE, KNOWN, WEIGHTS_FILE, BackboneInfo, is_present, known, read_config
from blocklora.clip.local_file import known_config, use_local_file
from blocklora.errors import BackboneError


def info_of(name: str) -> BackboneInfo:
    info = known(name)
    assert info is not None
    return info


@pytest.fixture
def file(backbone_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights of a small model that the list is made to take for ViT-B/32."""
    config = read_config(backbone_folder)
    monkeypatch.setattr(local_file, "known_config", lambda info: config)
    return backbone_folder / WEIGHTS_FILE


@pytest.mark.parametrize("info", KNOWN, ids=lambda info: info.name)
def test_the_configuration_of_a_known_one_is_complete(info: BackboneInfo) -> None:
    config = known_config(info)
    with torch.device("meta"):
        model = build_model(config["model_cfg"])
    assert build_preprocess(config["model_cfg"], config["preprocess_cfg"]).size == info.resolution
    quick = any(type(module).__name__ == "QuickGELU" for module in model.modules())
    assert quick == (info.tag == "openai")  # OpenAI's were trained with it; without it they answer worse and nobody notices


def test_the_file_becomes_the_backbone(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "home" / "backbones" / "ViT-B-32"
    use_local_file(info_of("ViT-B-32"), file, folder)
    assert is_present(folder) and file.exists()
    assert load_backbone("ViT-B-32", tmp_path / "home").preprocess.size == read_config(folder)["model_cfg"]["vision_cfg"]["image_size"]
    assert [path.name for path in folder.parent.iterdir() if not path.name.endswith(".lock")] == ["ViT-B-32"]


def test_other_files_are_refused_with_the_reason(file: Path, tmp_path: Path) -> None:
    tensors = load_file(file)
    first = next(iter(tensors))
    (tmp_path / "pickle.bin").write_bytes(b"\x80\x04")
    (tmp_path / "broken.safetensors").write_bytes(file.read_bytes()[:200])
    save_file({name: value for name, value in tensors.items() if name != first}, tmp_path / "less.safetensors")
    save_file({**tensors, "one.more": torch.zeros(2)}, tmp_path / "more.safetensors")
    save_file({**tensors, first: torch.zeros(7, 7)}, tmp_path / "other.safetensors")
    cases = {
        "absent.safetensors": "There is no file",
        "pickle.bin": "is not a .safetensors file",
        "broken.safetensors": "cannot be read as safetensors",
        "less.safetensors": f"it lacks {first}",
        "more.safetensors": "it holds one.more",
        "other.safetensors": "has the shape (7, 7)",
    }
    for name, reason in cases.items():
        with pytest.raises(BackboneError) as caught:
            use_local_file(info_of("ViT-B-32"), tmp_path / name, tmp_path / "out")
        assert reason in caught.value.message and "huggingface.co" in caught.value.advice
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_must_lie_beside_it_where_the_model_needs_one(file: Path, tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="also needs tokenizer"):
        use_local_file(info_of("SigLIP2-B-32"), file, tmp_path / "out")
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (file.parent / name).write_text("{}", encoding="utf-8")
    use_local_file(info_of("SigLIP2-B-32"), file, tmp_path / "out")
    assert (tmp_path / "out" / "tokenizer.json").is_file() and (tmp_path / "out" / CONFIG_FILE).is_file()
