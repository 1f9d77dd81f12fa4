"""The adapter as an ordinary LoRA: PEFT on transformers' CLIPModel gives what the run's own model gives."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import torch
from peft import PeftModel
from PIL import Image
from tiny_run import write_adapter, write_run
from torch import nn
from transformers import CLIPConfig, CLIPModel

from blocklora.clip.backbones import load_backbone
from blocklora.clip.catalog import KNOWN
from blocklora.config import AdapterConfig
from blocklora.errors import AdapterError, ExportError
from blocklora.jobs.run_folder import RunFolder
from blocklora.jobs.spec import RunSpec
from exporters.loading import load_adapted, load_run
from exporters.plain_lora import twin_name, write_plain_lora

sys.path.append(str(Path(__file__).parents[1] / "lora"))
from tiny_towers import FAMILIES

# Towers of different depth, width, heads and MLP, so that nothing of one is taken for the other's.
MODEL = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 3, "width": 48, "head_width": 12, "patch_size": 8, "mlp_ratio": 2.0},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
ALL = ("q", "k", "v", "o", "mlp")
CONFIGS = {
    "one block": AdapterConfig(rank=2, blocks=1, targets=ALL),
    "two blocks": AdapterConfig(rank=4, blocks=2, targets=ALL),
    "more blocks than ranks": AdapterConfig(rank=2, blocks=4),
    "divided by the rank": AdapterConfig(rank=4, blocks=2, alpha=3.0, scaling="linear"),
    "last layer": AdapterConfig(last_layers=1, targets=ALL),
    "last two layers, of three and of two": AdapterConfig(last_layers=2),
    "image tower alone": AdapterConfig(towers=("image",), rank=4, blocks=2),
    "text tower alone": AdapterConfig(towers=("text",), targets=ALL),
    "one projection": AdapterConfig(targets=("v",), blocks=1),
    "output alone": AdapterConfig(targets=("o",)),
    "mlp alone": AdapterConfig(targets=("mlp",), last_layers=1),
}


def quiet(stage: str, fraction: float) -> None:
    pass


def unzipped(run: RunFolder, root: Path) -> Path:
    write_plain_lora(run, root / "lora.zip", quiet)
    with zipfile.ZipFile(root / "lora.zip") as archive:
        archive.extractall(root / "unzipped")
    return root / "unzipped"


def converted(model: Any, config: CLIPConfig) -> CLIPModel:
    """transformers' CLIPModel with the weights of an open_clip model, tensor by tensor, after both libraries' own formulas."""
    ours, theirs = model.state_dict(), {"logit_scale": model.logit_scale.detach()}
    for tower, prefix, layers in (("vision", "visual.", 3), ("text", "", 2)):
        for i in range(layers):
            block, layer = f"{prefix}transformer.resblocks.{i}.", f"{tower}_model.encoder.layers.{i}."
            for kind in ("weight", "bias"):
                for name, part in zip("qkv", ours[f"{block}attn.in_proj_{kind}"].chunk(3), strict=True):
                    theirs[f"{layer}self_attn.{name}_proj.{kind}"] = part
                theirs[f"{layer}self_attn.out_proj.{kind}"] = ours[f"{block}attn.out_proj.{kind}"]
                for number, name in ((1, "c_fc"), (2, "c_proj")):
                    theirs[f"{layer}mlp.fc{number}.{kind}"] = ours[f"{block}mlp.{name}.{kind}"]
                    theirs[f"{layer}layer_norm{number}.{kind}"] = ours[f"{block}ln_{number}.{kind}"]
    vision, text = "vision_model.", "text_model."
    for kind in ("weight", "bias"):
        theirs[f"{vision}pre_layrnorm.{kind}"] = ours[f"visual.ln_pre.{kind}"]
        theirs[f"{vision}post_layernorm.{kind}"] = ours[f"visual.ln_post.{kind}"]
        theirs[f"{text}final_layer_norm.{kind}"] = ours[f"ln_final.{kind}"]
    theirs[f"{vision}embeddings.class_embedding"] = ours["visual.class_embedding"]
    theirs[f"{vision}embeddings.patch_embedding.weight"] = ours["visual.conv1.weight"]
    theirs[f"{vision}embeddings.position_embedding.weight"] = ours["visual.positional_embedding"]
    theirs[f"{text}embeddings.token_embedding.weight"] = ours["token_embedding.weight"]
    theirs[f"{text}embeddings.position_embedding.weight"] = ours["positional_embedding"]
    theirs["visual_projection.weight"] = ours["visual.proj"].t()
    theirs["text_projection.weight"] = ours["text_projection"].t()
    twin = CLIPModel(config)
    twin.load_state_dict({name: tensor.clone() for name, tensor in theirs.items()}, strict=True)
    return twin.eval()


def twin_of(run: RunFolder, folder: Path) -> CLIPModel:
    spec = RunSpec.from_dict(run.spec())
    model = load_backbone(spec.backbone, Path(spec.home)).model
    return converted(model, CLIPConfig.from_dict(json.loads((folder / "base_config.json").read_text())))


def words(run: RunFolder) -> torch.Tensor:
    spec = RunSpec.from_dict(run.spec())
    tokens = load_backbone(spec.backbone, Path(spec.home)).tokenizer(
        ["a photo of an apple.", "=plum", "a pear that is far longer, in a bowl"]
    )
    assert isinstance(tokens, torch.Tensor)
    return tokens


@torch.no_grad()
def our_logits(run: RunFolder, pictures: torch.Tensor, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    """Logits (pictures, texts) at the model's own scale, and those of the classes, of the run's adapted open_clip model."""
    loaded = load_adapted(run, RunSpec.from_dict(run.spec()))
    model: Any = loaded.backbone.model
    per_image, _ = model.get_logits(pictures, tokens)
    scale = loaded.meta.logit_scale / loaded.meta.temperature
    return {"texts": per_image, "classes": scale * model.encode_image(pictures, normalize=True) @ loaded.class_weights.T}


@torch.no_grad()
def their_logits(model: nn.Module, folder: Path, pictures: torch.Tensor, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    """The same of transformers' model, with nothing but the files of the zip."""
    out = model(input_ids=tokens, pixel_values=pictures)
    with safetensors.safe_open(folder / "class_weights.safetensors", "pt") as file:
        weights, said = file.get_tensor("class_weights"), file.metadata()
    scale = float(said["logit_scale"]) / float(said["temperature"])
    return {"texts": out.logits_per_image, "classes": scale * out.image_embeds @ weights.T}


