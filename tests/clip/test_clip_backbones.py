"""Loading a backbone from its two files, and what is said when they are not what they should be."""

from __future__ import annotations

import hashlib
import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import tokenizers
import torch
import transformers
from tiny_backbones import CONFIGS

from blocklora.clip.backbones import Backbone, from_config, load_backbone
from blocklora.clip.build import build_model, build_preprocess, build_tokenizer
from blocklora.clip.prompts import image_features, text_class_weights, tokenise
from blocklora.errors import BackboneError
from blocklora.preprocess import Preprocess
from blocklora.presets import BUILTIN

MakeBackbone = Callable[[str], Backbone]
WEIGHTS = "open_clip_model.safetensors"


def test_a_folder_loads(backbone_folder: Path, make_backbone: MakeBackbone, tmp_path: Path) -> None:
    backbone = load_backbone(str(backbone_folder), tmp_path)
    original = make_backbone("plain")
    assert backbone.name == str(backbone_folder)
    assert backbone.preprocess == Preprocess(32, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bilinear", "squash")
    assert (backbone.embed_dim, backbone.context_length, backbone.causal_text) == (24, 77, True)
    assert backbone.model_cfg == CONFIGS["plain"]
    assert backbone.weights_hash == hashlib.sha256((backbone_folder / WEIGHTS).read_bytes()).hexdigest()
    assert not backbone.model.training
    for name, parameter in backbone.model.named_parameters():
        assert parameter.dtype == torch.float32 and not parameter.requires_grad
        assert torch.equal(parameter, original.model.get_parameter(name).half().float())


def test_a_folder_under_the_home_loads_by_its_name(backbone_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "home" / "backbones").mkdir(parents=True)
    backbone_folder.rename(tmp_path / "home" / "backbones" / "mine")
    assert load_backbone("mine", tmp_path / "home").name == "mine"


def test_the_built_in_one_loads_and_sees(tmp_path: Path) -> None:
    backbone = load_backbone(BUILTIN, tmp_path)
    size = backbone.preprocess.size
    batch = tokenise(["cat", "dog", "car"], ["a photo of a {}."], backbone)
    images = torch.rand(2, 3, size, size)
    with torch.no_grad():
        logits = image_features(backbone.model, images) @ text_class_weights(backbone.model, batch).T
    assert logits.shape == (2, 3)
    assert bool(torch.isfinite(logits).all())
    assert backbone.causal_text
    assert len(backbone.weights_hash) == 64


def test_random_weights_depend_on_the_seed_alone() -> None:
    before = torch.get_rng_state()
    one, same, other = (from_config(CONFIGS["plain"], seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.model.visual.proj, same.model.visual.proj)
    assert not torch.equal(one.model.visual.proj, other.model.visual.proj)
    assert one.weights_hash != other.weights_hash


def test_unknown_names_are_answered_with_the_choices(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="no backbone 'ViT-Z-99'") as caught:
        load_backbone("ViT-Z-99", tmp_path)
    assert "builtin, builtin-72, ViT-B-32" in caught.value.advice
    with pytest.raises(BackboneError, match=r"does not hold open_clip_config\.json"):
        load_backbone(str(tmp_path / "nowhere"), tmp_path)


def rewrite(folder: Path, **changes: Any) -> None:
    """Change values of the folder's configuration."""
    path = folder / "open_clip_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")


def test_damaged_weights_are_refused(backbone_folder: Path, tmp_path: Path) -> None:
    weights = backbone_folder / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(BackboneError, match="are damaged or belong to another model"):
        load_backbone(str(backbone_folder), tmp_path)


def test_weights_of_another_model_are_refused(backbone_folder: Path, tmp_path: Path) -> None:
    rewrite(backbone_folder, model_cfg={**CONFIGS["plain"], "vision_cfg": {**CONFIGS["plain"]["vision_cfg"], "layers": 3}})
    with pytest.raises(BackboneError, match="belong to another model"):
        load_backbone(str(backbone_folder), tmp_path)


def test_missing_tensors_are_refused(backbone_folder: Path, tmp_path: Path) -> None:
    state = safetensors.torch.load_file(backbone_folder / WEIGHTS)
    del state["visual.proj"]
    safetensors.torch.save_file(state, backbone_folder / WEIGHTS)
    with pytest.raises(BackboneError, match="belong to another model"):
        load_backbone(str(backbone_folder), tmp_path)


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def test_nothing_is_ever_unpickled(backbone_folder: Path, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    (backbone_folder / WEIGHTS).write_bytes(pickle.dumps(Trap(sprung)))
    (backbone_folder / "open_clip_pytorch_model.bin").write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(BackboneError, match="damaged"):
        load_backbone(str(backbone_folder), tmp_path)
    assert not sprung.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not valid JSON"),
        ("[]", 'has no "model_cfg"'),
        ('{"model_cfg": {"embed_dim": 8}}', 'has no "model_cfg" with embed_dim, vision_cfg and text_cfg'),
    ],
)
def test_configurations_that_are_none(text: str, message: str, backbone_folder: Path, tmp_path: Path) -> None:
    (backbone_folder / "open_clip_config.json").write_text(text, encoding="utf-8")
    with pytest.raises(BackboneError, match=message):
        load_backbone(str(backbone_folder), tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"surprise": 1}, "open_clip cannot build this backbone"),
        ({"vision_cfg": {"layers": 2, "width": -64}}, "open_clip cannot build this backbone"),
        ({"text_cfg": {"hf_model_name": "roberta-base"}}, r"\(roberta-base\) comes from the transformers library"),
        ({"vision_cfg": {"timm_model_name": "hf-hub:somebody/something"}}, "would be fetched from a network"),
        ({"vision_cfg": {"timm_model_name": "no_such_tower"}}, "open_clip cannot build this backbone"),
    ],
)
def test_configurations_that_cannot_be_built(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BackboneError, match=message):
        build_model({**CONFIGS["plain"], **changes, "custom_text": True})


