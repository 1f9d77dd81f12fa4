"""The finished model as a folder in open_clip's hub layout."""

from __future__ import annotations

import copy
import math
import tempfile
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from open_clip.timm_model import TimmModel
from safetensors.torch import load_file, save_file
from torch import nn

from blocklora.clip.towers import INNER_POOLING, PooledXcit
from blocklora.errors import TrainingError
from blocklora.files import publish, read_json, sha256_file, write_json
from blocklora.pretrain.augment import normalise
from blocklora.pretrain.config import MAX_LOGIT_SCALE, preprocess_cfg
from blocklora.pretrain.names import PromptBook
from blocklora.pretrain.network import Clip, build_model
from blocklora.pretrain.state import TrainState

WEIGHTS, CONFIG, METADATA = "open_clip_model.safetensors", "open_clip_config.json", "training.json"


def export_weights(model: nn.Module, trained_tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    """The state dict in fp16, on the CPU. Raises TrainingError where a weight does not fit into fp16.

    Vocabulary rows that no training prompt contains become zero: their first random values mean nothing, and zeros
    say so (and compress). A word of unknown tokens then adds nothing to a prompt instead of noise.
    """
    weights = {
        name: (value.detach().cpu().half() if value.is_floating_point() else value.detach().cpu()).contiguous()
        for name, value in model.state_dict().items()
    }
    known = torch.zeros(len(weights["token_embedding.weight"]), 1, dtype=torch.bool)
    known[trained_tokens] = True
    weights["token_embedding.weight"] = weights["token_embedding.weight"].masked_fill(~known, 0.0)
    for name, value in weights.items():
        if not value.isfinite().all():
            raise TrainingError(f"{name} holds values that do not fit into fp16.", "Train with a lower learning rate or more weight decay.")
    return weights


@torch.no_grad()
def fold_projection(model: Clip, images: torch.Tensor) -> None:
    """Move the image projection to the text side, in place: image features become what the tower pools, as it is.

    The projection P is made to tell the training classes apart and dims what these do not need, which other people's classes may
    differ in. Since (P f) · t = f · (Pᵀ t), texts that go through it say the same of an image as before, up to lengths; the logit
    scale is set so that logits keep their size on `images`.

    Args:
        images: some training images, uint8 (N, 3, S, S).
    """
    projection = model.visual.head.proj.weight  # (D, D)
    features = torch.cat([model.visual.trunk(normalise(part.float().div(255))) for part in images.split(64)])  # (N, D)
    before, after = (features @ projection.T).norm(dim=1), features.norm(dim=1)
    directions = F.normalize(torch.randn(256, projection.shape[0], generator=torch.Generator().manual_seed(0)), dim=1)
    stretched = (directions @ projection).norm(dim=1)
    model.logit_scale.add_((after.mean() / before.mean() * stretched.mean()).log()).clamp_(max=MAX_LOGIT_SCALE)
    model.text_projection.copy_(model.text_projection @ projection)
    projection.copy_(torch.eye(len(projection)))


def with_inner_layers(model: Clip, model_cfg: dict[str, Any]) -> tuple[Clip, dict[str, Any]]:
    """A model that also gives the inner layers' features, and its configuration: `model`, its projection folded, for `PooledXcit` towers.

    Texts have zeros where these features are, so names say what they said before; as all parts of an image's features are equally long,
    cosines shrink by one factor, which the logit scale makes good.
    """
    vision = {**model_cfg["vision_cfg"], "timm_pool": INNER_POOLING, "timm_proj": "none"}
    trunk = copy.deepcopy(model.visual.trunk)
    trunk.reset_classifier(0, INNER_POOLING)
    wide = {**model_cfg, "embed_dim": trunk.num_features, "vision_cfg": vision}
    made = build_model(wide)
    weights = {name: value for name, value in model.state_dict().items() if not name.startswith("visual.head.")}
    text = weights["text_projection"]  # (width, D)
    weights["text_projection"] = F.pad(text, (0, trunk.num_features - text.shape[1]))
    grown = math.log(trunk.num_features / text.shape[1]) / 2
    weights["logit_scale"] = (weights["logit_scale"] + grown).clamp(max=MAX_LOGIT_SCALE)
    made.load_state_dict(weights, strict=True)
    return made, wide


def export_state(
    state: TrainState,
    books: list[PromptBook],
    out: Path,
    facts: dict[str, Any],
    image_size: int | None = None,
    images: torch.Tensor | None = None,
) -> Path:
    """Write the averaged weights, their configuration and how they were made into `out`; return the weights' path.

    The weights are loaded strictly into a new open_clip model before anything is published. `image_size` is the input size that
    the file asks for, where that is not the one it was trained at. With `images`, the projection of a tower whose pooled features
    are as wide as the embedding goes to the text side (`fold_projection`), and the features of inner layers stand beside the last
    ones where the tower can give them (`with_inner_layers`).

    Raises:
        TrainingError: the tower has positions for its own size only.
    """
    model_cfg = at_size(state.model_cfg, image_size)
    out.mkdir(parents=True, exist_ok=True)
    model = copy.deepcopy(state.average).cpu()
    if images is not None and isinstance(model.visual, TimmModel) and len(set(model.visual.head.proj.weight.shape)) == 1:
        fold_projection(model, images.cpu())
        if isinstance(model.visual.trunk, PooledXcit):
            model, model_cfg = with_inner_layers(model, model_cfg)
    weights = export_weights(model, torch.cat([book.token_ids() for book in books]).unique())
    build_model(model_cfg).load_state_dict(weights, strict=True)
    with tempfile.NamedTemporaryFile(dir=out, prefix=".weights.", suffix=".tmp", delete=False) as stream:
        temporary = Path(stream.name)
    save_file(weights, temporary, metadata={"format": "pt"})
    publish(temporary, out / WEIGHTS)
    words = (read_json(out / CONFIG) or {}).get("studio")  # title and licence that a person wrote there stay
    config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg(model_cfg)}
    write_json(out / CONFIG, config if words is None else {**config, "studio": words})
    metadata = {
        "recipe": state.recipe.as_dict(),
        "steps": state.step,
        "passes": state.passes,
        "hours": round(state.seconds / 3600, 3),
        "classes": len(state.ids),
        "parameters": sum(p.numel() for p in model.parameters()),
        "sha256": sha256_file(out / WEIGHTS),
        "bytes": (out / WEIGHTS).stat().st_size,
        "torch": torch.__version__,
        "open_clip": open_clip.__version__,
        **state.notes,
        **facts,
    }
    write_json(out / METADATA, metadata)
    for name in (WEIGHTS, CONFIG, METADATA):
        (out / name).chmod(0o644)  # temporary files are private; a model is not
    return out / WEIGHTS


def at_size(model_cfg: dict[str, Any], image_size: int | None) -> dict[str, Any]:
    """The configuration with another input size (None: its own).

    Raises:
        TrainingError: a ViT of open_clip, which has positions for its own size only.
    """
    vision = model_cfg["vision_cfg"]
    if image_size in (None, vision["image_size"]):
        return model_cfg
    if "timm_model_name" not in vision:
        raise TrainingError(f"This image tower only takes {vision['image_size']} pixels, not {image_size}.", "Leave the size as it is.")
    return {**model_cfg, "vision_cfg": {**vision, "image_size": image_size}}


def load_exported(folder: Path, image_size: int | None = None) -> Clip:
    """The model of an exported folder in fp32, ready for inference, at its own input size or another one.

    Raises:
        TrainingError: a file is missing, or the tower does not take that size.
    """
    config = read_json(folder / CONFIG)
    if config is None or not (folder / WEIGHTS).exists():
        raise TrainingError(f"{folder} holds no {CONFIG} with {WEIGHTS}.", "Give a folder that `train` or `export` wrote.")
    model = build_model(at_size(config["model_cfg"], image_size))
    model.load_state_dict(load_file(folder / WEIGHTS), strict=True)
    return model.float().eval()
