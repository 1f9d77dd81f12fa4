"""Choosing what to adapt, starting the same way every time, keeping gradients out of the frozen part, and refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import open_clip
import pytest
import torch
from timm.layers import Attention
from tiny_towers import FAMILIES, images, tokens
from torch import nn

from blocklora.clip.build import build_model
from blocklora.config import AdapterConfig
from blocklora.errors import AdapterError, NothingToAdapt
from blocklora.lora.attach import attach
from blocklora.lora.block import AdaptedRows, BlockLoRA
from blocklora.lora.layers import AdaptedAttention

MakeModel = Callable[[str], nn.Module]


def test_last_layers_only(make_model: MakeModel) -> None:
    adapters = attach(make_model("vit"), AdapterConfig(last_layers=1, targets=("q", "o")), seed=1)
    assert list(adapters.blocks) == ["image.2.q", "image.2.o", "text.2.q", "text.2.o"]
    assert adapters.n_layers == {"image": 3, "text": 3}
    assert adapters.first_layer == {"image": 2, "text": 2}


def test_more_last_layers_than_there_are_means_all(make_model: MakeModel) -> None:
    adapters = attach(make_model("mobileclip2"), AdapterConfig(last_layers=3, towers=("image",)), seed=1)
    assert adapters.first_layer == {"image": 0}
    assert "2 of 2 image layers" in adapters.describe()


@pytest.mark.parametrize(("family", "path"), [("vit", "visual.transformer.resblocks"), ("siglip2", "visual.trunk.blocks")])
def test_autograd_keeps_nothing_below_the_first_adapted_layer(family: str, path: str, make_model: MakeModel) -> None:
    model = make_model(family)
    attach(model, AdapterConfig(last_layers=1), seed=1)
    grows: dict[str, bool] = {}

    def watch(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], out: torch.Tensor) -> None:
            grows[name] = out.requires_grad

        return hook

    text = "text.transformer.resblocks" if hasattr(model, "text") else "transformer.resblocks"
    for root in (path, text):
        for i, layer in enumerate(model.get_submodule(root)):
            layer.register_forward_hook(watch(f"{root}.{i}"))
    model.encode_image(images(family))
    model.encode_text(tokens())
    assert grows == {f"{root}.{i}": i == 2 for root in (path, text) for i in range(3)}


def test_one_tower_alone(make_model: MakeModel) -> None:
    model = make_model("vit")
    adapters = attach(model, AdapterConfig(towers=("image",)), seed=1)
    assert all(name.startswith("image.") for name in adapters.blocks)
    assert not model.encode_text(tokens()).requires_grad
    assert model.encode_image(images("vit")).requires_grad


def test_the_same_seed_starts_the_same_whatever_else_is_random(make_model: MakeModel) -> None:
    torch.manual_seed(1)
    first = attach(make_model("vit"), AdapterConfig(), seed=7).state_dict()
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = attach(make_model("vit"), AdapterConfig(), seed=7).state_dict()
    assert torch.equal(torch.get_rng_state(), before), "attaching drew from the global generator"
    third = attach(make_model("vit"), AdapterConfig(), seed=8).state_dict()
    unseeded = [attach(make_model("vit"), AdapterConfig(), None).state_dict() for _ in range(2)]
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["image.0.q.A"], third["image.0.q.A"])
    assert not torch.equal(first["image.0.q.A"], first["image.0.k.A"])
    assert not torch.equal(unseeded[0]["image.0.q.A"], unseeded[1]["image.0.q.A"])


def test_training_mode_is_the_adapters_own(make_model: MakeModel) -> None:
    model = make_model("mobileclip2")  # has batch norms, whose statistics must not move
    adapters = attach(model, AdapterConfig(dropout=0.5), seed=1)
    with torch.no_grad():
        for parameter in adapters.parameters():
            parameter.normal_()
    x = images("mobileclip2")
    still = model.encode_image(x)
    assert torch.equal(model.encode_image(x), still)
    adapters.train()
    assert not torch.equal(model.encode_image(x), still)
    assert {type(module) for module in model.modules() if module.training} == {AdaptedRows, BlockLoRA, nn.ModuleDict}
    adapters.train(False)
    assert torch.equal(model.encode_image(x), still)


def test_state_moves_from_one_model_to_another(make_model: MakeModel) -> None:
    first, second = make_model("vit"), make_model("vit")
    one, other = attach(first, AdapterConfig(), seed=1), attach(second, AdapterConfig(), seed=2)
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.normal_()
    state = one.state_dict()
    other.load_state_dict(state)
    assert torch.equal(first.encode_image(images("vit")), second.encode_image(images("vit")))
    with torch.no_grad():
        one.parameters()[0].zero_()
    assert state["image.0.q.A"].any(), "state_dict must be a copy, not a view of parameters that go on changing"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "text.2.v.B"}, "missing: text.2.v.B"),
        (lambda s: {**s, "image.9.q.A": torch.zeros(1)}, "unknown: image.9.q.A"),
        (lambda s: {**s, "image.0.q.A": torch.zeros(1, 5)}, r"image.0.q.A has shape \(1, 5\) where this model takes \(1, 48\)"),
    ],
)
def test_state_that_does_not_fit_is_refused_whole(change: Callable[[Any], Any], words: str, make_model: MakeModel) -> None:
    adapters = attach(make_model("vit"), AdapterConfig(), seed=1)
    before = adapters.state_dict()
    with pytest.raises(AdapterError, match=words):
        adapters.load_state_dict(change({name: torch.ones_like(tensor) for name, tensor in before.items()}))
    assert all(torch.equal(tensor, before[name]) for name, tensor in adapters.state_dict().items())


def test_size_and_description(make_model: MakeModel) -> None:
    adapters = attach(make_model("vit"), AdapterConfig(), seed=1)
    per_layer = 3 * (48 + 2 * 48) + 3 * (32 + 2 * 32)  # w * d_in + n * w * d_out for q, k and v
    assert adapters.n_parameters == 3 * per_layer == sum(p.numel() for p in adapters.parameters())
    assert adapters.n_bytes == 4 * adapters.n_parameters
    words = "18 matrices (q, k, v in 3 of 3 image layers and 3 of 3 text layers), rank 2, blocks 2, width 1: 2,160 numbers, 8 KB"
    assert adapters.describe() == words


@pytest.mark.parametrize(
    ("name", "image_layers", "widths"),
    [
        ("ViT-B-32", 12, (768, 512)),
        ("ViT-B-16", 12, (768, 512)),
        ("coca_ViT-B-32", 12, (768, 512)),
        ("ViT-B-32-SigLIP2-256", 12, (768, 768)),
        ("EVA02-B-16", 12, (768, 512)),
        ("MobileCLIP2-S0", 2, (512, 512)),
    ],
)
def test_real_models_have_what_the_tiny_ones_stand_for(name: str, image_layers: int, widths: tuple[int, int]) -> None:
    """open_clip's own configurations, without memory for their weights."""
    with torch.device("meta"):
        model = build_model(open_clip.get_model_config(name))
    adapters = attach(model, AdapterConfig(), seed=1)
    assert adapters.n_layers == {"image": image_layers, "text": 12}
    assert adapters.n_parameters == 3 * 3 * (image_layers * widths[0] + 12 * widths[1])
    assert adapters.n_bytes < 700_000, "a few hundred KB at default"