def test_building_leaves_the_configuration_alone() -> None:
    before = json.dumps(CONFIGS["own text module"])
    build_model(CONFIGS["own text module"])
    assert json.dumps(CONFIGS["own text module"]) == before


def test_preprocessing_takes_open_clips_defaults() -> None:
    made = build_preprocess(CONFIGS["plain"], {})
    assert made.size == 32
    assert made.mean == pytest.approx((0.4815, 0.4578, 0.4082), abs=1e-4)
    assert (made.interpolation, made.resize_mode) == ("bicubic", "shortest")
    assert build_preprocess(CONFIGS["plain"], {"size": [48, 48], "interpolation": "random"}).size == 48


@pytest.mark.parametrize(
    ("values", "message"), [({"size": [224, 336]}, "only square inputs"), ({"resize_mode": "longest"}, "'longest' is not known")]
)
def test_preprocessing_that_is_not_done(values: dict[str, Any], message: str) -> None:
    with pytest.raises(BackboneError, match=message):
        build_preprocess(CONFIGS["plain"], values)


SIGLIP_LIKE = {
    **CONFIGS["siglip"],
    "text_cfg": {
        **CONFIGS["siglip"]["text_cfg"],
        "hf_tokenizer_name": "timm/ViT-B-32-SigLIP2-256",
        "tokenizer_kwargs": {"clean": "canonicalize"},
    },
}


def test_a_tokenizer_of_transformers_needs_its_files(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"tokenizer of timm/ViT-B-32-SigLIP2-256.*does not hold its tokenizer\.json") as caught:
        build_tokenizer(SIGLIP_LIKE, tmp_path)
    assert "huggingface.co/timm/ViT-B-32-SigLIP2-256" in caught.value.advice
    with pytest.raises(BackboneError, match="only with a folder"):
        build_tokenizer(SIGLIP_LIKE)


def test_a_tokenizer_of_transformers_is_read_from_the_folder(tmp_path: Path) -> None:
    words = {"[PAD]": 0, "[END]": 1, "[UNK]": 2, "a": 3, "photo": 4, "of": 5, "cat": 6}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inner.post_processor = tokenizers.processors.TemplateProcessing(single="$A [END]", special_tokens=[("[END]", 1)])
    transformers.PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(tmp_path)
    backbone = from_config(SIGLIP_LIKE, tokenizer=build_tokenizer(SIGLIP_LIKE, tmp_path))
    batch = tokenise(["Cat!", "cat " * 80], ["a photo of a {}"], backbone)
    assert batch.tokens.shape == (2, 64)
    assert batch.tokens[0, :8].tolist() == [3, 4, 5, 3, 6, 1, 0, 0]
    assert "prompt of 85 tokens; this model reads 64" in batch.warnings[0]
    assert text_class_weights(backbone.model, batch).shape == (2, 24)


def test_transformers_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(BackboneError, match="package transformers, which is not installed"):
        build_tokenizer(SIGLIP_LIKE, tmp_path)
