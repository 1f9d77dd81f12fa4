"""Adapters by module names: on what is named and nothing else, exact when merged, and gone without a trace when detached."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from blocklora.config import AdapterConfig
from blocklora.errors import NothingToAdapt
from blocklora.lora.by_name import attach_by_name


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.query, self.output = nn.Linear(8, 24), nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        found: torch.Tensor = self.output(torch.tanh(q + self.query(x)) * k + v)
        return found


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.self_attn, self.cross_self_attn = Attention(), Attention()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.cross_self_attn(self.self_attn(x))
        return found


NAMES = {"self_attn.qkv": ("q", "k", "v"), "self_attn.query": ("q",)}


def test_whole_parts_of_names_count() -> None:
    adapters = attach_by_name(Model(), NAMES, AdapterConfig(targets=("q", "v")), seed=1)
    assert list(adapters.blocks) == ["self_attn.qkv.q", "self_attn.qkv.v", "self_attn.query.q"]


def test_trained_adapters_merge_exactly_and_leave_no_trace() -> None:
    model, x = Model(), torch.randn(5, 8)
    with torch.no_grad():
        before = model(x)
    kinds = [type(module) for module in model.modules()]
    adapters = attach_by_name(model, NAMES, AdapterConfig(rank=4, blocks=2, alpha=4.0, dropout=0.0), seed=1)
    with torch.no_grad():
        assert torch.equal(model(x), before)
        for name, parameter in adapters.named_parameters():
            if name.endswith(".B"):
                parameter.normal_(std=0.3)
    model(x).square().sum().backward()
    assert {id(p) for p in model.parameters() if p.grad is not None} == {id(p) for p in adapters.parameters()}
    with torch.no_grad():
        adapted = model(x)
        adapters.merge()
        torch.testing.assert_close(model(x), adapted, atol=1e-5, rtol=1e-5)
    assert (adapted - before).abs().max() > 1e-2 and [type(module) for module in model.modules()] == kinds
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_what_is_not_there_is_said() -> None:
    model = Model()
    with pytest.raises(NothingToAdapt, match=r"elsewhere\.qkv"):
        attach_by_name(model, {"elsewhere.qkv": ("q", "k", "v")}, AdapterConfig(), seed=1)
    with pytest.raises(NothingToAdapt, match="8 rows, which are not 3"):
        attach_by_name(model, {"qkv": ("q", "k", "v"), "query": ("q", "k", "v")}, AdapterConfig(), seed=1)
    attach_by_name(model, NAMES, AdapterConfig(), seed=1)  # the failed tries left nothing behind
    with pytest.raises(RuntimeError, match="already"):
        attach_by_name(model, NAMES, AdapterConfig(), seed=1)
