"""The open_clip checkpoint of a run: loads strictly, anew, and is the run's adapted model."""

from __future__ import annotations

import json
import os
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import safetensors
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny_run import CLASSES, write_run

from blocklora.clip.backbones import load_backbone
from blocklora.errors import ExportError
from blocklora.jobs.run_folder import RunFolder
from blocklora.jobs.spec import RunSpec
from exporters import zip_file
from exporters.checkpoint import write_checkpoint
from exporters.loading import load_adapted, load_run

sys.path.append(str(Path(__file__).parents[1] / "lora"))
from tiny_towers import FAMILIES

MEMBERS = ["README.md", "class_weights.safetensors", "open_clip_config.json", "open_clip_model.safetensors"]


def quiet(stage: str, fraction: float) -> None:
    pass


def unzipped(run: RunFolder, root: Path) -> Path:
    write_checkpoint(run, root / "made" / "checkpoint.zip", quiet)
    with zipfile.ZipFile(root / "made" / "checkpoint.zip") as archive:
        archive.extractall(root / "unzipped")
    return root / "unzipped"


def snippet(folder: Path) -> str:
    """The program in the zip's README."""
    return (folder / "README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]


def run_readme(folder: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], np.ndarray]:
    """What the README's program has in its variables, run on a picture that needs no resizing; and that picture."""
    pixels = np.random.default_rng(5).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "photo.jpg", format="PNG")  # exact pixels, under the name that the README uses
    monkeypatch.chdir(folder)
    values: dict[str, Any] = {}
    exec(compile(snippet(folder), "README.md", "exec"), values)
    return values, pixels


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return write_run(tmp_path_factory.mktemp("run"))


