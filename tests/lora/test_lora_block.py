"""The update itself: numbers worked out by hand, its cost, its dropout, and its start."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from blocklora.config import AdapterConfig
from blocklora.lora.block import AdaptedRows, BlockLoRA, drop
from blocklora.lora.layers import AdaptedLinear, AdaptedPointwise

# r = 2 in n = 2 blocks, so w = 1; alpha / r = 1.5.
BY_HAND = AdapterConfig(rank=2, blocks=2, alpha=3.0, scaling="linear", dropout=0.0)


def block(a: list[list[float]], arms: list[list[list[float]]], config: AdapterConfig = BY_HAND) -> BlockLoRA:
    made = BlockLoRA(len(a[0]), len(arms[0]), config)
    with torch.no_grad():
        made.A.copy_(torch.tensor(a))
        made.B.copy_(torch.tensor(arms))
    return made


def test_numbers_by_hand() -> None:
    # A x = 1*1 + 2*1 = 3; B_1 + B_2 = (3, -1); 1.5 * 3 * (3, -1) = (13.5, -4.5); W x + b = (11, 21).
    delta = block([[1.0, 2.0]], [[[1.0], [0.0]], [[2.0], [-1.0]]])
    base = nn.Linear(2, 2)
    base.weight.data, base.bias.data = torch.eye(2), torch.tensor([10.0, 20.0])
    adapted = AdaptedLinear(base, AdaptedRows({"o": delta}, ("o",), 0.0))
    x = torch.tensor([[[1.0, 1.0]]])
    assert delta(x).tolist() == [[[13.5, -4.5]]]
    assert adapted(x).tolist() == [[[24.5, 16.5]]]
    assert delta.dense().tolist() == [[4.5, 9.0], [-1.5, -3.0]]


def test_packed_rows_by_hand() -> None:
    """q and v adapted in a packed weight of three projections of two rows each; the rows of k stay as they are."""
    q = block([[1.0, 0.0]], [[[1.0], [2.0]], [[1.0], [0.0]]])  # sum (2, 2), A x = 1, times 1.5: (3, 3)
    v = block([[0.0, 1.0]], [[[0.0], [1.0]], [[-1.0], [0.0]]])  # sum (-1, 1), A x = 10, times 1.5: (-15, 15)
    rows = AdaptedRows({"q": q, "v": v}, ("q", "k", "v"), 0.0)
    base = torch.tensor([[100.0, 200.0, 300.0, 400.0, 500.0, 600.0]])
    assert rows(torch.tensor([[1.0, 10.0]]), base).tolist() == [[103.0, 203.0, 300.0, 400.0, 485.0, 615.0]]
    weight = torch.zeros(6, 2)
    rows.fold_into(weight)
    assert weight.tolist() == [[3.0, 0.0], [3.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, -1.5], [0.0, 1.5]]


def test_pointwise_convolution_is_a_linear_map_of_channels() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(5, 4, 1)
    config = AdapterConfig(rank=2, blocks=2)
    delta = BlockLoRA(5, 4, config)
    nn.init.normal_(delta.B)
    adapted = AdaptedPointwise(conv, AdaptedRows({"mlp": delta}, ("mlp",), 0.0))
    x = torch.randn(2, 5, 3, 3)
    expected = nn.functional.conv2d(x, conv.weight + delta.dense()[:, :, None, None], conv.bias)
    torch.testing.assert_close(adapted(x), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("rank", "blocks", "width"), [(2, 2, 1), (4, 1, 4), (8, 2, 4), (2, 4, 1), (2, 8, 1), (6, 3, 2)])
def test_shapes_and_size(rank: int, blocks: int, width: int) -> None:
    delta = BlockLoRA(20, 30, AdapterConfig(rank=rank, blocks=blocks))
    assert delta.A.shape == (width, 20)
    assert delta.B.shape == (blocks, 30, width)
    assert sum(p.numel() for p in delta.parameters()) == width * 20 + blocks * width * 30


@pytest.mark.parametrize(("scaling", "scale"), [("sqrt", 3.0 / 2.0), ("linear", 3.0 / 4.0)])
def test_scaling_rules(scaling: str, scale: float) -> None:
    assert BlockLoRA(3, 3, AdapterConfig(rank=4, blocks=2, alpha=3.0, scaling=scaling)).scale == pytest.approx(scale)


def test_start_is_kaiming_uniform_and_zero() -> None:
    delta = BlockLoRA(512, 64, AdapterConfig(rank=8, blocks=1), torch.Generator().manual_seed(1))
    bound = math.sqrt(6 / ((1 + 5) * 512))  # gain^2 * 3 / fan_in with a = sqrt(5)
    assert delta.A.abs().max() <= bound
    assert delta.A.abs().max() > 0.98 * bound
    assert delta.A.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert not delta.B.any()


class Recorder(TorchDispatchMode):
    """Writes down every operation with the shape of what it makes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, tuple[int, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.seen.append((func.__name__, tuple(tensor.shape)))
        return out


def operations(blocks: int, dense: bool = False) -> list[tuple[str, tuple[int, ...]]]:
    """All operations of a forward and a backward pass through a packed layer, 24 -> 3 * 20, with three adapted projections."""
    torch.manual_seed(0)
    config = AdapterConfig(rank=2, blocks=blocks)
    deltas = {name: BlockLoRA(24, 20, config) for name in "qkv"}
    rows = AdaptedRows(deltas, ("q", "k", "v"), 0.25)
    base = nn.Linear(24, 60).requires_grad_(False)
    x = torch.randn(2, 7, 24, requires_grad=True)
    with Recorder() as recorder:
        if dense:
            out = base(x) + x @ torch.cat([delta.dense() for delta in deltas.values()]).T
        else:
            out = rows.train(True)(x, base(x))
        out.square().sum().backward()
    return recorder.seen


def matrices(seen: list[tuple[str, tuple[int, ...]]]) -> set[str]:
    """Operations that made something of the shape of a projection or of all three, either way up."""
    return {name for name, shape in seen if set(shape) in ({20, 24}, {60, 24})}


def test_training_never_makes_a_dense_delta() -> None:
    assert matrices(operations(2)) == {"t.default"}, "only the frozen weight's own transposed view has that shape"
    assert "mm.default" in matrices(operations(2, dense=True)), "the reader would not notice a dense delta"


def test_work_does_not_grow_with_the_arms() -> None:
    """One sum takes all arms: the operations are the same for 2 and for 16 of them."""
    few, many = operations(2), operations(16)
    assert [name for name, _ in few] == [name for name, _ in many]


def test_dropout_touches_the_adapters_input_only() -> None:
    torch.manual_seed(0)
    delta = BlockLoRA(64, 8, AdapterConfig(rank=1, blocks=1))
    rows = AdaptedRows({"o": delta}, ("o",), 0.5)
    x, base = torch.randn(4, 64), torch.randn(4, 8)
    assert torch.equal(rows.train(True)(x, base), base)  # B is zero: what is dropped does not reach the frozen path
    nn.init.normal_(delta.B)
    torch.testing.assert_close(rows.eval()(x, base), base + delta(x))
    assert not torch.allclose(rows.train(True)(x, base), base + delta(x))
    mean = torch.stack([rows(x, base) for _ in range(4000)]).mean(dim=0)  # dropout keeps the expectation
    torch.testing.assert_close(mean, base + delta(x), rtol=0, atol=0.1)


def test_projections_of_a_layer_share_one_mask() -> None:
    torch.manual_seed(0)
    twin = BlockLoRA(64, 8, AdapterConfig(rank=1, blocks=1))
    nn.init.normal_(twin.B)
    other = BlockLoRA(64, 8, AdapterConfig(rank=1, blocks=1))
    other.load_state_dict(twin.state_dict())
    rows = AdaptedRows({"q": twin, "k": other}, ("q", "k", "v"), 0.5).train(True)
    q, k, v = rows(torch.randn(4, 64), torch.zeros(4, 24)).chunk(3, dim=1)
    torch.testing.assert_close(q, k)
    assert q.abs().min() > 0
    assert not v.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_folds_into_half_precision_in_one_rounding(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    delta = BlockLoRA(6, 5, AdapterConfig(rank=2, blocks=2))
    nn.init.normal_(delta.B)
    weight = torch.randn(5, 6).to(dtype)
    expected = (weight.float() + delta.dense()).to(dtype)
    AdaptedRows({"o": delta}, ("o",), 0.0).fold_into(weight)
    assert torch.equal(weight, expected)


def test_a_frozen_model_in_bf16_needs_no_autocast() -> None:
    torch.manual_seed(0)
    delta = BlockLoRA(6, 5, AdapterConfig(rank=2, blocks=2))
    nn.init.normal_(delta.B)
    layer = AdaptedLinear(nn.Linear(6, 5).bfloat16().requires_grad_(False), AdaptedRows({"o": delta}, ("o",), 0.0))
    out = layer(torch.randn(3, 6, dtype=torch.bfloat16))
    out.float().sum().backward()
    assert out.dtype == torch.bfloat16
    assert delta.A.grad is not None and delta.A.grad.dtype == torch.float32


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropped_entries_are_as_many_as_asked_for_and_drawn_anew(share: float, dtype: torch.dtype) -> None:
    x = torch.ones(31, 1003, dtype=dtype, requires_grad=True)  # not a multiple of eight
    torch.manual_seed(0)
    first, gain = drop(x, share)
    second, _ = drop(x, share)
    gone = first == 0
    assert abs(gone.float().mean().item() - share) < 0.01
    assert bool((first[~gone] == 1).all()) and gain == pytest.approx(1 / (1 - share), rel=0.02)
    both = (gone & (second == 0)).float().mean().item()
    assert abs(both - share**2) < 0.01  # one draw says nothing of the next
    torch.manual_seed(0)
    assert torch.equal(drop(x, share)[0], first)
    first.float().sum().backward()
    assert x.grad is not None and torch.equal(x.grad == 0, gone)
