"""What a recipe comes to: left alone where it is cheap, within its budget where it is not, and never below what is worth doing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from blocklora.config import AdapterConfig
from blocklora.plan import BUDGET, ENOUGH, FEW, LEAST, Plan, plan, seconds
from blocklora.presets import preset_config
from blocklora.speeds import FEW_ENOUGH, ROTATED_AT_MOST, Depth, Speed, recall, remember

COSTLY = Speed(fixed=5, look=0.03, step_image=0.03, export=25, step_class=0.002)  # about ViT-B/32 on two cores
DEPTH = Depth(12, True)


@pytest.mark.parametrize("preset", ["quick", "balanced"])
def test_a_costly_backbone_is_held_to_its_budget(preset: str) -> None:
    recipe = preset_config(preset, "ViT-B-32", 13)
    found = plan(recipe, "ViT-B-32", COSTLY, DEPTH, 160, 10)
    needed = seconds(COSTLY, DEPTH, found.training, found.adapter, 160, 10)
    assert needed <= BUDGET[preset] * 160 * COSTLY.look
    assert found.whole is not None and found.whole > 2 * needed
    assert found.adapter.last_layers is not None and found.adapter.last_layers < 12
    assert LEAST <= found.training.steps < recipe.steps and found.training.retrain == recipe.retrain
    assert found.training.rotations == ("no" if preset == "quick" else "auto")
    one_more = replace(found.training, steps=found.training.steps + 1)
    assert seconds(COSTLY, DEPTH, one_more, found.adapter, 160, 10) > BUDGET[preset] * 160 * COSTLY.look


def test_the_first_share_of_layers_that_leaves_enough_steps_is_taken() -> None:
    recipe = preset_config("quick", "ViT-B-32", 13)
    roomy = plan(recipe, "ViT-B-32", replace(COSTLY, step_image=0.012, export=5), DEPTH, 320, 10)
    assert roomy.adapter.last_layers == 6 and roomy.training.steps >= ENOUGH["quick"]
    tight = plan(recipe, "ViT-B-32", replace(COSTLY, step_image=0.1), DEPTH, 160, 10)
    assert tight.adapter.last_layers == 2 and tight.training.steps >= LEAST


def test_the_budget_is_counted_in_forward_passes_of_torch_where_they_were_timed() -> None:
    recipe = preset_config("quick", "ViT-B-32", 13)
    looking_is_quicker = replace(COSTLY, look=COSTLY.look / 2, forward=COSTLY.look)
    assert looking_is_quicker.unit == COSTLY.unit == COSTLY.look
    found = plan(recipe, "ViT-B-32", looking_is_quicker, DEPTH, 160, 10)
    assert found.training.steps >= plan(recipe, "ViT-B-32", COSTLY, DEPTH, 160, 10).training.steps
    assert seconds(looking_is_quicker, DEPTH, found.training, found.adapter, 160, 10) <= BUDGET["quick"] * 160 * COSTLY.look


def test_what_was_not_timed_by_itself_is_learned_when_it_is(tmp_path: Path) -> None:
    remember(tmp_path, "cpu", "tower", replace(COSTLY, step_class=0.0))
    remember(tmp_path, "cpu", "tower", replace(COSTLY, forward=0.04))
    assert recall(tmp_path, "cpu", "tower") == replace(COSTLY, forward=0.04)
    remember(tmp_path, "cpu", "tower", replace(COSTLY, forward=0.5))  # a busy moment
    assert recall(tmp_path, "cpu", "tower") == replace(COSTLY, forward=0.05)


def test_looking_at_quarter_turns_is_foretold_where_the_recipe_looks() -> None:
    recipe, adapter = preset_config("quick", "ViT-B-32", 13), AdapterConfig()
    for images in (160, 3 * ROTATED_AT_MOST):
        no, auto, yes = (seconds(COSTLY, DEPTH, replace(recipe, rotations=wish), adapter, images, 10) for wish in ("no", "auto", "yes"))
        assert auto - no == pytest.approx(4 * min(images, ROTATED_AT_MOST) * COSTLY.look)
        held_out = round(images * recipe.held_out)
        assert yes - no == pytest.approx((4 * images + 3 * held_out * (recipe.checks + 1)) * COSTLY.look)


def test_a_handful_of_images_has_the_budget_of_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = preset_config("quick", "ViT-B-32", 5)
    few = plan(recipe, "ViT-B-32", COSTLY, DEPTH, 24, 4)
    assert few.whole is not None and few.training.steps > LEAST
    assert seconds(COSTLY, DEPTH, few.training, few.adapter, 24, 4) <= BUDGET["quick"] * FEW * COSTLY.look
    monkeypatch.setattr("blocklora.plan.FEW", 1)
    assert plan(recipe, "ViT-B-32", COSTLY, DEPTH, 24, 4).training.steps == LEAST


def test_cheap_runs_the_builtin_and_the_reference_stay_as_they_are() -> None:
    quick = preset_config("quick", "ViT-B-32", 13)
    fast = Speed(fixed=5, look=0.001, step_image=0.001, export=5)
    assert plan(quick, "ViT-B-32", fast, DEPTH, 160, 10).training == quick
    assert plan(quick, "ViT-B-32", None, DEPTH, 160, 10).training == quick
    assert plan(quick, "ViT-B-32", None, DEPTH, 160, 10).adapter == AdapterConfig()
    own = preset_config("quick", "builtin", 13)
    assert plan(own, "builtin", COSTLY, DEPTH, 160, 10) == plan(own, "builtin", None, None, 1, 1) == Plan(own, AdapterConfig(last_layers=6))
    assert plan(preset_config("quick", "builtin-72", 13), "builtin-72", COSTLY, DEPTH, 160, 10) == plan(own, "builtin", None, None, 1, 1)
    balanced = preset_config("balanced", "builtin", 13)
    assert plan(balanced, "builtin", COSTLY, DEPTH, 160, 10) == Plan(balanced, AdapterConfig())
    reference = preset_config("thorough", "ViT-B-32", 13)
    assert plan(reference, "ViT-B-32", COSTLY, DEPTH, 160, 10).training == reference


@pytest.mark.parametrize("depth", [None, Depth(2, False)])
def test_what_cannot_be_parted_has_fewer_steps_of_all_layers(depth: Depth | None) -> None:
    found = plan(preset_config("quick", "tower", 13), "tower", COSTLY, depth, 160, 10)
    assert found.adapter == AdapterConfig() and LEAST <= found.training.steps < 200


def test_seconds_count_what_is_run() -> None:
    recipe = replace(preset_config("quick", "ViT-B-32", 13), steps=40, checks=4, views=3, rotations="no")
    all_layers = seconds(COSTLY, DEPTH, recipe, AdapterConfig(), 160, 10)
    # start, 160 looks and 3 at views of each, 5 checks of 32 held-out ones, two trainings of 40 steps with 32 images and 10 names, export
    assert all_layers == pytest.approx(5 + 4 * 160 * 0.03 + 160 * 0.03 + 80 * (32 * 0.03 + 10 * 0.002) + 25)
    for words in ("text", "blend"):  # whose class weights are not made of views
        told = seconds(COSTLY, DEPTH, replace(recipe, class_weights=words), AdapterConfig(), 160, 10)
        assert told == pytest.approx(all_layers - 3 * 160 * 0.03)
    many = [seconds(COSTLY, DEPTH, recipe, AdapterConfig(), images, 10) for images in (FEW_ENOUGH, FEW_ENOUGH + 1)]
    assert many[0] - many[1] == pytest.approx(3 * FEW_ENOUGH * 0.03, rel=0.01)  # nor are those of very many images
    last = seconds(COSTLY, DEPTH, recipe, AdapterConfig(last_layers=3), 160, 10)
    assert last < all_layers - 0.6 * 80 * (32 * 0.03 + 10 * 0.002)
    assert last < seconds(COSTLY, DEPTH, replace(recipe, views=9), AdapterConfig(last_layers=3), 160, 10)
    assert seconds(COSTLY, DEPTH, recipe, AdapterConfig(last_layers=64), 160, 10) == pytest.approx(all_layers)
    assert seconds(COSTLY, DEPTH, replace(recipe, held_out=0.0), AdapterConfig(), 160, 10) < 0.7 * all_layers