@torch.no_grad()
def test_model_made_anew_from_the_zip_is_the_adapted_one(run: RunFolder, tmp_path: Path) -> None:
    folder = unzipped(run, tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == MEMBERS
    spec = RunSpec.from_dict(run.spec())
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    plain = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    plain.load_state_dict(load_file(folder / "open_clip_model.safetensors"), strict=True)
    adapted = load_adapted(run, spec).backbone.model
    frozen = load_backbone(spec.backbone, Path(spec.home)).model
    pictures = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    words = open_clip.get_tokenizer(f"local-dir:{folder}")(["a photo of an apple.", "a plum"])
    for ask in (lambda m: m.encode_image(pictures, normalize=True), lambda m: m.encode_text(words, normalize=True)):
        torch.testing.assert_close(ask(model.eval()), ask(adapted), rtol=0, atol=1e-5)
        assert torch.equal(ask(plain.eval()), ask(model))
        assert (ask(frozen) - ask(adapted)).abs().max() > 0.01
    assert preprocess.transforms[0].size == 32


def test_class_weights_lie_beside_it(run: RunFolder, tmp_path: Path) -> None:
    folder = unzipped(run, tmp_path)
    spec = RunSpec.from_dict(run.spec())
    with safetensors.safe_open(folder / "class_weights.safetensors", "pt") as file:
        weights, words = file.get_tensor("class_weights"), file.metadata()
    assert torch.equal(weights, load_adapted(run, spec).class_weights)
    assert sorted(json.loads(words["labels"])) == sorted(CLASSES)
    assert (float(words["logit_scale"]), float(words["temperature"])) == (20.0, 1.5)
    assert json.loads(words["preprocess"])["size"] == 32


@pytest.mark.parametrize("turns", [1, 4])
def test_readme_program_gives_the_classifiers_answer(turns: int, run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run if turns == 1 else write_run(tmp_path / "turned", turns=turns)
    folder = unzipped(run, tmp_path)
    values, pixels = run_readme(folder, 32, monkeypatch)
    expected = load_run(run, RunSpec.from_dict(run.spec())).classifier.ask(pixels).probabilities
    np.testing.assert_allclose(values["probabilities"][0].numpy(), expected, atol=1e-5)
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "blocklora.clip.towers" not in text and str(run.path) not in text and "for 3 classes: =plum, apple, pear" in text


def test_built_in_backbone_names_the_package_that_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "run", backbone_name="builtin", strength=0.1)
    folder = unzipped(run, tmp_path)
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "import blocklora.clip.towers" in snippet(folder) and "PYTHONPATH" in text and "non-commercial" in text
    spec = RunSpec.from_dict(run.spec())
    own_size = load_run(run, spec).meta.preprocess["size"]  # so that nothing is resized, which the two would do a little differently
    values, pixels = run_readme(folder, own_size, monkeypatch)
    np.testing.assert_allclose(values["probabilities"][0].numpy(), load_run(run, spec).classifier.ask(pixels).probabilities, atol=1e-5)
    untuned = load_run(run, spec)
    untuned.adapters.detach()
    assert np.abs(untuned.classifier.ask(pixels).probabilities - values["probabilities"][0].numpy()).max() > 1e-3


@pytest.mark.parametrize("family", ["coca", "siglip2", "mobileclip2"])
@torch.no_grad()
def test_other_towers_load_strictly_too(family: str, tmp_path: Path) -> None:
    config = FAMILIES[family]
    run = write_run(tmp_path / "run", model_cfg=config, strength=0.1)
    folder = unzipped(run, tmp_path)
    size = config["vision_cfg"]["image_size"]
    pictures = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    model = open_clip.create_model_from_pretrained(f"local-dir:{folder}", return_transform=False).eval()
    adapted = load_adapted(run, RunSpec.from_dict(run.spec())).backbone.model
    torch.testing.assert_close(model.encode_image(pictures), adapted.encode_image(pictures), rtol=1e-4, atol=1e-4)


def test_tokenizer_of_another_library_travels(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    home = Path(run.spec()["home"]) / "backbones" / "tiny"
    values = json.loads((home / "open_clip_config.json").read_text())
    values["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "somebody/else"
    (home / "open_clip_config.json").write_text(json.dumps(values))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (home / name).write_text(json.dumps(TOKENIZER if name == "tokenizer.json" else {"tokenizer_class": "PreTrainedTokenizerFast"}))
    folder = unzipped(run, tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*MEMBERS, "tokenizer.json", "tokenizer_config.json"])
    assert (folder / "tokenizer.json").read_bytes() == (home / "tokenizer.json").read_bytes()


TOKENIZER = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": None,
    "decoder": None,
    "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "mug": 1}, "unk_token": "[UNK]"},
}


def test_same_run_gives_the_same_bytes(run: RunFolder, tmp_path: Path) -> None:
    for name in ("one.zip", "two.zip"):
        write_checkpoint(run, tmp_path / name, quiet)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_nothing_is_left_where_it_cannot_be_written(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ExportError, match="cannot be written"):
        write_checkpoint(run, tmp_path / "file" / "checkpoint.zip", quiet)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "checkpoint.zip").write_bytes(b"of before")
    monkeypatch.setattr(zip_file, "publish", full)
    with pytest.raises(ExportError, match="No space left"):
        write_checkpoint(run, tmp_path / "checkpoint.zip", quiet)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.zip", "file"]
    assert (tmp_path / "checkpoint.zip").read_bytes() == b"of before"


def test_what_a_killed_export_left_in_the_run_goes_and_a_persons_folder_is_left_alone(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    long_ago = time.time() - 10 * 24 * 3600
    for folder in (run.export_dir / ".export-killed", tmp_path / "out" / ".export-mine"):
        folder.mkdir(parents=True)
        os.utime(folder, (long_ago, long_ago))
    write_checkpoint(run, tmp_path / "out" / "checkpoint.zip", quiet)
    assert not (run.export_dir / ".export-killed").exists() and (tmp_path / "out" / ".export-mine").exists()


def test_checkpoint_is_a_backbone_of_this_program_too(run: RunFolder, tmp_path: Path) -> None:
    folder = unzipped(run, tmp_path)
    backbone = load_backbone(str(folder), tmp_path)
    assert backbone.preprocess == load_backbone("tiny", Path(run.spec()["home"])).preprocess


def test_progress_moves_forward_and_ends_below_one(run: RunFolder, tmp_path: Path) -> None:
    told: list[float] = []
    write_checkpoint(run, tmp_path / "checkpoint.zip", lambda stage, fraction: told.append(fraction))
    assert told == sorted(told) and told[0] > 0 and told[-1] < 1 and len(told) > 2


def test_unfinished_run_is_refused_in_words(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    run.adapter_path.unlink()
    with pytest.raises(ExportError, match="no adapter file"):
        write_checkpoint(run, tmp_path / "checkpoint.zip", quiet)
    assert not (tmp_path / "checkpoint.zip").exists()
