"""What this machine computes on, found without importing torch: the window shows it before any worker starts."""

from __future__ import annotations

import functools
import platform
import shutil
import subprocess
from dataclasses import dataclass

import psutil

from blocklora.processor import cpu_cores, cpu_name


@dataclass(frozen=True)
class Device:
    """A place to compute. `kind` is torch's word for it (cpu, cuda, mps); memory in bytes."""

    kind: str
    name: str
    memory: int

    def line(self) -> str:
        """One line for people: name and memory."""
        return f"{self.name}, {self.memory / 2**30:.0f} GB"


def _nvidia() -> list[Device]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    found = []
    for line in answer.stdout.splitlines():
        name, _, mebibytes = line.rpartition(",")
        if name and mebibytes.strip().isdigit():
            found.append(Device("cuda", name.strip(), int(mebibytes) * 2**20))
    return found


@functools.cache
def devices() -> tuple[Device, ...]:
    """Devices of this machine, the one that "auto" takes first."""
    cores = cpu_cores()
    cpu = Device("cpu", f"{cpu_name()} ({cores} {'core' if cores == 1 else 'cores'})", psutil.virtual_memory().total)
    found = _nvidia()
    if not found and platform.system() == "Darwin" and platform.machine() == "arm64":
        found = [Device("mps", "Apple GPU", psutil.virtual_memory().total)]
    return (*found, cpu)


def resolve(requested: str) -> str:
    """The kind of device that a request means: "auto" is the best one here."""
    return devices()[0].kind if requested == "auto" else requested
