"""The adapter file: safetensors whose metadata says everything that is needed to use it again, except the base model itself.

Layout: the tensors of `Adapters.state_dict` ("image.11.q.A", ...), optionally "class_weights" (C, D), the final class
weights, and other tensors that a run keeps; and three metadata strings: "format" (always "blocklora-adapter"), "format_version"
and "meta", the fields of `AdapterMeta` as JSON. Never pickle.
"""

from __future__ import annotations

import dataclasses
import json
import struct
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

import safetensors.torch
import torch
from safetensors import SafetensorError

from blocklora.config import AdapterConfig, from_dict
from blocklora.errors import AdapterError, StudioError
from blocklora.files import write_atomic
from blocklora.preprocess import Preprocess

FORMAT = "blocklora-adapter"
FORMAT_VERSION = 1
MAX_BYTES = 1 << 30
CLASS_WEIGHTS = "class_weights"
CLASS_WEIGHTS_MODES = ("text", "images", "blend")


class BaseModel(Protocol):
    """What is needed of a backbone to tell whether an adapter belongs to it."""

    name: str
    weights_hash: str


@dataclass(frozen=True)
class AdapterMeta:
    """What an adapter file says about itself.

    `adapter` and `preprocess` are `AdapterConfig` and `Preprocess` as JSON values. Logits are
    logit_scale / temperature * (image features) @ (class weights)^T, with normalised image features.
    """

    base_model: str
    weights_hash: str
    adapter: dict[str, Any]
    classes: list[str]
    class_ids: list[str]
    templates: list[str]
    class_weights_mode: str
    preprocess: dict[str, Any]
    logit_scale: float = 100.0
    temperature: float = 1.0
    metrics: dict[str, Any] = field(default_factory=dict)
    created: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    versions: dict[str, str] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    @property
    def config(self) -> AdapterConfig:
        return from_dict(AdapterConfig, self.adapter)


@dataclass(frozen=True)
class PlainLoRA:
    """One projection's update as an ordinary LoRA: W + scale * B @ A, with A (w, d_in) and B (d_out, w)."""

    A: torch.Tensor
    B: torch.Tensor
    scale: float


def save_adapter(path: Path, tensors: dict[str, torch.Tensor], meta: AdapterMeta) -> None:
    """Write an adapter file, whole or not at all.

    Raises:
        AdapterError: the metadata contradicts itself or the tensors.
    """
    _check(tensors, meta, path)
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    words = {
        "format": FORMAT,
        "format_version": str(meta.format_version),
        "meta": json.dumps(dataclasses.asdict(meta), ensure_ascii=False, allow_nan=False),
    }
    write_atomic(path, safetensors.torch.save(plain, metadata=words))


def load_adapter(path: Path) -> tuple[dict[str, torch.Tensor], AdapterMeta]:
    """The tensors and the metadata of an adapter file.

    Raises:
        AdapterError: there is no such file, it is damaged or too large, not an adapter, or of a version that is not known.
    """
    if not path.is_file():
        raise AdapterError(f"There is no adapter file at {path}.", "Choose a run that has finished.")
    if path.stat().st_size > MAX_BYTES:
        raise AdapterError(
            f"{path.name} has {path.stat().st_size:,} bytes; an adapter file has at most {MAX_BYTES:,}.", "Choose an adapter file."
        )
    data = path.read_bytes()
    meta = _read_meta(data, path)
    try:
        tensors = safetensors.torch.load(data)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise _damaged(path) from error
    _check(tensors, meta, path)
    return tensors, meta


def read_meta(path: Path) -> AdapterMeta:
    """Only the metadata of an adapter file, for lists of runs.

    Raises:
        AdapterError: as `load_adapter`.
    """
    return load_adapter(path)[1]


def check_base(meta: AdapterMeta, backbone: BaseModel) -> None:
    """Hold an adapter against the base model it is to be used with: the weights must be the very same.

    Raises:
        AdapterError: they are not; names both.
    """
    if meta.weights_hash != backbone.weights_hash:
        raise AdapterError(
            f"This adapter was trained on {meta.base_model} (weights {meta.weights_hash[:12]}), "
            f"but the model in use is {backbone.name} (weights {backbone.weights_hash[:12]}).",
            f"Use it with {meta.base_model}, or train again.",
        )


