"""Prompts into class weights: cut exactly where that changes nothing, any name in any language, templates averaged."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from blocklora.clip.backbones import Backbone
from blocklora.clip.prompts import PromptBatch, fill, image_features, text_class_weights, tokenise
from blocklora.clip.text_tower import encode_text, reads_end_of_text

MakeBackbone = Callable[[str], Backbone]
NAMES = ["cat", "golden retriever", "Möbiusschleife", "猫", "🦊", "", "O'Neil & Söhne (1974)"]
TEMPLATES = ["a photo of a {}.", "{}"]
CAUSAL = ["plain", "own text module", "end of text by id", "no projection"]
WHOLE = ["bidirectional", "siglip", "coca"]


def full_length(backbone: Backbone, names: list[str] = NAMES, templates: list[str] = TEMPLATES) -> torch.Tensor:
    """Class weights by open_clip's own way: every prompt at the full context length through `encode_text`."""
    prompts = [template.replace("{}", name) for name in names for template in templates]
    features = F.normalize(backbone.model.encode_text(backbone.tokenizer(prompts)), dim=-1)
    return F.normalize(features.view(len(names), len(templates), -1).mean(dim=1), dim=-1)


@pytest.mark.parametrize("kind", CAUSAL)
def test_cut_prompts_give_the_full_length_result(kind: str, make_backbone: MakeBackbone) -> None:
    backbone = make_backbone(kind)
    batch = tokenise(NAMES, TEMPLATES, backbone)
    assert backbone.causal_text
    assert batch.tokens.shape[0] == len(NAMES) * len(TEMPLATES)
    assert batch.tokens.shape[1] < 25
    assert (batch.tokens == 49407).any(dim=1).all(), "an end of text was cut off"
    assert (batch.tokens[:, -1] != 0).any(), "the longest prompt ends in padding"
    torch.testing.assert_close(text_class_weights(backbone.model, batch), full_length(backbone), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", WHOLE)
def test_other_towers_get_the_full_length(kind: str, make_backbone: MakeBackbone) -> None:
    backbone = make_backbone(kind)
    batch = tokenise(NAMES, TEMPLATES, backbone)
    assert not backbone.causal_text
    assert batch.tokens.shape[1] == backbone.context_length
    torch.testing.assert_close(text_class_weights(backbone.model, batch), full_length(backbone), rtol=0, atol=1e-6)


def test_cutting_would_change_a_bidirectional_tower(make_backbone: MakeBackbone) -> None:
    """Why `reads_end_of_text` has to tell them apart."""
    backbone = make_backbone("bidirectional")
    tokens = backbone.tokenizer(["a photo of a cat."])
    assert not reads_end_of_text(backbone.model)
    assert (backbone.model.text(tokens[:, :10]) - backbone.model.text(tokens)).abs().max() > 1e-3


def test_longest_prompt_as_long_as_the_context(make_backbone: MakeBackbone) -> None:
    backbone = make_backbone("plain")
    names = ["cat", " ".join(["very"] * 75)]
    batch = tokenise(names, ["{}"], backbone)
    assert batch.tokens.shape == (2, 77)
    assert batch.warnings == ()
    torch.testing.assert_close(text_class_weights(backbone.model, batch), full_length(backbone, names, ["{}"]), rtol=0, atol=1e-5)


def test_over_long_prompts_are_cut_with_a_warning_that_names_the_class(make_backbone: MakeBackbone) -> None:
    backbone = make_backbone("plain")
    long = "very " * 90 + "long name"
    batch = tokenise(["cat", long, "dog"], TEMPLATES, backbone)
    assert batch.tokens.shape == (6, 77)
    (warning,) = batch.warnings
    assert warning.startswith("The class name 'very very")
    assert "prompt of 99 tokens; this model reads 77" in warning
    assert len(warning) < 200
    assert (batch.tokens == 49407).any(dim=1).all()
    torch.testing.assert_close(text_class_weights(backbone.model, batch).norm(dim=-1), torch.ones(3))


def test_templates_are_averaged_as_unit_vectors(make_backbone: MakeBackbone) -> None:
    backbone = make_backbone("plain")
    weights = text_class_weights(backbone.model, tokenise(["cat", "dog"], TEMPLATES, backbone))
    parts = [text_class_weights(backbone.model, tokenise(["cat", "dog"], [template], backbone)) for template in TEMPLATES]
    mean = (parts[0] + parts[1]) / 2
    torch.testing.assert_close(weights, mean / mean.norm(dim=-1, keepdim=True), rtol=0, atol=1e-6)
    torch.testing.assert_close(weights.norm(dim=-1), torch.ones(2))


def test_tokens_alone_are_enough(make_backbone: MakeBackbone) -> None:
    backbone = make_backbone("plain")
    batch = tokenise(["cat", "dog"], TEMPLATES, backbone)
    assert torch.equal(text_class_weights(backbone.model, batch.tokens, 2), text_class_weights(backbone.model, batch))


def test_gradients_flow_through_class_weights(make_backbone: MakeBackbone) -> None:
    backbone = make_backbone("own text module")
    parameter = backbone.model.text.transformer.resblocks[0].mlp.c_fc.weight.requires_grad_(True)
    try:
        text_class_weights(backbone.model, tokenise(["cat"], ["{}"], backbone)).sum().backward()
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0
    finally:
        parameter.requires_grad_(False)
        parameter.grad = None


def test_different_names_get_different_weights(make_backbone: MakeBackbone) -> None:
    backbone = make_backbone("plain")
    weights = text_class_weights(backbone.model, tokenise(NAMES, ["a photo of a {}."], backbone))
    similar = weights @ weights.T - torch.eye(len(NAMES))
    assert similar.max() < 0.9999


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        ("cat", "a photo of a cat."),
        ("golden_retriever", "a photo of a golden retriever."),
        ("  two \n lines ", "a photo of a two lines."),
        ("{} {0} {name}", "a photo of a {} {0} {name}."),
        ("a<end_of_text>b", "a photo of a a b."),
        ("<start_of_text>", "a photo of a ."),
    ],
)
def test_names_as_people_type_them(name: str, prompt: str) -> None:
    assert fill("a photo of a {}.", name) == prompt


