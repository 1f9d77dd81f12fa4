"""A run's adapter as an ordinary LoRA: what PEFT loads onto transformers' CLIPModel, where the backbone has such a twin.

The arms of Block-LoRA only act through their sum (`blocklora.lora.block`), so A_s and B_1 + ... + B_n are a LoRA of rank w whose
every number is the adapter's own. Adapted projections are listed by their full names: exact for towers of different depth, for the
last layers only, for one tower only.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from blocklora.clip.catalog import WEIGHTS_FILE, config_of, folder_of, known
from blocklora.clip.twins import twin_config, why_no_twin
from blocklora.config import AdapterConfig
from blocklora.errors import ExportError
from blocklora.files import sha256_file
from blocklora.jobs.run_folder import RunFolder
from blocklora.jobs.spec import RunSpec
from blocklora.lora.adapter_file import CLASS_WEIGHTS, AdapterMeta, PlainLoRA, as_plain_lora, check_base
from blocklora.preprocess import Preprocess
from exporters import class_weights_file
from exporters.class_weights_file import ANSWERING, READING, class_weights_bytes, features_lines
from exporters.loading import read_adapter
from exporters.readme import about, base_name, licence_of, plain
from exporters.workplace import sweep
from exporters.zip_file import README, Progress, new_zip

CONFIG_FILE, TENSORS_FILE = "adapter_config.json", "adapter_model.safetensors"
BASE_FILE, PICTURES_FILE = "base_config.json", "preprocessor_config.json"

TOWERS = {"image": "vision_model", "text": "text_model"}
PLACES = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
RESAMPLE = {"bilinear": 2, "bicubic": 3}  # Pillow's numbers


@dataclass
class _Base:
    """The backbone as its files are, without building it: what is written here needs only its shape."""

    name: str
    weights_hash: str


def write_plain_lora(run: RunFolder, target: Path, progress: Progress) -> None:
    """Write the zip at `target`, whole or not at all.

    Raises:
        ExportError: the backbone has no twin in transformers, the run is not finished, or `target` cannot be written.
        StudioError: the run's files are damaged, or its backbone is missing or another one.
    """
    progress("Reading the adapter", 0.05)
    spec = RunSpec.from_dict(run.spec())
    tensors, meta = read_adapter(run)
    folder = folder_of(spec.backbone, Path(spec.home))
    model_cfg = config_of(spec.backbone, Path(spec.home))["model_cfg"]
    _refuse_without_twin(model_cfg, meta)
    check_base(meta, _Base(spec.backbone, _hash(folder)))
    progress("Writing the LoRA", 0.6)
    loras = {peft_name(name): lora for name, lora in sorted(as_plain_lora(tensors, meta.config).items(), key=_place)}
    twin = twin_name(spec.backbone, meta.weights_hash)
    sweep(run.export_dir)
    with new_zip(target) as archive:
        archive.text(README, _readme(meta, licence_of(spec), twin))
        archive.text(CONFIG_FILE, _json(_peft_config(loras, meta.config, twin)))
        archive.data(TENSORS_FILE, _peft_tensors(loras))
        archive.data(class_weights_file.FILE_NAME, class_weights_bytes(tensors[CLASS_WEIGHTS], meta))
        archive.text(BASE_FILE, _json(twin_config(model_cfg)))
        archive.text(PICTURES_FILE, _json(_pictures(Preprocess.from_dict(meta.preprocess))))


def peft_name(name: str) -> str:
    """What transformers' CLIPModel calls a projection: "image.11.q" -> "vision_model.encoder.layers.11.self_attn.q_proj"."""
    tower, layer, projection = name.split(".", 2)
    return f"{TOWERS[tower]}.encoder.layers.{int(layer)}.{PLACES[projection]}"


def _place(named: tuple[str, PlainLoRA]) -> tuple[str, int, str]:
    """Sorts projections by tower, layer and name."""
    tower, layer, projection = named[0].split(".", 2)
    return tower, int(layer), projection


def twin_name(backbone: str, weights_hash: str) -> str:
    """Where on the hub transformers finds the very weights of a known backbone; '' where that is not known."""
    info = known(backbone)
    if info is None or (info.sha256 and info.sha256 != weights_hash):
        return ""
    return info.twin


