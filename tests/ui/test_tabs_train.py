"""The Train tab: what is asked of a person, what a run shows in each of its states, what each press does."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from tab_parts import Bench, finish, new_run, train_some, write_preview

from blocklora.clip.fetching import FAILED, STOPPED, Fetch, heartbeat_path, write_fetch
from blocklora.config import AdapterConfig, TrainingConfig
from blocklora.errors import BackboneError, ConfigError, JobError
from blocklora.jobs import events as said
from blocklora.jobs.devices import devices
from blocklora.jobs.liveness import beat
from blocklora.presets import DEFAULT
from blocklora.services.showing import run_to_watch
from blocklora.services.status import RunStatus
from blocklora.speeds import Speed, remember
from blocklora.ui.forms import Act
from blocklora.ui.rail import Rail
from blocklora.ui.train_form import TrainForm
from blocklora.ui.train_setup import block_words, limits
from blocklora.ui.train_tab import TrainTab, typed_path
from blocklora.ui.train_view import so_far


def tab_of(bench: Bench) -> TrainTab:
    rooms: Any = ("now", "form", "go")
    return TrainTab(bench.ctx, *rooms)


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


# ---- the form


def test_untouched_form_means_the_preset_and_the_method_as_published(bench: Bench) -> None:
    form = TrainForm.of({})
    assert form.adapter() == AdapterConfig()
    assert form.training(bench.studio, bench.project) == bench.studio.preset(bench.project, DEFAULT, "builtin")


def test_form_reads_what_the_page_sends(bench: Bench) -> None:
    sent = {
        "preset": "quick",
        "rank": "4",
        "blocks": "2",
        "steps": "30",
        "held_out": "0.25",
        "seed": "7",
        "device": "cpu",
        "last_layers": "2",
    }
    boxes = {"targets.": "1", "targets.q": "1", "targets.v": "1", "towers.": "1", "towers.image": "1"}
    form = TrainForm.of(
        {
            **sent,
            **boxes,
            "class_weights": "images",
            "rotations": "yes",
            "templates": "a photo of a {}.\n\n a drawing of a {}. ",
            "nonsense": "1",
        }
    )
    assert form.adapter() == AdapterConfig(rank=4, blocks=2, last_layers=2, targets=("q", "v"), towers=("image",))
    config = form.training(bench.studio, bench.project)
    assert (config.preset, config.steps, config.held_out, config.seed, config.device) == ("quick", 30, 0.25, 7, "cpu")
    assert config.rotations == "yes"
    assert config.class_weights == "images" and config.templates == ("a photo of a {}.", "a drawing of a {}.")
    assert config.learning_rate == bench.studio.preset(bench.project, "quick", "builtin").learning_rate
    assert "nonsense" not in form.fields


def test_selects_say_what_automatic_means(bench: Bench) -> None:
    drawn = tab_of(bench).show(bench.project)["form"]
    weights, precision = (re.search(rf'<select name="{name}">.*?</select>', drawn) for name in ("class_weights", "precision"))
    assert weights and "the preset: whatever is best on your images" in weights[0] and "automatic" not in weights[0]
    turns = re.search(r'<select name="rotations">.*?</select>', drawn)
    assert turns and re.findall(r">([^<]+)</option>", turns[0]) == ["the preset: automatic", "automatic", "no", "yes"]
    thorough = tab_of(bench).draft(Act("draft", {"preset": "thorough"}), bench.values)["form"]
    assert '<option value="" selected>the preset: no</option>' in thorough.split('<select name="rotations">')[1]
    assert precision and ">automatic<" in precision[0] and "16 bits" in precision[0]


def test_form_is_remembered_with_the_project(bench: Bench) -> None:
    form = TrainForm.of({"preset": "thorough", "rank": "8", "targets.": "1", "targets.o": "1"})
    form.keep(bench.project)
    assert TrainForm.kept(bench.project) == form
    bench.project.set_setting("train_form", "no form")
    assert TrainForm.kept(bench.project) == TrainForm()


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"rank": "three"}, "rank is 'three'; allowed: a whole number from 1 to 64."),
        ({"rank": "2.5"}, "rank is '2.5'"),
        ({"rank": "6", "blocks": "4"}, "rank 6 and 4 blocks do not fit together."),
        ({"rank": "inf"}, "rank is 'inf'"),
        ({"dropout": "0.95"}, "dropout is 0.95; allowed: 0.0 to 0.9."),
        ({"steps": "0"}, "steps is 0; allowed: 1 to 200000."),
        ({"learning_rate": "nan"}, "learning rate is nan"),
        ({"targets.": "1"}, "targets is nothing"),
        ({"templates": "a photo"}, "does not have exactly one {}"),
        ({"templates": "\n".join(["a {}."] * 21)}, "21 prompt templates; at most 20"),
        ({"device": "abacus"}, "device is abacus"),
    ],
)
def test_wrong_values_are_refused_and_train_says_why(bench: Bench, sent: dict[str, str], words: str) -> None:
    form = TrainForm.of(sent)
    with pytest.raises(ConfigError) as refusal:
        form.adapter()
        form.training(bench.studio, bench.project)
    assert words in str(refusal.value)
    drawn = tab_of(bench).draft(Act("draft", sent), bench.values)
    assert words in text_of(drawn["go"]).replace("&#x27;", "'") and "disabled" in drawn["go"]
    tab = tab_of(bench)
    with pytest.raises(ConfigError):
        tab.start(Act("start", sent), bench.values)
    assert bench.trained == []


def test_fields_take_their_limits_from_the_settings(bench: Bench) -> None:
    drawn = tab_of(bench).show(bench.project)["form"]
    for name in (
        "rank",
        "blocks",
        "alpha",
        "dropout",
        "last_layers",
        "learning_rate",
        "weight_decay",
        "crop_scale",
        "steps",
        "batch_size",
        "held_out",
        "seed",
    ):
        field = re.search(rf'<input type="number" name="{name}"[^>]*>', drawn)
        assert field, name
        assert f'min="{limits(name)["low"]}"' in field[0] and f'max="{limits(name)["high"]}"' in field[0], name
    own = bench.studio.preset(bench.project, DEFAULT, "builtin")
    assert f'name="steps" value="" placeholder="{own.steps}"' in drawn
    assert 'name="rank" value="2"' in drawn


def test_what_was_typed_is_escaped(bench: Bench) -> None:
    nasty = '"><script>alert(1)</script>{}'
    drawn = tab_of(bench).draft(Act("draft", {"templates": nasty, "backbone": nasty, "seed": nasty}), bench.values)
    assert "<script" not in drawn["form"] + drawn["go"]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;{}</textarea>" in drawn["form"]


def test_words_about_blocks_promise_nothing() -> None:
    assert "standard LoRA of rank 4" in block_words(TrainForm.of({"rank": "4", "blocks": "1"}))
    words = block_words(TrainForm.of({"rank": "8", "blocks": "4"}))
    assert "LoRA of rank 2" in words and "4 times as fast" in words and "more blocks do not" in words
    assert "do not fit" in block_words(TrainForm.of({"rank": "3", "blocks": "2"}))


# ---- before a run


def test_no_project_and_no_images_each_have_one_way_on(bench: Bench, empty_bench: Bench) -> None:
    nothing = tab_of(bench).show(None)
    assert 'data-do="new-project"' in nothing["now"] and nothing["form"] == nothing["go"] == ""
    go = tab_of(empty_bench).show(empty_bench.project)["go"]
    assert "There are no classes" in go and 'data-tab="images"' in go
    assert re.search(r"<button[^>]*data-act=\"start\"[^>]* disabled", go)


def test_ready_project_offers_train_and_an_estimate(bench: Bench) -> None:
    drawn = tab_of(bench).show(bench.project)
    assert 'data-do="train"' in drawn["go"] and "machine" in drawn["go"]
    assert drawn["now"] == ""


def test_what_the_backbone_can_do_without_training_stands_beside_the_button(previewing: Bench) -> None:
    tab = tab_of(previewing)
    assert "Looking at the images…" in tab.show(previewing.project)["go"]
    write_preview(previewing)
    drawn = tab.tick(previewing.values)["go"]
    assert "Without training: right on 20 of 24 images" in drawn and 'data-tab="predict"' in drawn
    assert "Without training" not in tab_of(previewing).show(previewing.studio.library.create("Empty"))["go"]


def test_start_begins_a_run_with_what_was_asked_for(bench: Bench) -> None:
    tab = tab_of(bench)
    drawn = tab.start(Act("start", {"preset": "quick", "steps": "11", "rank": "4"}), bench.values)
    run = bench.studio.current_run(bench.project)
    assert run is not None and bench.trained == [run.name]
    spec = run.spec()
    assert spec["training"]["steps"] == 11 and spec["adapter"]["rank"] == 4
    assert "Quick run with" in drawn["now"] and "Train another" in drawn["go"]
    assert TrainForm.kept(bench.project).preset == "quick"


# ---- a run in each of its states


def test_running_shows_how_far_how_good_and_both_ways_out(bench: Bench) -> None:
    run = new_run(bench, "20260101-000000-quick")
    train_some(run, steps=50, of=200)
    run.log_path.write_text("<b>log</b> line")
    run.writer()(said.Note("The prompt for <cat> was cut."))
    now = tab_of(bench).show(bench.project)["now"]
    words = text_of(now)
    assert "step 50 of 200" in words and "left" in words and 'aria-valuenow="25.0"' in now
    assert "Right on 75 % of the images it does not train on, still improving." in words
    assert 'data-act="stop"' in now and 'data-act="cancel"' in now and "CPU, 2 threads" in words
    assert now.count("<figure") == 2
    assert "&lt;b&gt;log&lt;/b&gt; line" in now and "The prompt for &lt;cat&gt; was cut." in now
    assert tab_of(bench).tick(bench.values)["now"] == now


def test_stop_and_cancel_reach_the_run_and_say_so(bench: Bench) -> None:
    run = new_run(bench, "20260101-000000-quick")
    train_some(run)
    tab = tab_of(bench)
    drawn = tab.answer(Act("stop", {"run": run.name}), bench.values)
    assert run.requested() == "stop" and "Stopping; the best version so far is kept" in drawn["now"]
    drawn = tab.answer(Act("cancel", {"run": run.name}), bench.values)
    assert run.requested() == "cancel" and "Cancelling" in drawn["now"]


def test_dead_worker_shows_as_failed_and_can_be_resumed(bench: Bench) -> None:
    run = new_run(bench, "20260101-000000-quick")
    train_some(run, alive=False)
    run.log_path.write_text("first\nKilled")
    tab = tab_of(bench)
    now = tab.show(bench.project)["now"]
    assert "did not finish" in now and "ended without a word" in now and "Killed" in now
    assert "Try again" in now and "begins anew" in now
    run.checkpoint_path.write_bytes(b"x")
    assert ">Resume<" in tab.show(bench.project)["now"]
    drawn = tab.answer(Act("resume", {"run": run.name}), bench.values)
    assert bench.launcher.started[-1][1] == run.path and "Going on" in drawn["notice"]


def test_failure_gives_reason_and_advice(bench: Bench) -> None:
    run = new_run(bench, "20260101-000000-quick")
    train_some(run, alive=False)
    run.writer()(said.Failed("no training images in: <a>.", "Add images to these classes."))
    now = tab_of(bench).show(bench.project)["now"]
    assert "no training images in: &lt;a&gt;." in now and "Add images to these classes." in now


def test_cancelled_and_finished_are_short(bench: Bench) -> None:
    run = new_run(bench, "20260101-000000-quick")
    train_some(run, alive=False)
    run.writer()(said.Cancelled())
    assert "was cancelled" in tab_of(bench).show(bench.project)["now"]
    done = new_run(bench, "20260101-000001-quick")
    result = finish(done, bench)
    os.utime(run.events_path, (1, 1))
    now = tab_of(bench).show(bench.project)["now"]
    assert result["verdict"].rstrip(".") in now and 'data-tab="results"' in now and "stopped early" in now


def test_the_run_at_work_is_shown_before_those_that_wait_and_those_that_are_over(bench: Bench) -> None:
    over, waiting, busy = (new_run(bench, f"2026010{day}-000000-quick") for day in (1, 2, 3))
    finish(over, bench)
    assert run_to_watch(bench.studio, bench.project) == over
    waiting.writer()(said.Queued("cpu"))
    bench.launcher.launch("", waiting)
    assert run_to_watch(bench.studio, bench.project) == waiting
    train_some(busy)
    assert run_to_watch(bench.studio, bench.project) == busy


def test_a_run_of_another_project_is_out_of_reach(bench: Bench) -> None:
    run = new_run(bench, "20260101-000000-quick")
    train_some(run)
    other = bench.studio.library.create("Other")
    tab = tab_of(bench)
    for name in (run.name, "..", "", "../" + run.name):
        with pytest.raises(JobError, match="no run"):
            tab.answer(Act("cancel", {"run": name}), {bench.ctx.project: other.id})
    assert run.requested() is None


def test_queue_lists_what_waits_in_order_and_moves_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from blocklora.services.studio import QueueEntry

    first, second = (new_run(bench, f"2026010{day}-000000-quick") for day in (1, 2))
    busy = QueueEntry("other", "Other <project>", "r0", first.path.parent / "r0", False, RunStatus(state="running", fraction=0.4))
    rest = [QueueEntry(bench.project.id, bench.project.name, run.name, run.path, True, RunStatus()) for run in (first, second)]
    monkeypatch.setattr(bench.studio, "queue", lambda: [busy, *rest])
    moved: list[tuple[Any, int]] = []
    monkeypatch.setattr(bench.studio, "move_in_queue", lambda path, place: moved.append((path, place)))
    tab = tab_of(bench)
    now = tab.show(bench.project)["now"].partition("<h3>Queue</h3>")[2]
    assert "Other &lt;project&gt;" in now and "40 %" in now
    assert now.index(first.name) < now.index(second.name)
    place = re.search(r'aria-label="Earlier"[^>]*data-place="(\d)"[^>]*data-run="' + second.name, now.replace("data-act", "x"))
    assert place and place[1] == "0"
    tab.answer(Act("move", {"project": bench.project.id, "run": second.name, "place": "0"}), bench.values)
    assert moved == [(second.path, 0)]


def test_tick_survives_a_project_that_is_gone(bench: Bench) -> None:
    bench.studio.library.trash(bench.project.id)
    assert tab_of(bench).tick(bench.values) == {}


# ---- the verdict so far


@pytest.mark.parametrize(
    ("curve", "best", "words"),
    [
        (((20, 0.5),), 20, "Right on 50 % of the images it does not train on: the first look."),
        (((20, 0.5), (40, 0.7)), 40, "Right on 70 % of the images it does not train on, still improving."),
        (((20, 0.5), (40, 0.5)), 40, "Right on 50 % of the images it does not train on, about where it began."),
        (
            ((20, 0.9), (40, 0.7), (60, 0.8)),
            20,
            "Right on 80 % of the images it does not train on; the best was 90 % at step 20, 2 checks ago.",
        ),
        (((0, 0.9), (40, 0.7)), 0, "Right on 70 % of the images it does not train on; it began at 90 %."),
        (((20, 1.0), (40, 1.0)), 20, "Right on 100 % of the images it does not train on. There is nothing left to gain on these."),
    ],
)
def test_verdict_so_far(curve: tuple[tuple[int, float], ...], best: int, words: str) -> None:
    assert so_far(RunStatus(state="running", steps=100, held_out_n=10, held_out_curve=curve, best_step=best)) == words


def test_verdict_without_held_out_images_is_honest() -> None:
    assert "nobody can tell yet" in so_far(RunStatus(state="running", steps=100))
    assert so_far(RunStatus(state="running", steps=100, held_out_n=5)) == "The held-out images have not been looked at yet."
    assert TrainingConfig().held_out > 0


def test_a_tick_brings_the_length_of_each_recipe_and_leaves_the_form_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from blocklora.services.studio import Estimate

    known: list[float | None] = [None]
    monkeypatch.setattr(bench.studio, "estimate", lambda *given: Estimate(known[0], "some words"))
    tab = tab_of(bench)
    drawn = tab.tick(bench.values)
    assert "form" not in drawn and times_of(drawn["go"]) == {"quick": "", "balanced": "", "thorough": ""}
    known[0] = 240.0
    drawn = tab.tick(bench.values)
    assert "form" not in drawn
    assert times_of(drawn["go"]) == dict.fromkeys(("quick", "balanced", "thorough"), "about 4 minutes")
    assert 'data-time="quick">about 4 minutes<' in tab.show(bench.project)["form"]


def times_of(drawn: str) -> Any:
    found = re.search(r'data-times="([^"]*)"', drawn)
    assert found
    return json.loads(unescape(found[1]))


# ---- backbones that are not here


def chosen(bench: Bench, name: str) -> TrainTab:
    TrainForm.of({"backbone": name}).keep(bench.project)
    return tab_of(bench)


def test_a_missing_backbone_takes_the_place_of_the_button(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    drawn = chosen(bench, "ViT-B-32").show(bench.project)["go"]
    assert 'data-do="train"' not in drawn
    assert "CLIP ViT-B/32 (DataComp) is not on this machine yet" in text_of(drawn)
    assert 'data-act="fetch"' in drawn and "Download 605 MB" in drawn and "Use a local file" in drawn
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    off = chosen(bench, "ViT-B-32").show(bench.project)["go"]
    assert "downloads are switched off here" in off and "disabled" in off


def test_a_download_is_watched_and_another_backbone_can_be_trained_meanwhile(bench: Bench) -> None:
    home = bench.studio.home
    write_fetch(home, Fetch("ViT-B-32", done=121_000_000, total=605_000_000, speed=4.4e6))
    beat(heartbeat_path(home, "ViT-B-32"), os.getpid())
    words = text_of(chosen(bench, "ViT-B-32").show(bench.project)["go"])
    assert "Downloading CLIP ViT-B/32 (DataComp) 121 MB of 605 MB · 20 % · 4.4 MB/s · 2 minutes left Cancel" in words
    tab = chosen(bench, "builtin")
    drawn = tab.show(bench.project)
    assert "Downloading CLIP ViT-B/32" in drawn["go"] and 'data-do="train"' in drawn["go"]
    told = re.search(r'data-where="([^"]*)"', drawn["go"])
    assert told and json.loads(unescape(told[1]))["ViT-B-32"] == "downloading, 20 %"


def test_what_became_of_a_download(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    home = bench.studio.home
    write_fetch(home, Fetch("ViT-B-32", STOPPED, done=121_000_000, total=605_000_000))
    tab = chosen(bench, "ViT-B-32")
    drawn = tab.show(bench.project)["go"]
    assert "stopped at 121 MB of 605 MB. What has arrived is kept." in text_of(drawn)
    assert "Go on" in drawn and 'data-act="discard-fetch"' in drawn
    write_fetch(home, Fetch("ViT-B-32", FAILED, message="No <hub>.", advice="Put the files there."))
    failed = tab.show(bench.project)["go"]
    assert 'role="alert"' in failed and "No &lt;hub&gt;." in failed and "Put the files there." in failed and "Try again" in failed


def test_presses_on_a_missing_backbone(bench: Bench) -> None:
    tab = chosen(bench, "ViT-B-32")
    values = {bench.ctx.project: bench.project.id}
    drawn = tab.go_on(Act("fetch", {"name": "ViT-B-32"}), values)["go"]
    assert bench.launcher.started[-1][0] == "blocklora.clip.fetch"
    assert "Asking for CLIP ViT-B/32" in drawn
    tab.go_on(Act("discard-fetch", {"name": "ViT-L-14"}), values)
    for act in ("fetch", "local-backbone"):
        with pytest.raises(BackboneError, match="no backbone 'nonsense'"):
            tab.go_on(Act(act, {"name": "nonsense", "file": "/x"}), values)
    with pytest.raises(BackboneError, match="not on this machine"):
        tab.go_on(Act("start", {"backbone": "ViT-B-32"}), values)
    far = TrainTab(replace(bench.ctx, local=False), *("now", "form", "go"))  # type: ignore[arg-type]
    with pytest.raises(BackboneError, match="only taken from who sits at this machine"):
        far.go_on(Act("local-backbone", {"name": "ViT-B-32", "file": "/etc/passwd"}), values)
    assert "Use a local file" not in far.show(bench.project)["go"]


def test_paths_are_taken_as_people_paste_them() -> None:
    assert typed_path(' "/home/me/a b.safetensors" ') == Path("/home/me/a b.safetensors")
    assert typed_path("~/x.safetensors") == Path.home() / "x.safetensors"
    for text in ("", "x.safetensors"):
        with pytest.raises(BackboneError, match="is not a whole path"):
            typed_path(text)


def test_a_backbone_of_ones_own_that_is_gone_stays_chosen_and_is_explained(bench: Bench) -> None:
    tab = chosen(bench, "mine")
    drawn = tab.show(bench.project)
    assert re.search(r'value="mine" checked', drawn["form"]) and "not on this machine" in drawn["form"]
    assert "“mine” is not on this machine" in drawn["go"] and 'data-do="train"' not in drawn["go"]
    toast = Rail(bench.ctx).about(bench.project)
    assert "“mine”" in toast and "The Train tab says" in toast
    chosen(bench, "builtin")
    assert Rail(bench.ctx).about(bench.project) == ""


def test_a_measured_speed_is_told_beside_the_backbone(bench: Bench) -> None:
    remember(bench.studio.home, devices()[0].kind, "builtin", Speed(1.0, 0.01, 0.02, 5.0))
    assert "trains on 50 images a second here" in text_of(tab_of(bench).show(bench.project)["form"])