def as_plain_lora(tensors: dict[str, torch.Tensor], config: AdapterConfig) -> dict[str, PlainLoRA]:
    """Every projection's update as an ordinary LoRA of rank w that other tools can apply, by "<tower>.<layer>.<projection>".

    Exact: the arms only ever act through their sum (`blocklora.lora.block`).
    """
    names = [name[: -len(".A")] for name in tensors if name.endswith(".A")]
    return {name: PlainLoRA(tensors[f"{name}.A"], tensors[f"{name}.B"].sum(0), config.scale) for name in names}


def _damaged(path: Path) -> AdapterError:
    return AdapterError(f"{path.name} is damaged or not an adapter file.", "Restore it from a copy, or train again.")


def _read_meta(data: bytes, path: Path) -> AdapterMeta:
    """The metadata in the file's header: 8 bytes of length, then JSON (the safetensors format)."""
    try:
        (length,) = struct.unpack("<Q", data[:8])
        words = json.loads(data[8 : 8 + length]).get("__metadata__", {})
        if words.get("format") != FORMAT:
            raise AdapterError(f"{path.name} is a safetensors file, but not an adapter of this program.", "Choose an adapter.safetensors.")
        version = int(words["format_version"])
        if version != FORMAT_VERSION:
            raise AdapterError(
                f"{path.name} is an adapter of format version {version}; this program reads version {FORMAT_VERSION}.",
                "Update the program, or train again.",
            )
        meta = AdapterMeta(**json.loads(words["meta"]))
        _check_types(meta)
        from_dict(AdapterConfig, meta.adapter)
        Preprocess.from_dict(meta.preprocess)
        return meta
    except StudioError:
        raise
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, OverflowError, MemoryError) as error:
        raise _damaged(path) from error


def _check_types(meta: AdapterMeta) -> None:
    """Hold what came from a file against the types that `AdapterMeta` states.

    Raises:
        TypeError: a value is of another type.
    """
    lists = (meta.classes, meta.class_ids, meta.templates)
    words = (meta.base_model, meta.weights_hash, meta.class_weights_mode, meta.created)
    good = (
        all(isinstance(values, list) and all(isinstance(value, str) for value in values) for values in lists)
        and all(isinstance(value, str) for value in words)
        and all(isinstance(value, (int, float)) for value in (meta.temperature, meta.logit_scale))
        and all(isinstance(value, dict) for value in (meta.adapter, meta.preprocess, meta.metrics, meta.versions))
    )
    if not good:
        raise TypeError("a value in the adapter's metadata has the wrong type")


def _check(tensors: dict[str, torch.Tensor], meta: AdapterMeta, path: Path) -> None:
    """What must hold between metadata and tensors, when writing and when reading."""
    wrong = None
    if not meta.classes or len(meta.classes) != len(meta.class_ids):
        wrong = f"{len(meta.classes)} class names and {len(meta.class_ids)} class ids"
    elif meta.class_weights_mode not in CLASS_WEIGHTS_MODES:
        wrong = f"class weights from {meta.class_weights_mode!r} (known: {', '.join(CLASS_WEIGHTS_MODES)})"
    elif not (meta.temperature > 0 and meta.logit_scale > 0):
        wrong = f"temperature {meta.temperature} and logit scale {meta.logit_scale}; both must be above 0"
    elif CLASS_WEIGHTS in tensors and (tensors[CLASS_WEIGHTS].ndim != 2 or tensors[CLASS_WEIGHTS].shape[0] != len(meta.classes)):
        wrong = f"class weights of shape {tuple(tensors[CLASS_WEIGHTS].shape)} for {len(meta.classes)} classes"
    else:
        wrong = next((f"{name} with numbers that are not finite" for name, t in tensors.items() if not torch.isfinite(t).all()), None)
    if wrong:
        raise AdapterError(f"{path.name} has {wrong}.", "Train again.")
