"""The text tower of an open_clip model, whichever kind it is: what it reads, and its features of short prompts."""

from __future__ import annotations

from typing import Any

import torch
from open_clip.transformer import text_global_pool
from torch import nn


def text_parts(model: nn.Module) -> Any:
    """The module that carries the text tower's parts: `model.text` where there is one, otherwise the model itself (plain CLIP)."""
    return getattr(model, "text", model)


def reads_end_of_text(model: nn.Module) -> bool:
    """True where the text tower is causal and its feature is the end-of-text token's, so that prompts can be cut."""
    text = text_parts(model)
    pool = getattr(text, "text_pool_type", None) or getattr(text, "pool_type", None)
    causal = getattr(text, "attn_mask", None) is not None
    return causal and pool in ("argmax", "eos") and getattr(text, "cls_emb", None) is None


def encode_text(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Features (P, D), not normalised, of `tokens` (P, L), where L may be less than the context length for towers that allow it.

    open_clip's own `encode_text` adds all positions and uses the whole causal mask, and so takes full-length tokens only.
    """
    text = text_parts(model)
    length = tokens.shape[1]
    if not reads_end_of_text(model) or length == text.positional_embedding.shape[0]:
        return model.encode_text(tokens)
    dtype = text.transformer.get_cast_dtype()
    x = text.token_embedding(tokens).to(dtype) + text.positional_embedding[:length].to(dtype)  # (P, L, width)
    x = text.transformer(x, attn_mask=text.attn_mask[:length, :length])
    pool = getattr(text, "text_pool_type", None) or text.pool_type
    end = getattr(text, "text_eos_id", None) or getattr(text, "eos_id", None)
    x = text_global_pool(text.ln_final(x), tokens, pool, eos_token_id=end)
    if text.text_projection is None:
        return x
    return text.text_projection(x) if isinstance(text.text_projection, nn.Linear) else x @ text.text_projection
