"""What a run was made with, beside what it was asked to do: whoever does it again elsewhere can see what is different there."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from blocklora import __version__
from blocklora.files import write_json
from blocklora.jobs.run_folder import RunFolder
from blocklora.training.device import Compute

PACKAGES = ("torch", "open_clip_torch", "timm", "safetensors", "numpy", "Pillow", "onnx", "onnxruntime", "onnxscript")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY")
ROOT = Path(__file__).resolve().parents[2]


def write_environment(run: RunFolder, compute: Compute) -> None:
    """Write the run's environment.json: product, packages, machine, threads. A run that goes on keeps what it began with beside it."""
    import torch

    earlier = run.environment()
    now: dict[str, Any] = {
        "blocklora": __version__,
        "commit": commit(ROOT),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "platform": platform.platform(),
        "processor": _processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "device": compute.memory_line(),
        "precision": compute.precision,
        "threads": torch.get_num_threads(),
        "variables": {name: os.environ[name] for name in THREADS if name in os.environ},
    }
    if earlier and {k: v for k, v in earlier.items() if k != "began_with"} != now:
        now["began_with"] = earlier.get("began_with", earlier)
    write_json(run.environment_path, now)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    """The processor's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


def commit(root: Path) -> str:
    """The commit that a checkout of the product is at, read from git's own files; '' for a copy that is no checkout."""
    try:
        git = root / ".git"
        if git.is_file():  # a worktree: the file says where its part lies
            git = (root / git.read_text(encoding="utf-8").partition("gitdir:")[2].strip()).resolve()
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref:"):
            return head
        name = head.partition("ref:")[2].strip()
        common = git / "commondir"
        shared = (git / common.read_text(encoding="utf-8").strip()).resolve() if common.is_file() else git
        for place in (git / name, shared / name):
            if place.is_file():
                return place.read_text(encoding="utf-8").strip()
        packed = (shared / "packed-refs").read_text(encoding="utf-8").splitlines()
        return next((line.split()[0] for line in packed if line.endswith(f" {name}")), "")
    except (OSError, ValueError, IndexError):
        return ""
