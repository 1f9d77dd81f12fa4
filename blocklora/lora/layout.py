"""Where in a CLIP model adapters can attach: its towers, their transformer layers in order, and the kind of each attention.

Recognised by what a module has, not by which library it comes from:

- "multihead": nn.MultiheadAttention with q, k and v packed in one `in_proj_weight` (open_clip's own towers, CoCa);
- "normed": the same packed weight in open_clip's own attention module (towers with normalised q and k or scaled heads);
- "packed": an attention with a `qkv` Linear and a `proj` (timm ViT, SigLIP, MobileCLIP's attention stages, EVA-01);
- "separate": an attention with `q_proj`, `k_proj`, `v_proj` and `proj` (EVA-02).

Attention that pools tokens into one vector (a module called "...pool...") is left alone: it is no transformer layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from blocklora.errors import NothingToAdapt

LOOKED_FOR = (
    "nn.MultiheadAttention or open_clip's Attention with packed in_proj_weight, an attention with a qkv Linear and a proj, "
    "or one with q_proj, k_proj, v_proj and proj"
)
MLP_NAMES = ("c_fc", "c_proj", "fc1", "fc1_g", "fc1_x", "fc2")


@dataclass(frozen=True)
class Layer:
    """One transformer layer of a tower: its attention (and where it hangs) and its MLP's linear maps."""

    tower: str
    index: int
    kind: str
    parent: nn.Module
    name: str
    mlp: nn.Module | None

    @property
    def attention(self) -> Any:
        """The attention module; which attributes it has depends on `kind`."""
        return getattr(self.parent, self.name)

    @property
    def mlp_names(self) -> tuple[str, ...]:
        """Names of the MLP's linear maps that an adapter can wrap, in order."""
        return tuple(name for name in MLP_NAMES if self.mlp is not None and _is_linear_map(getattr(self.mlp, name, None)))


def _is_linear_map(module: object) -> bool:
    if isinstance(module, nn.Conv2d):
        return module.kernel_size == (1, 1) and module.stride == (1, 1) and module.groups == 1
    return type(module) is nn.Linear


def _kind(module: nn.Module) -> str | None:
    """Which of the four kinds of attention `module` is, or None."""
    if isinstance(module, nn.MultiheadAttention):
        plain = module.in_proj_weight is not None and module.bias_k is None and not module.add_zero_attn and module.dropout == 0.0
        return "multihead" if plain else None
    if all(hasattr(module, name) for name in ("in_proj_weight", "out_proj", "ln_q", "ln_k", "ln_inner", "head_scale")):
        return "normed" if getattr(module, "logit_scale", None) is None else None  # scaled cosine attention is another formula
    if type(getattr(module, "proj", None)) is not nn.Linear:
        return None
    qkv = getattr(module, "qkv", None)
    if type(qkv) is nn.Linear:
        return "packed" if qkv.out_features % 3 == 0 else None
    separate = [getattr(module, f"{letter}_proj", None) for letter in "qkv"]
    return "separate" if all(type(part) is nn.Linear for part in separate) else None


def tower_root(model: nn.Module, tower: str) -> nn.Module | None:
    """The module that holds the "image" or "text" tower of an open_clip model (CLIP, CustomTextCLIP or CoCa)."""
    root = getattr(model, "visual", None) if tower == "image" else getattr(model, "text", None) or getattr(model, "transformer", None)
    return root if isinstance(root, nn.Module) else None


def find_layers(model: nn.Module, tower: str) -> list[Layer]:
    """The transformer layers of a tower, from input to output.

    Raises:
        NothingToAdapt: there are none; names what was looked for and what was found instead.
    """
    root = tower_root(model, tower)
    layers: list[Layer] = []
    if root is not None:
        modules = dict(root.named_modules())
        for path, module in modules.items():
            kind = _kind(module)
            if kind and path and "pool" not in path:
                head, _, name = path.rpartition(".")
                mlp = getattr(modules[head], "mlp", None)
                layers.append(Layer(tower, len(layers), kind, modules[head], name, mlp if isinstance(mlp, nn.Module) else None))
    if not layers:
        found = "is missing" if root is None else f"({_describe(root)}) has no layer that an adapter can attach to"
        other = "text" if tower == "image" else "image"
        raise NothingToAdapt(
            f"The {tower} tower of this model {found}. Looked for: {LOOKED_FOR}.",
            f"Choose another backbone, or adapt only the {other} tower.",
        )
    return layers


def _describe(root: nn.Module) -> str:
    trunk = getattr(root, "trunk", None)
    return type(trunk if isinstance(trunk, nn.Module) else root).__name__
