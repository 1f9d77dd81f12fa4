"""Which configurations of open_clip are transformers' CLIPModel too."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import open_clip
import pytest
from tiny_backbones import CONFIGS
from transformers import CLIPConfig

from blocklora.clip.catalog import BUILTIN_FOLDER, KNOWN, BackboneInfo, read_config
from blocklora.clip.local_file import known_config
from blocklora.clip.twins import twin_config, why_no_twin

sys.path.append(str(Path(__file__).parents[1] / "lora"))
from tiny_towers import FAMILIES

B32 = {
    "embed_dim": 512,
    "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12},
}
TWINS = {"vit", "vit-quickgelu"}


@pytest.mark.parametrize("info", KNOWN, ids=lambda info: info.name)
def test_known_backbones_name_a_twin_where_there_is_one(info: BackboneInfo) -> None:
    assert bool(info.twin) == (why_no_twin(known_config(info)["model_cfg"]) == "")


@pytest.mark.parametrize("family", FAMILIES)
def test_only_plain_towers_have_a_twin(family: str) -> None:
    assert (why_no_twin(FAMILIES[family]) == "") == (family in TWINS)


def test_built_in_has_none() -> None:
    assert "studio_xcit_nano_12_p8" in why_no_twin(read_config(BUILTIN_FOLDER)["model_cfg"])


def changed(tower: str, **values: Any) -> dict[str, Any]:
    return {**B32, f"{tower}_cfg": {**B32[f"{tower}_cfg"], **values}}


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (changed("vision", layers=[3, 4, 6, 3]), "ResNet"),
        (changed("vision", pool_type="avg"), "pool_type = 'avg' in its image tower"),
        (changed("vision", attentional_pool=True), "attentional_pool"),
        (changed("vision", no_ln_pre=True), "no_ln_pre"),
        (changed("vision", pos_embed_type="sin_cos_2d"), "pos_embed_type"),
        (changed("vision", act_kwargs={"approximate": "tanh"}), "act_kwargs"),
        (changed("vision", of_a_later_open_clip=True), "of_a_later_open_clip"),
        (changed("text", no_causal_mask=True), "not causal"),
        (changed("text", pool_type="last"), "pools by 'last'"),
        (changed("text", pool_type="eos"), "pools by 'eos'"),  # of the id 2, open_clip's default, which transformers reads in its own way
        (changed("text", embed_cls=True), "embed_cls"),
        (changed("text", proj_bias=True), "proj_bias"),
        (changed("text", hf_model_name="roberta-base"), "roberta-base"),
        (changed("text", hf_tokenizer_name="bert"), "hf_tokenizer_name"),
        ({**B32, "init_logit_bias": -10.0}, "init_logit_bias"),
    ],
)
def test_reason_names_what_stands_in_the_way(config: dict[str, Any], reason: str) -> None:
    assert reason in why_no_twin(config)


def test_what_changes_nothing_in_use_is_no_reason() -> None:
    for config in (
        B32,
        {**B32, "custom_text": True, "quick_gelu": True},
        changed("vision", patch_dropout=0.5),
        changed("vision", pool_type="tok", timm_model_name=None, timm_pool="avg"),
        changed("text", pool_type="eos", eos_id=49407),
        CONFIGS["plain"],
    ):
        assert why_no_twin(config) == ""


def test_description_is_that_of_transformers_own_original() -> None:
    """CLIPConfig's defaults describe OpenAI's ViT-B/32."""
    quick = open_clip.get_model_config("ViT-B-32-quickgelu")
    assert CLIPConfig.from_dict(twin_config(quick)).text_config.to_dict() == CLIPConfig().text_config.to_dict()
    assert CLIPConfig.from_dict(twin_config(quick)).vision_config.to_dict() == CLIPConfig().vision_config.to_dict()
    large = twin_config(open_clip.get_model_config("ViT-L-14"))
    assert (large["vision_config"]["num_hidden_layers"], large["text_config"]["num_hidden_layers"]) == (24, 12)
    assert large["vision_config"]["num_attention_heads"] == 16 and large["text_config"]["hidden_act"] == "gelu"
