"""Class names and images into CLIP features: prompts -> class weights (C, D), images -> features (N, D), all of length 1.

Text towers of CLIP are causal and read only the end-of-text token, so whatever stands after it has no influence: prompts are cut
to the longest real one (about 10 tokens instead of 77 for short names), which gives the same features up to rounding and saves most
of the text tower's work. That does not hold for bidirectional towers (SigLIP, MobileCLIP2) nor where a class token is appended behind
the padding (CoCa); those get the full length. `reads_end_of_text` tells which is which.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from blocklora.clip.backbones import Backbone
from blocklora.clip.text_tower import encode_text
from blocklora.speeds import TEXT_TOKENS

SPECIAL = ("<start_of_text>", "<end_of_text>")
FROZEN_CHUNK = 256  # prompts encoded at once where no gradient is kept: a thousand classes then need no more memory than this
# Tokens of all prompts up to which the text tower keeps everything for its backward pass. Beyond, it goes chunk by chunk, keeps only the
# features, and computes each chunk again when its gradient is wanted (Chen et al. 2016, arXiv 1604.06174): a third more work, for memory
# that no longer grows with the classes.


@dataclass(frozen=True)
class PromptBatch:
    """Tokenised prompts of C classes and T templates, class by class: `tokens` is (C * T, L) int64."""

    tokens: torch.Tensor
    n_classes: int
    n_templates: int
    warnings: tuple[str, ...] = ()

    def to(self, device: torch.device | str) -> PromptBatch:
        return replace(self, tokens=self.tokens.to(device))


def fill(template: str, name: str) -> str:
    """One prompt. "_" is read as a space: that is how folders are named, not how captions are written."""
    for mark in SPECIAL:
        name = name.replace(mark, " ")
    return template.replace("{}", " ".join(name.replace("_", " ").split()))


def tokenise(names: Sequence[str], templates: Sequence[str], backbone: Backbone) -> PromptBatch:
    """Prompts for every class and template, cut to the longest real one where the text tower allows it.

    A prompt that is longer than the model reads is cut, with a warning that names the class.
    """
    prompts = [fill(template, name) for name in names for template in templates]
    lengths = [_length(backbone.tokenizer, prompt) for prompt in prompts]
    tokens = backbone.tokenizer(prompts, context_length=backbone.context_length)
    warnings = []
    for i, name in enumerate(names):
        longest = max(lengths[i * len(templates) : (i + 1) * len(templates)])
        if longest > backbone.context_length:
            shown = name if len(name) <= 60 else f"{name[:57]}..."
            warnings.append(
                f"The class name {shown!r} makes a prompt of {longest} tokens; this model reads {backbone.context_length}. "
                "The rest is not read."
            )
    if backbone.causal_text:
        tokens = tokens[:, : min(max(lengths), backbone.context_length)].contiguous()
    return PromptBatch(tokens, len(names), len(templates), tuple(warnings))


def _length(tokenizer: Any, prompt: str) -> int:
    """Tokens of a prompt with its start and end marks, before any cut."""
    if hasattr(tokenizer, "encode"):  # open_clip's SimpleTokenizer
        return len(tokenizer.encode(prompt)) + 2
    return len(tokenizer.tokenizer(tokenizer.clean_fn(prompt)).input_ids)  # open_clip's HFTokenizer


def text_class_weights(model: nn.Module, prompts: PromptBatch | torch.Tensor, templates: int = 1) -> torch.Tensor:
    """Class weights (C, D), float32, of length 1: normalised features averaged over the templates, normalised again.

    `prompts` is a batch, or its tokens (C * T, L) with the number T of `templates`. Differentiable; used inside training steps with
    an adapted text tower.
    """
    tokens, per_class = (prompts.tokens, prompts.n_templates) if isinstance(prompts, PromptBatch) else (prompts, templates)
    return weights_of_prompts(in_pieces(lambda piece: encode_text(model, piece), tokens), per_class)


def in_pieces(work: Callable[..., torch.Tensor], tokens: torch.Tensor, *more: torch.Tensor) -> torch.Tensor:
    """`work(tokens, *more)` for prompts `tokens` (P, L) and what goes with each (P, ...), in as many pieces as memory asks for.

    Few prompts go through at once. Of many, each piece keeps only its result and is computed again when its gradient is wanted, with the
    same random numbers: the gradients are those of all at once.
    """
    whole = (tokens, *more)
    if torch.is_grad_enabled() and tokens.numel() <= TEXT_TOKENS:
        return work(*whole)
    size = max(1, TEXT_TOKENS // tokens.shape[1]) if torch.is_grad_enabled() else FROZEN_CHUNK
    pieces = list(zip(*(part.split(size) for part in whole), strict=True))
    if not torch.is_grad_enabled():
        return torch.cat([work(*piece) for piece in pieces])
    return torch.cat([checkpoint(work, *piece, use_reentrant=False) for piece in pieces])


def weights_of_prompts(features: torch.Tensor, per_class: int) -> torch.Tensor:
    """Class weights (C, D), float32, of length 1, from the text features (C * T, D) of `per_class` = T prompts of each class."""
    unit = F.normalize(features.float(), dim=-1)
    return F.normalize(unit.view(-1, per_class, unit.shape[-1]).mean(dim=1), dim=-1)


def image_features(model: Any, images: torch.Tensor) -> torch.Tensor:
    """Image features (N, D), float32, of length 1, of preprocessed `images` (N, 3, S, S). Differentiable."""
    return F.normalize(model.encode_image(images).float(), dim=-1)
