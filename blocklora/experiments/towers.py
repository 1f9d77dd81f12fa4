"""Beyond CLIP's plain ViT: the same adapters on other families of tower. They must attach, learn, and merge into plain weights exactly.

Weights are random and small, so accuracy says nothing here; what is asked is whether the method's mechanics hold. Each model learns to
match a few made-up pictures (a colour each, with noise) with a text of its own, for a few steps of AdamW. The BLIP model is that of the
transformers library, which the studio does not otherwise need; its adapters are attached by module names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from blocklora.clip.build import build_model
from blocklora.config import AdapterConfig
from blocklora.errors import TrainingError
from blocklora.experiments.tables import Row
from blocklora.experiments.tiny_families import FAMILIES, LENGTH, SIDE, WORDS
from blocklora.lora.adapters import Adapters
from blocklora.lora.attach import attach
from blocklora.lora.by_name import attach_by_name

BLIP = "BLIP"
BLIP_NAMES = {
    "self_attn.qkv": ("q", "k", "v"),
    "attention.self.query": ("q",),
    "attention.self.key": ("k",),
    "attention.self.value": ("v",),
}
CLASSES, EACH = 4, 4
LEARNING_RATE = 5e-3
SCALE = 20.0  # of the cosines

Encode = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Towers:
    """A model with its two ways in: pictures (N, 3, S, S) and token ids (N, LENGTH) to features (N, D)."""

    model: nn.Module
    image: Encode
    text: Encode
    side: int
    attach: Callable[[AdapterConfig, int], Adapters]


def _settled(model: nn.Module, seed: int) -> None:
    """Values for parameters that a library leaves unset (they hold whatever was in memory)."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if not torch.isfinite(parameter).all() or parameter.abs().max() > 1e4:
                parameter.copy_(0.02 * torch.randn(parameter.shape, generator=draw))


def open_clip_towers(name: str, seed: int) -> Towers:
    """A small random model of an open_clip family."""
    cfg = FAMILIES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: Any = build_model(cfg).eval()
    _settled(model, seed)

    def adapters(config: AdapterConfig, number: int) -> Adapters:
        return attach(model, config, number)

    return Towers(model, model.encode_image, model.encode_text, cfg["vision_cfg"]["image_size"], adapters)


def blip_towers(seed: int) -> Towers:
    """A small random BLIP of transformers, with its projections for retrieval.

    Raises:
        TrainingError: transformers is not installed.
    """
    try:
        from transformers import BlipConfig, BlipForImageTextRetrieval
    except ImportError as error:
        raise TrainingError(
            "BLIP comes from the package transformers, which is not installed here.",
            "Install it (pip install transformers), or name other families with --families.",
        ) from error
    size = {"projection_dim": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
    vision = {**size, "hidden_size": 48, "intermediate_size": 96, "image_size": SIDE, "patch_size": 8}
    ends = {"pad_token_id": 0, "bos_token_id": 1, "sep_token_id": 2, "eos_token_id": 2}
    text = {**size, **ends, "hidden_size": 32, "encoder_hidden_size": 48, "intermediate_size": 64, "vocab_size": WORDS}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = BlipConfig(vision_config=vision, text_config={**text, "max_position_embeddings": 16}, image_text_hidden_size=32)
        model: Any = BlipForImageTextRetrieval(config).eval()

    def image(pictures: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = model.vision_proj(model.vision_model(pixel_values=pictures).last_hidden_state[:, 0])
        return found

    def words(tokens: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = model.text_proj(model.text_encoder(input_ids=tokens).last_hidden_state[:, 0])
        return found

    def adapters(config: AdapterConfig, number: int) -> Adapters:
        return attach_by_name(model, BLIP_NAMES, config, number)

    return Towers(model, image, words, SIDE, adapters)


def pictures_of(side: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures (CLASSES * EACH, 3, side, side) of a colour each, with noise, and their labels."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(CLASSES).repeat_interleave(EACH)
    colours = torch.randn(CLASSES, 3, 1, 1, generator=draw)
    return colours[labels] + 0.3 * torch.randn(len(labels), 3, side, side, generator=draw), labels


def texts_of(seed: int) -> torch.Tensor:
    """A text (CLASSES, LENGTH) for each class: some words, the end of the text, nothing."""
    ids = torch.randint(3, WORDS - 1, (CLASSES, LENGTH), generator=torch.Generator().manual_seed(seed))
    ids[:, LENGTH - 4] = WORDS - 1
    ids[:, LENGTH - 3 :] = 0
    return ids


def _features(towers: Towers, pictures: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
    """Of pictures, then of texts (N + CLASSES, D), of length one."""
    return F.normalize(torch.cat([towers.image(pictures), towers.text(texts)]).float(), dim=-1)


def try_family(name: str, steps: int, seed: int) -> Row:
    """Attach, train for `steps` steps, merge. Differences are the largest of any feature's value (features have length one).

    `untrained` is between the frozen model and the one with untrained adapters, `learned` between frozen and trained,
    `merged` between trained and merged; `frozen_weights` is whether every weight of the model came through the training untouched.
    """
    towers = blip_towers(seed) if name == BLIP else open_clip_towers(name, seed)
    pictures, labels = pictures_of(towers.side, seed)
    texts = texts_of(seed)
    with torch.no_grad():
        frozen = _features(towers, pictures, texts)
    adapters = towers.attach(AdapterConfig(dropout=0.0), seed)
    before = [weight.detach().clone() for weight, _ in adapters.folds]
    with torch.no_grad():
        untrained = _features(towers, pictures, texts)
    optimiser = torch.optim.AdamW(adapters.parameters(), lr=LEARNING_RATE)
    losses = []
    for _ in range(steps):
        features = _features(towers, pictures, texts)
        loss = F.cross_entropy(SCALE * features[:-CLASSES] @ features[-CLASSES:].T, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    untouched = all(torch.equal(old, weight) for old, (weight, _) in zip(before, adapters.folds, strict=True))
    with torch.no_grad():
        adapted = _features(towers, pictures, texts)
        matrices, parameters = len(adapters.blocks), adapters.n_parameters
        adapters.merge()
        merged = _features(towers, pictures, texts)
    return {
        "matrices": matrices,
        "parameters": parameters,
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "frozen_weights": untouched,
        "untrained": float((untrained - frozen).abs().max()),
        "learned": float((adapted - frozen).abs().max()),
        "merged": float((merged - adapted).abs().max()),
    }
