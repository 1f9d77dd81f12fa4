"""The class weights of a run as a file of their own, for the forms that leave classifying to the reader."""

from __future__ import annotations

import json
import struct

import safetensors.torch
import torch

from blocklora.lora.adapter_file import CLASS_WEIGHTS, AdapterMeta

FILE_NAME = "class_weights.safetensors"

READING = f"""\
with safe_open("{FILE_NAME}", "pt") as file:
    class_weights, words = file.get_tensor("{CLASS_WEIGHTS}"), file.metadata()  # (classes, dimensions)
labels = json.loads(words["labels"])
scale = float(words["logit_scale"]) / float(words["temperature"])"""
"""Lines that read the file, for a README; they need `json` and safetensors' `safe_open`."""


ANSWERING = """\
features = features / features.norm(dim=-1, keepdim=True)
probabilities = (scale * features @ class_weights.T).softmax(dim=-1)  # (pictures, classes)
print(labels[int(probabilities[0].argmax())], float(probabilities[0].max()))"""
"""Lines that go from image features (pictures, dimensions) to an answer."""


def features_lines(encoding: str, turns: int) -> str:
    """Lines of a block that make `features` of `pixels`, for a README; `encoding` is the expression, with {} where the pictures go."""
    if turns == 1:
        return f"    features = {encoding.format('pixels')}"
    turned = encoding.format("pixels.rot90(quarters, (2, 3))")
    return f"""\
    looks = [{turned} for quarters in range({turns})]
    features = sum(look / look.norm(dim=-1, keepdim=True) for look in looks)  # this model looks at a picture in all four quarter turns"""


def class_weights_bytes(class_weights: torch.Tensor, meta: AdapterMeta) -> bytes:
    """A safetensors file: "class_weights" (C, D) float32, and in its metadata labels, scale, temperature and how pictures are prepared."""
    words = {
        "labels": json.dumps(meta.classes, ensure_ascii=False),
        "class_ids": json.dumps(meta.class_ids, ensure_ascii=False),
        "templates": json.dumps(meta.templates, ensure_ascii=False),
        "preprocess": json.dumps(meta.preprocess),
        "class_weights_mode": meta.class_weights_mode,
        "logit_scale": repr(float(meta.logit_scale)),
        "temperature": repr(float(meta.temperature)),
        "base_weights_sha256": meta.weights_hash,
    }
    return _in_order(safetensors.torch.save({CLASS_WEIGHTS: class_weights.detach().float().contiguous()}, metadata=words))


def _in_order(data: bytes) -> bytes:
    """The same safetensors file with its header sorted: the library writes metadata in another order every time."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.dumps(json.loads(data[8 : 8 + length]), ensure_ascii=False, sort_keys=True).encode("utf-8")
    header += b" " * (-len(header) % 8)  # tensors begin at a multiple of eight
    return struct.pack("<Q", len(header)) + header + data[8 + length :]
