"""Which number formats the hardware computes in."""

from __future__ import annotations

import torch


def has_bf16(device: torch.device) -> bool:
    """Whether the hardware computes in bfloat16. Elsewhere it is emulated: twenty times as slow as float32 on one AVX2 processor."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
