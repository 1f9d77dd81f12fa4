"""Prompts: every class gets one of its own names; superclasses are what the file says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from blocklora.errors import TrainingError
from blocklora.pretrain.names import SUPERCLASSES, PromptBook, read_superclasses, tokenizer


def test_prompts_hold_a_name_of_their_class() -> None:
    names = [["station wagon", "wagon"], ["police van", "wagon"], ["goose"]]
    book = PromptBook(names, 16)
    draw = torch.Generator().manual_seed(0)
    seen: list[set[str]] = [set(), set(), set()]
    for _ in range(40):
        for position, tokens in enumerate(book.sample(draw)):
            text = tokenizer(16).decode(tokens.tolist()).split("<start_of_text>")[1].split("<end_of_text>")[0]
            seen[position].add(text.strip())
    assert all("station wagon" in text for text in seen[0])  # the bare "wagon" is a name of two classes
    assert all("police van" in text for text in seen[1])
    assert len(seen[2]) > 5  # several templates


def test_same_seed_same_prompts() -> None:
    book = PromptBook([["a", "b", "c"], ["d"]], 12)
    first = [book.sample(torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*first)
    assert book.evaluation().shape == (3, 2, 12)


def test_the_superclass_file_fits_itself() -> None:
    content = json.loads(SUPERCLASSES.read_text())
    ids = sorted({i for key, entry in content.items() if not key.startswith("_") for i in entry.get("ids", [])})
    names, truth = read_superclasses(ids)
    column = {group[0]: truth[:, position] for position, group in enumerate(names)}
    assert (column["dog"] <= column["mammal"]).all()
    assert (column["mammal"] <= column["animal"]).all()
    assert not (column["animal"] & column["vehicle"]).any()
    assert truth.any(0).all()


def test_superclasses_of_other_data_are_none(tmp_path: Path) -> None:
    names, truth = read_superclasses(["mine", "yours"])
    assert names == []
    assert truth.shape == (2, 0)


def test_a_circle_of_superclasses_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "circle.json"
    path.write_text('{"a": {"names": ["a"], "of": ["b"]}, "b": {"names": ["b"], "of": ["a"]}}')
    with pytest.raises(TrainingError, match="contains itself"):
        read_superclasses(["n1"], path)
