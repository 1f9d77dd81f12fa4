"""Against the outside: n = 1 is LoRA as PEFT trains it, and Block(r, n) is the LoRA of rank r / n that facts and paper predict.

In double precision, step by step through AdamW, on whole CLIP models.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny_towers import images, tokens
from torch import nn
from torch.nn import functional as F

from blocklora.clip.prompts import image_features
from blocklora.config import AdapterConfig
from blocklora.lora.adapters import Adapters
from blocklora.lora.attach import attach

MakeModel = Callable[[str], nn.Module]
STEPS = 8


class SplitAttention(nn.Module):
    """nn.MultiheadAttention as four linear maps that PEFT can find, after the textbook and not after this repository."""

    def __init__(self, packed: nn.MultiheadAttention) -> None:
        super().__init__()
        self.heads = packed.num_heads
        weights, biases = packed.in_proj_weight.chunk(3), packed.in_proj_bias.chunk(3)
        for name, weight, bias in zip("qkv", weights, biases, strict=True):
            linear = nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
            linear.weight.data, linear.bias.data = weight.data.clone(), bias.data.clone()
            setattr(self, f"{name}_lin", linear)
        self.o_lin = copy.deepcopy(packed.out_proj)

    def forward(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, need_weights: bool = False, attn_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, None]:
        n, length, width = query.shape
        q, k, v = (
            linear(x).view(n, length, self.heads, -1).transpose(1, 2)
            for linear, x in ((self.q_lin, query), (self.k_lin, key), (self.v_lin, value))
        )
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask)
        return self.o_lin(mixed.transpose(1, 2).reshape(n, length, width)), None


def loss_of(model: nn.Module, family: str) -> torch.Tensor:
    text = F.normalize(model.encode_text(tokens()), dim=-1)
    pictures = F.normalize(model.encode_image(images(family).double()), dim=-1)
    return F.cross_entropy(20 * pictures @ text.T, torch.tensor([0, 2, 1]))


def adamw(parameters: Iterable[nn.Parameter], eps: float = 1e-8) -> torch.optim.AdamW:
    return torch.optim.AdamW(list(parameters), lr=5e-3, betas=(0.9, 0.999), weight_decay=1e-2, eps=eps)


def step(model: nn.Module, family: str, optimiser: torch.optim.Optimizer) -> float:
    optimiser.zero_grad()
    loss = loss_of(model, family)
    loss.backward()
    optimiser.step()
    return loss.item()


def in_double(make_model: MakeModel, family: str, config: AdapterConfig) -> tuple[nn.Module, Adapters]:
    model = make_model(family)
    adapters = attach(model, config, seed=5)
    return model.double(), adapters


def peft_twin(model: nn.Module, names: dict[str, str], config: AdapterConfig, adapters: Adapters) -> tuple[nn.Module, dict[str, nn.Module]]:
    """`model` under PEFT with the same rank, scale and starting A; and PEFT's layers by this repository's names."""
    settings = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]
        lora_dropout=0.0,
        use_rslora=config.scaling == "sqrt",
        target_modules=sorted(names),
    )
    twin = get_peft_model(model.double(), settings).base_model.model
    layers = {ours: twin.get_submodule(theirs) for theirs, ours in names.items()}
    with torch.no_grad():
        for ours, layer in layers.items():
            layer.lora_A["default"].weight.data = adapters.blocks[ours].A.detach().clone()
            layer.lora_B["default"].weight.data = adapters.blocks[ours].B[0].detach().clone()
    return twin, layers


def assert_trains_like_peft(make_model: MakeModel, family: str, twin: nn.Module, names: dict[str, str], config: AdapterConfig) -> None:
    model, adapters = in_double(make_model, family, config)
    assert sorted(names.values()) == sorted(adapters.blocks)
    twin, layers = peft_twin(twin, names, config, adapters)
    ours, theirs = adamw(adapters.parameters()), adamw(p for p in twin.parameters() if p.requires_grad)
    losses = []
    for _ in range(STEPS):
        losses.append(step(model, family, ours))
        assert step(twin, family, theirs) == pytest.approx(losses[-1], abs=1e-10)
        for name, layer in layers.items():
            torch.testing.assert_close(adapters.blocks[name].A, layer.lora_A["default"].weight, rtol=0, atol=1e-9)
            torch.testing.assert_close(adapters.blocks[name].B[0], layer.lora_B["default"].weight, rtol=0, atol=1e-9)
    assert losses[-1] < losses[0] - 1e-2, "nothing was learnt, so nothing was compared"


@pytest.mark.parametrize(("scaling", "rank"), [("sqrt", 4), ("linear", 2)])
def test_one_block_trains_like_peft_in_multihead_towers(make_model: MakeModel, scaling: str, rank: int) -> None:
    twin, names = make_model("vit"), {}
    for tower, blocks in (("image", twin.visual.transformer.resblocks), ("text", twin.transformer.resblocks)):
        path = "visual.transformer.resblocks" if tower == "image" else "transformer.resblocks"
        for i, layer in enumerate(blocks):
            layer.attn = SplitAttention(layer.attn)
            names.update({f"{path}.{i}.attn.{p}_lin": f"{tower}.{i}.{p}" for p in "qkvo"})
            names.update({f"{path}.{i}.mlp.{p}": f"{tower}.{i}.mlp.{p}" for p in ("c_fc", "c_proj")})
    config = AdapterConfig(rank=rank, blocks=1, alpha=2.0, scaling=scaling, dropout=0.0, targets=("q", "k", "v", "o", "mlp"))
    assert_trains_like_peft(make_model, "vit", twin, names, config)


def test_one_block_trains_like_peft_in_timm_towers(make_model: MakeModel) -> None:
    names = {f"visual.trunk.blocks.{i}.attn.{p}_proj": f"image.{i}.{p}" for i in range(3) for p in "qkv"}
    config = AdapterConfig(rank=2, blocks=1, alpha=2.0, dropout=0.0, towers=("image",))
    assert_trains_like_peft(make_model, "eva02", make_model("eva02"), names, config)


@pytest.mark.parametrize(("rank", "blocks"), [(4, 2), (8, 4), (2, 2)])
@pytest.mark.parametrize("scaling", ["linear", "sqrt"])
def test_block_lora_is_the_collapsed_lora(make_model: MakeModel, rank: int, blocks: int, scaling: str) -> None:
    """Each arm walks as the one of LoRA(r / n) does, at the same learning rate; with alpha/sqrt(r) that LoRA has sqrt(n) times alpha."""
    wide = AdapterConfig(rank=rank, blocks=blocks, alpha=2.0, scaling=scaling, dropout=0.0)
    alpha = 2.0 * (math.sqrt(blocks) if scaling == "sqrt" else 1.0)
    narrow = AdapterConfig(rank=rank // blocks, blocks=1, alpha=alpha, scaling=scaling, dropout=0.0)
    (a, block), (b, lora) = in_double(make_model, "vit", wide), in_double(make_model, "vit", narrow)
    # A tiny epsilon: AdamW is otherwise not quite indifferent to the size of gradients, which is all that differs.
    one, other = adamw(block.parameters(), eps=1e-20), adamw(lora.parameters(), eps=1e-20)
    losses = []
    for _ in range(STEPS):
        losses.append(step(a, "vit", one))
        assert step(b, "vit", other) == pytest.approx(losses[-1], abs=1e-8)
        for name, part in block.blocks.items():
            torch.testing.assert_close(part.A, lora.blocks[name].A, rtol=0, atol=1e-8)
            for arm in part.B:
                torch.testing.assert_close(arm, lora.blocks[name].B[0], rtol=0, atol=1e-8)
    assert losses[-1] < losses[0] - 1e-2, "nothing was learnt, so nothing was compared"


def test_only_the_sum_of_the_starting_arms_matters(make_model: MakeModel) -> None:
    config = AdapterConfig(rank=2, blocks=2, alpha=2.0, dropout=0.0)
    (a, even), (b, uneven) = in_double(make_model, "vit", config), in_double(make_model, "vit", config)
    with torch.no_grad():
        for part in uneven.blocks.values():
            part.B[0] += 0.1
            part.B[1] -= 0.1
    settings = {"lr": 5e-3, "weight_decay": 0.0}  # decay pulls each arm to zero and is the one thing that sees the arms apart
    one, other = torch.optim.AdamW(even.parameters(), **settings), torch.optim.AdamW(uneven.parameters(), **settings)
    for _ in range(STEPS):
        assert step(a, "vit", one) == pytest.approx(step(b, "vit", other), abs=1e-10)


def test_default_features_are_normalised(make_model: MakeModel) -> None:
    lengths = image_features(make_model("vit"), images("vit")).norm(dim=-1)
    torch.testing.assert_close(lengths, torch.ones(3))
