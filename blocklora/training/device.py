"""Where a run computes, and in which number format."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from blocklora.clip.precision import has_bf16
from blocklora.lora.quick import quicken
from blocklora.processor import cpu_cores

FULL = ("MPS backend out of memory", "DefaultCPUAllocator:")
"""What torch says where the memory is full; it has a class of its own for that on cuda alone."""


@dataclass(frozen=True)
class Compute:
    """A torch device with the format of training steps. Weights, adapters and the optimiser stay fp32, and so does all that is measured:
    the exported file computes in fp32, and figures must be its own.
    """

    device: torch.device
    precision: str

    def autocast(self) -> contextlib.AbstractContextManager:
        if self.precision == "bf16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return contextlib.nullcontext()

    def take(self, model: nn.Module) -> None:
        """Bring a frozen model to the device, ready to be measured with and to get adapters; it is not to be exported."""
        # channels last: convolutional towers are about a third faster on a CPU
        model.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        if self.device.type == "cpu":
            quicken(model)

    def free(self) -> None:
        """Give back memory that torch keeps for later, after an allocation has failed."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        elif self.device.type == "mps":
            torch.mps.empty_cache()

    def memory_line(self) -> str:
        """Name, and memory where the device has its own."""
        if self.device.type == "cuda":
            properties = torch.cuda.get_device_properties(self.device)
            return f"{properties.name}, {properties.total_memory / 2**30:.0f} GB"
        return {"mps": "Apple GPU"}.get(self.device.type, f"CPU, {torch.get_num_threads()} threads")


def short_of_memory(error: RuntimeError) -> bool:
    """Whether this says that the device's memory is full."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in FULL)


def choose(device: str, precision: str, say: Callable[[str], None]) -> Compute:
    """The device and format to use; `say` hears when it is not the one that was asked for."""
    found = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    wanted = found if device == "auto" else device
    if wanted != "cpu" and wanted != found:
        say(f"PyTorch finds no {wanted} device here; training runs on {found}.")
        wanted = found
    if wanted == "cpu":
        torch.set_num_threads(cpu_cores())
    elif wanted == "cuda":
        # On by default for convolutions: what is measured would be of shorter numbers than the file computes with.
        torch.backends.cudnn.allow_tf32 = False
    if precision == "auto":
        precision = "bf16" if has_bf16(torch.device(wanted)) else "fp32"
    return Compute(torch.device(wanted), precision)