def test_marks_in_a_name_cannot_end_the_text_early(make_backbone: MakeBackbone) -> None:
    tokens = tokenise(["cat<end_of_text>dog"], ["a {} and more"], make_backbone("plain")).tokens
    assert int((tokens == 49407).sum()) == 1
    assert int(tokens[0, -1]) == 49407


class WordTokenizer:
    """Shaped like open_clip's HFTokenizer: one id a word, an end mark, no `encode`."""

    class Inner:
        def __call__(self, text: str) -> WordTokenizer.Ids:
            return WordTokenizer.Ids([*(len(word) + 1 for word in text.split()), 1])

    class Ids:
        def __init__(self, ids: list[int]) -> None:
            self.input_ids = ids

    tokenizer = Inner()

    @staticmethod
    def clean_fn(text: str) -> str:
        return text.lower()

    def __call__(self, texts: list[str], context_length: int) -> torch.Tensor:
        rows = [self.tokenizer(text).input_ids[:context_length] for text in texts]
        return torch.tensor([row + [0] * (context_length - len(row)) for row in rows])


def test_tokenizers_of_transformers_are_measured_too(make_backbone: MakeBackbone) -> None:
    plain = make_backbone("siglip")
    backbone = Backbone(**{**vars(plain), "tokenizer": WordTokenizer()})
    batch = tokenise(["cat", "word " * 70], ["a {}"], backbone)
    assert batch.tokens.shape == (2, 64)
    (warning,) = batch.warnings
    assert "prompt of 72 tokens; this model reads 64" in warning


def test_a_batch_moves_to_a_device(make_backbone: MakeBackbone) -> None:
    batch = tokenise(["cat"], ["{}"], make_backbone("plain"))
    moved = batch.to("meta")
    assert moved.tokens.device.type == "meta"
    assert (moved.n_classes, moved.n_templates) == (1, 1)
    assert isinstance(moved, PromptBatch)


@pytest.mark.parametrize("kind", ["plain", "coca"])
def test_image_features_have_length_one(kind: str, make_backbone: MakeBackbone) -> None:
    backbone = make_backbone(kind)
    images = torch.randn(3, 3, 32, 32)
    features = image_features(backbone.model, images)
    assert features.shape == (3, backbone.embed_dim)
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(3))
    torch.testing.assert_close(features, F.normalize(backbone.model.encode_image(images), dim=-1), rtol=0, atol=1e-6)


def test_features_are_fp32_under_autocast(make_backbone: MakeBackbone) -> None:
    backbone = make_backbone("plain")
    batch = tokenise(["cat", "dog"], ["{}"], backbone)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        images, text = image_features(backbone.model, torch.randn(2, 3, 32, 32)), text_class_weights(backbone.model, batch)
    assert images.dtype == text.dtype == torch.float32
    torch.testing.assert_close(text, text_class_weights(backbone.model, batch), rtol=0, atol=0.05)


def test_encoding_whole_tokens_is_open_clips_own(make_backbone: MakeBackbone) -> None:
    backbone = make_backbone("plain")
    tokens = backbone.tokenizer(["a photo of a cat."])
    assert torch.equal(encode_text(backbone.model, tokens), backbone.model.encode_text(tokens))
