"""What a recipe comes to for a number of images with a backbone, from what workers have measured on this machine; and in words."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from blocklora.clip.catalog import WEIGHTS_FILE, config_of, folder_of, is_present
from blocklora.config import AdapterConfig, TrainingConfig
from blocklora.errors import BackboneError
from blocklora.jobs.devices import resolve
from blocklora.jobs.launcher import Launcher
from blocklora.plan import Plan, plan
from blocklora.presets import is_builtin, preset_config
from blocklora.speeds import Depth, recall, recall_depth

PROBE = "blocklora.training.probe"
LONGEST = 300.0  # seconds that a command waits for this machine to be timed
SMALL = 50_000_000  # bytes of weights below which a recipe is short on any machine


def depth_of(home: Path, backbone: str) -> Depth | None:
    """Layers of a backbone's image tower: as a worker counted them, else as its own files say; None where neither does."""
    counted = recall_depth(home, backbone)
    folder = folder_of(backbone, home)
    if counted is not None or not is_present(folder):
        return counted
    try:
        layers: Any = config_of(backbone, home)["model_cfg"]["vision_cfg"].get("layers")
    except BackboneError:
        return None
    return Depth(layers, True) if isinstance(layers, int) and layers > 0 else None


def planned(
    home: Path, preset: str, backbone: str, images: int, classes: int, seed: int = 1, device: str = "auto", shots: int | None = None
) -> Plan:
    """The settings of a preset for `images` of `classes` on a device of this machine; `shots` are training images a class, where known."""
    shots = shots or max(1, round(images * (1 - TrainingConfig().held_out) / max(1, classes)))
    recipe = replace(preset_config(preset, backbone, shots, seed), device=device)
    return plan(recipe, backbone, recall(home, resolve(device), backbone), depth_of(home, backbone), images, classes)


def time_now(home: Path, launcher: Launcher, backbone: str, device: str) -> bool:
    """Have a worker time a backbone on a device, where that was never done, and wait for it; False where that failed.

    Small backbones need no plan, and one that is not on this machine yet cannot be timed: nothing is done for them.
    """
    kind, folder = resolve(device), folder_of(backbone, home)
    if is_builtin(backbone) or not is_present(folder) or (folder / WEIGHTS_FILE).stat().st_size < SMALL:
        return True
    if recall(home, kind, backbone) is not None:
        return True
    pid = launcher.call(PROBE, [str(home), backbone, kind], home / "queue" / "probe.log")
    until = time.monotonic() + LONGEST
    while recall(home, kind, backbone) is None and time.monotonic() < until and _works(pid):
        time.sleep(0.1)
    return recall(home, kind, backbone) is not None


def _works(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def words_of(found: Plan, depth: Depth | None, training: TrainingConfig, adapter: AdapterConfig, whole: str) -> str:
    """Why a run trains less than its recipe says, in plain words; '' where it does not, or where a person set it otherwise.

    Args:
        found: the plan; `training` and `adapter` are the settings that will be used.
        whole: how long the recipe would take uncut, in words.
    """
    if found.whole is None or (training.steps, adapter.last_layers) != (found.training.steps, found.adapter.last_layers):
        return ""
    layers = f"the last {adapter.last_layers} of {depth.image} layers" if depth is not None and adapter.last_layers else "all layers"
    cut = f"{training.steps} steps of {layers}"
    return f" Made shorter for this backbone: {cut}; uncut it would take about {whole} (Advanced: Steps, Last layers)."