@pytest.fixture(scope="module", params=[False, True], ids=["gelu", "quick gelu"])
def first(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return write_run(tmp_path_factory.mktemp("run"), model_cfg={**MODEL, "quick_gelu": request.param})


@pytest.fixture
def run(first: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy of the run that a test may give another adapter."""
    shutil.copytree(first.path, tmp_path / "run")
    return RunFolder(tmp_path / "run")


@pytest.mark.parametrize("name", CONFIGS)
def test_peft_on_transformers_gives_the_same_logits(name: str, run: RunFolder, tmp_path: Path) -> None:
    write_adapter(run, CONFIGS[name])
    folder = unzipped(run, tmp_path)
    pictures, tokens = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1)), words(run)
    frozen = their_logits(twin_of(run, folder), folder, pictures, tokens)
    found = their_logits(PeftModel.from_pretrained(twin_of(run, folder), str(folder)).eval(), folder, pictures, tokens)
    expected = our_logits(run, pictures, tokens)
    for kind, logits in expected.items():
        assert (found[kind] - logits).abs().max() <= 1e-4
        if kind == "texts" or "image" in CONFIGS[name].towers:
            assert (found[kind] - frozen[kind]).abs().max() > 0.05, "the adapter has no effect to compare"


def test_exactly_the_adapted_projections_are_named(run: RunFolder, tmp_path: Path) -> None:
    write_adapter(run, AdapterConfig(last_layers=1, targets=("v", "mlp"), rank=4, blocks=2, alpha=3.0))
    folder = unzipped(run, tmp_path)
    config = json.loads((folder / "adapter_config.json").read_text())
    last = ("vision_model.encoder.layers.2", "text_model.encoder.layers.1")
    assert config["target_modules"] == [f"{layer}.{name}" for layer in last for name in ("mlp.fc1", "mlp.fc2", "self_attn.v_proj")]
    assert config["r"] == 2 and config["lora_alpha"] / config["r"] == pytest.approx(3.0 / 4**0.5)
    assert config["base_model_name_or_path"] is None
    model = PeftModel.from_pretrained(twin_of(run, folder), str(folder))
    carried = {name.split(".lora_A")[0].removeprefix("base_model.model.") for name, _ in model.named_parameters() if "lora_A" in name}
    assert carried == set(config["target_modules"])


@pytest.mark.parametrize("turns", [1, 4])
def test_readme_program_gives_the_classifiers_answer(turns: int, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if turns > 1:
        run = RunFolder(Path(shutil.copytree(run.path, tmp_path / "turned")))
        write_adapter(run, RunSpec.from_dict(run.spec()).adapter, turns=turns)
    folder = unzipped(run, tmp_path)
    text = (folder / "README.md").read_text(encoding="utf-8")
    pixels = np.random.default_rng(5).integers(0, 256, (32, 32, 3), dtype=np.uint8)  # of the model's size: nothing is resized
    Image.fromarray(pixels).save(folder / "photo.jpg", format="PNG")
    twin = twin_of(run, folder)
    monkeypatch.setattr(CLIPModel, "from_pretrained", lambda name: twin)
    monkeypatch.chdir(folder)
    values: dict[str, Any] = {}
    exec(compile(text.split("```python\n")[1].split("```")[0], "README.md", "exec"), values)
    expected = load_run(run, RunSpec.from_dict(run.spec())).classifier.ask(pixels).probabilities
    np.testing.assert_allclose(values["probabilities"][0].numpy(), expected, atol=1e-4)
    assert 'from_pretrained("path/to/the/base")' in text and str(run.path) not in text


@pytest.mark.parametrize("family", ["coca", "siglip2", "mobileclip2", "vit-normed"])
def test_backbone_without_a_twin_is_refused_and_the_checkpoint_named(family: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "made", model_cfg=FAMILIES[family])
    with pytest.raises(ExportError, match="no twin in the transformers library") as refused:
        write_plain_lora(run, tmp_path / "lora.zip", quiet)
    assert "checkpoint" in refused.value.advice
    assert not (tmp_path / "lora.zip").exists()


def test_built_in_backbone_has_no_twin(tmp_path: Path) -> None:
    run = write_run(tmp_path / "made", backbone_name="builtin")
    with pytest.raises(ExportError, match=r"studio_xcit_nano_12_p8, is not one of open_clip's own"):
        write_plain_lora(run, tmp_path / "lora.zip", quiet)


def test_other_weights_than_those_trained_on_are_refused(run: RunFolder, first: RunFolder, tmp_path: Path) -> None:
    home = tmp_path / "other-home"
    shutil.copytree(Path(first.spec()["home"]) / "backbones", home / "backbones")
    weights = home / "backbones" / "tiny" / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    run.spec_path.write_text(json.dumps({**run.spec(), "home": str(home)}))
    with pytest.raises(AdapterError, match="trained on tiny"):
        write_plain_lora(run, tmp_path / "lora.zip", quiet)
    weights.unlink()
    with pytest.raises(ExportError, match="cannot be read"):
        write_plain_lora(run, tmp_path / "lora.zip", quiet)


def test_known_backbones_name_their_twin_only_for_the_very_weights() -> None:
    info = next(info for info in KNOWN if info.twin and info.sha256)
    assert twin_name(info.name, info.sha256) == info.twin
    assert twin_name(info.name, "0" * 64) == ""
    assert twin_name("somebody's own", info.sha256) == ""