def test_a_convolutional_tower_is_refused_and_the_text_tower_alone_is_not() -> None:
    cfg = {**FAMILIES["vit"], "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8, "image_size": 32}}
    model = build_model(cfg)
    with pytest.raises(NothingToAdapt, match=r"image tower of this model \(ModifiedResNet\).*in_proj_weight.*qkv.*q_proj") as caught:
        attach(model, AdapterConfig(), seed=1)
    assert "only the text tower" in caught.value.advice
    assert len(attach(model, AdapterConfig(towers=("text",)), seed=1).blocks) == 9


def test_a_model_without_towers_is_refused() -> None:
    with pytest.raises(NothingToAdapt, match=r"image tower of this model is missing.*Looked for"):
        attach(nn.Linear(3, 3), AdapterConfig(), seed=1)


def test_projections_that_do_not_exist_are_refused() -> None:
    model = nn.Module()
    model.visual = nn.Module()
    model.visual.block = nn.Module()
    model.visual.block.attn = timm_attention = Attention(8, 2)
    with pytest.raises(NothingToAdapt, match=r"asked for \(mlp\)"):
        attach(model, AdapterConfig(towers=("image",), targets=("mlp",)), seed=1)
    assert timm_attention.fused_attn


def test_a_refused_model_is_left_as_it_was(make_model: MakeModel) -> None:
    cfg = {**FAMILIES["vit"], "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8, "image_size": 32}}
    model = build_model(cfg).requires_grad_(True)
    with pytest.raises(NothingToAdapt):
        attach(model, AdapterConfig(towers=("text", "image")), seed=1)
    assert not any(isinstance(module, AdaptedRows) for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_gradients_come_back_on_after_detach(make_model: MakeModel) -> None:
    model = make_model("vit").requires_grad_(True)
    adapters = attach(model, AdapterConfig(), seed=1)
    assert sum(p.requires_grad for p in model.parameters()) == len(adapters.parameters())
    adapters.detach()
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_adapters_are_attached_once_and_taken_off_once(make_model: MakeModel) -> None:
    model = make_model("vit")
    adapters = attach(model, AdapterConfig(), seed=1)
    with pytest.raises(RuntimeError, match="carries adapters already"):
        attach(model, AdapterConfig(), seed=1)
    adapters.merge()
    with pytest.raises(RuntimeError, match="already merged or detached"):
        adapters.detach()
    attach(model, AdapterConfig(), seed=1)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("kind", ["none", "float", "bool", "per-head"])
def test_attention_agrees_with_torch_for_every_mask(batch_first: bool, kind: str) -> None:
    torch.manual_seed(0)
    n, length, width, heads = 2, 5, 12, 3
    frozen = nn.MultiheadAttention(width, heads, batch_first=batch_first)
    nn.init.normal_(frozen.in_proj_bias)
    x = torch.randn(n, length, width)
    causal = torch.ones(length, length, dtype=torch.bool).triu(1)
    additive = torch.zeros(length, length).masked_fill(causal, float("-inf"))
    mask = {"none": None, "float": additive, "bool": causal, "per-head": torch.randn(n * heads, length, length)}[kind]
    own = AdaptedAttention(frozen, AdaptedRows({"q": BlockLoRA(width, width, AdapterConfig())}, ("q", "k", "v"), 0.0), None)
    x = x if batch_first else x.transpose(0, 1)
    torch.testing.assert_close(
        own(x, x, x, need_weights=False, attn_mask=mask)[0], frozen(x, x, x, need_weights=False, attn_mask=mask)[0], rtol=0, atol=1e-6
    )


def test_attention_over_other_tokens_is_a_bug() -> None:
    own = AdaptedAttention(nn.MultiheadAttention(8, 2, batch_first=True), None, None)
    x = torch.randn(1, 3, 8)
    with pytest.raises(ValueError, match="self-attention"):
        own(x, x.clone(), x)
    with pytest.raises(ValueError, match="self-attention"):
        own(x, x, x, need_weights=True)
