"""Class names, synonyms and superclass names -> token ids, drawn anew each time the text tower runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import open_clip
import torch

from blocklora.errors import TrainingError
from blocklora.files import read_json

SUPERCLASSES = Path(__file__).with_name("superclasses.json")

TEMPLATES = (
    "{}",
    "a {}",
    "a photo of a {}.",
    "a photo of the {}.",
    "a photo of {}.",
    "a photo of one {}.",
    "a picture of a {}.",
    "an image of a {}.",
    "this is a {}.",
    "a close-up photo of a {}.",
    "a blurry photo of a {}.",
    "a small photo of a {}.",
    "a cropped photo of a {}.",
    "a good photo of a {}.",
)
# The ones that people and tools use when they classify; validation averages over them.
EVALUATION_TEMPLATES = ("a photo of a {}.", "a photo of the {}.", "a picture of a {}.")


@cache
def tokenizer(context_length: int) -> open_clip.SimpleTokenizer:
    """The standard CLIP tokenizer (49,408 tokens) at this length."""
    return open_clip.SimpleTokenizer(context_length=context_length)


class PromptBook:
    """The tokenised prompts of a list of classes.

    A name that two classes share ("wagon") would pull both to one text, so it is left out where another name remains.
    """

    def __init__(self, names: Sequence[Sequence[str]], context_length: int) -> None:
        uses = Counter(name for group in names for name in set(group))
        kept = [[name for name in group if uses[name] == 1] or list(group[:1]) for group in names]
        self.first_names = [group[0] for group in kept]
        self.counts = torch.tensor([len(group) for group in kept])
        texts = [template.format(name) for group in kept for name in group for template in TEMPLATES]
        self._context_length = context_length
        self._tokens = tokenizer(context_length)(texts).view(-1, len(TEMPLATES), context_length)  # (names, templates, L)
        self._starts = self.counts.cumsum(0) - self.counts

    def __len__(self) -> int:
        return len(self.first_names)

    def sample(self, generator: torch.Generator) -> torch.Tensor:
        """One prompt a class, (C, L): the usual name half of the time, else any of its names; any template."""
        usual, other = torch.rand(2, len(self), generator=generator)
        name = torch.where(usual < 0.5, 0, (other * self.counts).long())
        template = torch.randint(len(TEMPLATES), (len(self),), generator=generator)
        return self._tokens[self._starts + name, template]

    def evaluation(self) -> torch.Tensor:
        """Every class's usual name in the evaluation templates, (T, C, L)."""
        encode = tokenizer(self._context_length)
        return torch.stack([encode([template.format(name) for name in self.first_names]) for template in EVALUATION_TEMPLATES])

    def all_prompts(self) -> torch.Tensor:
        """Every name in every template, (N, L)."""
        return self._tokens.flatten(0, 1)

    def token_ids(self) -> torch.Tensor:
        """The rows of the vocabulary that these prompts touch, sorted."""
        return self._tokens.unique()


def read_superclasses(ids: Sequence[str], path: Path = SUPERCLASSES) -> tuple[list[list[str]], torch.Tensor]:
    """Superclass names and which classes they are true of.

    Returns:
        (names of S superclasses, bool (C, S)); superclasses without any of `ids` are left out, so S may be 0 for
        other data than the one the file was written for.
    """
    entries: Mapping[str, Mapping[str, Any]] = {k: v for k, v in (read_json(path) or {}).items() if not k.startswith("_")}

    def members(key: str, above: tuple[str, ...] = ()) -> set[str]:
        if key not in entries or key in above:
            raise TrainingError(f"{path.name}: {key!r} is not an entry or contains itself.", "Correct its place in 'of'.")
        found = set(entries[key].get("ids", []))
        return found.union(*(members(part, (*above, key)) for part in entries[key].get("of", [])))

    names: list[list[str]] = []
    columns: list[list[bool]] = []
    for key, entry in entries.items():
        inside = members(key)
        if any(class_id in inside for class_id in ids):
            names.append(list(entry["names"]))
            columns.append([class_id in inside for class_id in ids])
    truth = torch.tensor(columns, dtype=torch.bool).T if columns else torch.zeros(len(ids), 0, dtype=torch.bool)
    return names, truth.contiguous()
