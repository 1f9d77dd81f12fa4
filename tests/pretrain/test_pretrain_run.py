"""Whole runs on tiny data: they learn, resume exactly, and end with a folder that open_clip loads strictly."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import load_file
from tiny_data import NAMES, SMALL_TIMM_CFG, TINY_CFG

from blocklora.errors import TrainingError
from blocklora.pretrain import schedule
from blocklora.pretrain.__main__ import main
from blocklora.pretrain.augment import normalise
from blocklora.pretrain.config import SMALL_MODEL_CFG, Recipe
from blocklora.pretrain.data import load_images
from blocklora.pretrain.evaluate import zero_shot_top1
from blocklora.pretrain.export import export_state, fold_projection, load_exported, with_inner_layers
from blocklora.pretrain.names import PromptBook
from blocklora.pretrain.network import build_model
from blocklora.pretrain.session import BEFORE_DECAY, LATEST, LOG, RunOptions, begin_with, run
from blocklora.pretrain.state import fresh_state, load_state

RECIPE = Recipe(batch_size=16, warmup_steps=4, mix_fraction=0.25)
CPU = torch.device("cpu")


def options(source: Path, work: Path, passes: int, **more: Any) -> RunOptions:
    return RunOptions(
        data=(source / "train.tar",),
        classes=source / "classes.json",
        work=work,
        out=work / "out",
        validation=(source / "val.tar",),
        passes=passes,
        precision="fp32",
        log_every=10,
        **more,
    )


def quiet(line: str) -> None:
    pass


def test_a_run_learns_and_its_folder_loads_into_open_clip(source: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    facts = run(options(source, work, passes=16 * 80), RECIPE, TINY_CFG, quiet)
    lines = [json.loads(line) for line in (work / LOG).read_text().splitlines()]
    losses = [line["class_loss"] for line in lines if line["event"] == "step"]
    assert min(losses[-3:]) < 0.8 * losses[0]
    assert facts["val_top1"] > 60  # a third by chance
    config = json.loads((work / "out" / "open_clip_config.json").read_text())
    weights = load_file(work / "out" / "open_clip_model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float16}
    model = open_clip.model.CLIP(**config["model_cfg"])
    model.load_state_dict({name: value.float() for name, value in weights.items()}, strict=True)
    assert config["preprocess_cfg"]["size"] == 16
    metadata = json.loads((work / "out" / "training.json").read_text())
    assert metadata["passes"] == 16 * 80
    assert metadata["val_top1"] == facts["val_top1"]
    known = weights["token_embedding.weight"].abs().sum(1) > 0
    assert 10 < int(known.sum()) < 100  # rows of words that no prompt holds are zero


def test_a_tower_of_timm_learns_and_takes_another_input_size(source: Path, tmp_path: Path) -> None:
    """Batch statistics travel through threads, checkpoint and average; the file answers at the size it was written for."""
    work = tmp_path / "work"
    run(options(source, work, passes=16 * 60), RECIPE, SMALL_TIMM_CFG, quiet)
    state = load_state(work / LATEST, CPU)
    book = PromptBook([["red thing"], ["green thing"], ["blue thing"]], 12)
    export_state(state, [book], tmp_path / "larger", {}, image_size=48)
    config = json.loads((tmp_path / "larger" / "open_clip_config.json").read_text())
    assert config["model_cfg"]["vision_cfg"]["image_size"] == config["preprocess_cfg"]["size"] == 48
    weights = load_file(tmp_path / "larger" / "open_clip_model.safetensors")
    assert weights["visual.trunk.patch_embed.proj.0.1.num_batches_tracked"].dtype == torch.int64
    assert weights["visual.trunk.patch_embed.proj.0.1.running_var"].ne(1).any()
    data = load_images([source / "val.tar"], list(NAMES), 48, tmp_path / "cache")
    model = load_exported(tmp_path / "larger")
    assert zero_shot_top1(model, data, PromptBook(list(NAMES.values()), 12), CPU) > 60  # a third by chance
    with pytest.raises(TrainingError, match="only takes 16"):
        export_state(fresh_state(RECIPE, TINY_CFG, ("a",), CPU), [book], tmp_path / "vit", {}, image_size=32)


def test_a_killed_run_goes_on_as_if_nothing_had_happened(source: Path, tmp_path: Path) -> None:
    run(options(source, tmp_path / "whole", passes=16 * 24), RECIPE, TINY_CFG, quiet)

    class Killed(BaseException):
        pass

    def dies(line: str) -> None:
        if "step=20" in line:
            raise Killed

    with pytest.raises(Killed):
        run(options(source, tmp_path / "killed", passes=16 * 24, checkpoint_every=0.0), RECIPE, TINY_CFG, dies)
    stopped = load_state(tmp_path / "killed" / LATEST, CPU)
    assert 0 < stopped.step < 20
    run(options(source, tmp_path / "killed", passes=16 * 24), RECIPE, TINY_CFG, quiet)
    whole, resumed = (load_state(tmp_path / name / LATEST, CPU) for name in ("whole", "killed"))
    assert whole.step == resumed.step == 24
    for part in ("model", "head", "average"):
        ours, theirs = getattr(whole, part).state_dict(), getattr(resumed, part).state_dict()
        for name in ours:
            torch.testing.assert_close(ours[name], theirs[name], atol=1e-6, rtol=1e-5)


def test_a_finished_run_can_be_trained_further_from_before_its_decay(source: Path, tmp_path: Path) -> None:
    first = options(source, tmp_path / "short", passes=16 * 16)
    run(first, RECIPE, TINY_CFG, quiet)
    branch = tmp_path / "short" / BEFORE_DECAY
    assert load_state(branch, CPU).step == 12
    run(options(source, tmp_path / "long", passes=16 * 20, resume_from=branch), RECIPE, TINY_CFG, quiet)
    assert load_state(tmp_path / "long" / LATEST, CPU).step == 20


def test_another_recipe_is_not_mixed_into_a_run(source: Path, tmp_path: Path) -> None:
    run(options(source, tmp_path / "work", passes=16 * 4), RECIPE, TINY_CFG, quiet)
    with pytest.raises(TrainingError, match="another recipe"):
        run(options(source, tmp_path / "work", passes=16 * 8), replace(RECIPE, seed=2), TINY_CFG, quiet)


def test_a_run_begins_with_a_finished_model_of_the_same_layers(source: Path, tmp_path: Path) -> None:
    run(options(source, tmp_path / "work", passes=16 * 4), RECIPE, TINY_CFG, quiet)
    out = options(source, tmp_path / "work", passes=16).out
    earlier = json.loads((out / "training.json").read_text())
    trained = load_exported(out).state_dict()
    wider = fresh_state(RECIPE, {**TINY_CFG, "embed_dim": 24}, ("n1", "n2", "n3"), CPU)
    begin_with(wider, out)
    assert wider.notes["began_with"]["sha256"] == earlier["sha256"]
    assert wider.notes["began_with"]["fresh"] == ["text_projection", "visual.proj"]
    mine = wider.model.state_dict()
    assert all(torch.equal(mine[name], value) for name, value in trained.items() if name not in ("text_projection", "visual.proj"))
    deeper = {**TINY_CFG, "vision_cfg": {**TINY_CFG["vision_cfg"], "layers": 3}}
    with pytest.raises(TrainingError, match=r"12 tensors do not fit, first visual\.transformer\.resblocks\.2"):
        begin_with(fresh_state(RECIPE, deeper, ("n1", "n2", "n3"), CPU), out)


def test_the_projection_moves_to_the_text_side() -> None:
    torch.manual_seed(0)
    model = build_model({**SMALL_TIMM_CFG, "embed_dim": 384}).eval()
    model.visual.head.proj.weight.data.mul_(torch.rand(384, 1) * 3)  # some directions are dimmed
    images = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8)
    tokens = open_clip.SimpleTokenizer(context_length=12)(["red thing", "green thing", "a blue object"])

    def products() -> torch.Tensor:
        return model.encode_image(normalise(images.float() / 255)) @ model.encode_text(tokens).T

    def scaled() -> torch.Tensor:
        image, text = model.encode_image(normalise(images.float() / 255), normalize=True), model.encode_text(tokens, normalize=True)
        return model.logit_scale.exp() * image @ text.T

    with torch.no_grad():
        before, size = products(), scaled().std()
        fold_projection(model, images)
        torch.testing.assert_close(products(), before, atol=1e-3, rtol=1e-3)
        assert torch.equal(model.visual.head.proj.weight, torch.eye(384))
        assert 0.5 < scaled().std() / size < 2


def test_a_damaged_checkpoint_is_explained(tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"not a checkpoint")
    with pytest.raises(TrainingError, match="cannot be read as a checkpoint"):
        load_state(tmp_path / "bad.safetensors", CPU)
    with pytest.raises(TrainingError, match="There is no checkpoint"):
        load_state(tmp_path / "absent.safetensors", CPU)


def test_schedule() -> None:
    recipe = Recipe(warmup_steps=10, decay_fraction=0.25, high_resolution_fraction=0.3)
    assert schedule.lr_factor(recipe, 0, 0.0) == pytest.approx(0.1)
    assert schedule.lr_factor(recipe, 500, 0.5) == 1.0
    assert schedule.lr_factor(recipe, 500, 0.875) == pytest.approx(0.5)
    assert schedule.lr_factor(recipe, 500, 1.0) == 0.0
    draw = torch.Generator().manual_seed(0)
    early, late = ([schedule.resolution(recipe, p, 64, 8, draw) for _ in range(300)] for p in (0.2, 0.9))
    assert set(early) == {32, 48}
    assert set(late) == {32, 48, 64, 80}
    assert late.count(64) > 100
    for wrong in ({}, {"passes": 5, "seconds": 5.0}, {"passes": 0}, {"seconds": -1.0}):
        with pytest.raises(TrainingError, match="one budget above zero"):
            schedule.Budget(**wrong)


def test_command_line(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cfg = tmp_path / "tiny.json"
    cfg.write_text(json.dumps({"model_cfg": TINY_CFG}))
    work, out = tmp_path / "work", tmp_path / "model"
    common = ["--classes", str(source / "classes.json"), "--out", str(out)]
    train = ["train", "--data", str(source / "train.tar"), "--work", str(work), "--passes", "64", "--batch-size", "16"]
    assert main([*train, *common, "--device", "cpu", "--threads", "1", "--model-cfg", str(cfg)]) == 0
    assert "finished" in capsys.readouterr().out
    (out / "open_clip_model.safetensors").unlink()
    assert main(["export", str(work / LATEST), *common]) == 0
    assert (out / "open_clip_model.safetensors").exists()
    validate = ["validate", "--model", str(out), "--val", str(source / "val.tar"), "--classes", str(source / "classes.json")]
    assert main(validate) == 0
    assert re.search(r"top-1 \d+\.\d\d % of 12 images at 16 pixels", capsys.readouterr().out)
    assert main([*validate, "--image-size", "32"]) == 1
    assert "only takes 16 pixels" in capsys.readouterr().err
    assert main(["export", str(work / "absent.safetensors"), *common]) == 1
    assert "There is no checkpoint" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "examples:" in capsys.readouterr().out


def test_inner_layers_join_the_features_and_names_say_what_they_said() -> None:
    """Logits of names before and after, where the model's own pooling is the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pooled = {**SMALL_MODEL_CFG["vision_cfg"], "image_size": 16}
        cfg = {**TINY_CFG, "embed_dim": 384, "vision_cfg": pooled}
        model = build_model(cfg).eval()
        images = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8)
        fold_projection(model, images)
        made, wide = with_inner_layers(model, cfg)
        made.eval()
    assert wide["embed_dim"] == 9 * 128 and wide["vision_cfg"]["timm_proj"] == "none"
    tokens = open_clip.SimpleTokenizer(context_length=12)(["red thing", "green thing", "a blue object"])

    def logits(of: Any) -> torch.Tensor:
        image, text = of.encode_image(normalise(images.float() / 255), normalize=True), of.encode_text(tokens, normalize=True)
        return of.logit_scale.exp() * image @ text.T

    with torch.no_grad():
        torch.testing.assert_close(logits(made), logits(model), atol=1e-4, rtol=1e-4)
    assert made.encode_image(normalise(images.float() / 255)).shape == (6, 1152)