def _refuse_without_twin(model_cfg: dict[str, Any], meta: AdapterMeta) -> None:
    reason = why_no_twin(model_cfg)
    if reason:
        raise ExportError(
            f"the backbone {base_name(meta)} has no twin in the transformers library, onto which PEFT could load the adapter: {reason}.",
            "Export the merged open_clip checkpoint instead: it works with every backbone.",
        )


def _hash(folder: Path) -> str:
    try:
        return sha256_file(folder / WEIGHTS_FILE)
    except OSError as error:
        raise ExportError(
            f"{folder / WEIGHTS_FILE} cannot be read ({error.strerror}), so the adapter cannot be held against it.",
            "Get the backbone again.",
        ) from error


def _peft_config(loras: dict[str, PlainLoRA], config: AdapterConfig, twin: str) -> dict[str, Any]:
    """The values of PEFT's LoraConfig. It multiplies by lora_alpha / r; r is the width w, so lora_alpha is s * w."""
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": twin or None,
        "inference_mode": True,
        "r": config.width,
        "lora_alpha": config.scale * config.width,
        "lora_dropout": config.dropout,
        "target_modules": list(loras),
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
    }


def _peft_tensors(loras: dict[str, PlainLoRA]) -> bytes:
    """A (w, d_in) and the sum of the arms (d_out, w) of every projection, under PEFT's names."""
    tensors: dict[str, torch.Tensor] = {}
    for name, lora in loras.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = lora.A.contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = lora.B.contiguous()
    return safetensors.torch.save(tensors, metadata={"format": "pt"})


def _pictures(preprocess: Preprocess) -> dict[str, Any]:
    """The values of transformers' CLIPImageProcessor for the same preprocessing."""
    square = {"height": preprocess.size, "width": preprocess.size}
    squash = preprocess.resize_mode == "squash"
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": square if squash else {"shortest_edge": preprocess.size},
        "resample": RESAMPLE[preprocess.interpolation],
        "do_center_crop": not squash,
        "crop_size": square,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(preprocess.mean),
        "image_std": list(preprocess.std),
    }


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2) + "\n"


def _readme(meta: AdapterMeta, licence: str, twin: str) -> str:
    base = twin or "path/to/the/base"
    encoding = "model.visual_projection(model.vision_model(pixel_values={}).pooler_output)"
    features = features_lines(encoding, Preprocess.from_dict(meta.preprocess).turns)
    where = f"The base is `{twin}` on the Hugging Face hub: the weights that the run was trained on."
    if not twin:
        where = (
            f"The base is the backbone of the training, {plain(base_name(meta))}, with its weights in the form of transformers'\n"
            f"CLIPModel; `{BASE_FILE}` describes it. Where its makers publish it for transformers too, that is the one to take."
        )
    return f"""# A tuned CLIP, as a LoRA for PEFT

{about(meta, licence)}
- `{CONFIG_FILE}`, `{TENSORS_FILE}`: a LoRA of rank {meta.config.width}, in PEFT's form. It holds Block-LoRA's shared
  down-projection and the sum of its up-projections, which compute the same.
- `{class_weights_file.FILE_NAME}`: what turns image features into classes.
- `{BASE_FILE}`: the CLIPConfig of the model that it fits on; `{PICTURES_FILE}`: how that model wants its pictures.

{where}

With transformers and peft, in this folder:

```python
import json

import torch
from peft import PeftModel
from PIL import Image, ImageOps
from safetensors import safe_open
from transformers import CLIPImageProcessor, CLIPModel

base = CLIPModel.from_pretrained("{base}")
model = PeftModel.from_pretrained(base, ".").merge_and_unload().eval()
processor = CLIPImageProcessor.from_pretrained(".")
{READING}

pixels = processor(ImageOps.exif_transpose(Image.open("photo.jpg")), return_tensors="pt")["pixel_values"]
with torch.no_grad():
{features}
{ANSWERING}
```

transformers resizes a picture before it cuts the square out, the studio cuts first: probabilities differ a little between the two, except
where a picture already has the model's size.
"""
