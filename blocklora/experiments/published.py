"""Published averages over CoOp's eleven sets, CLIP ViT-B/16, top-1 in percent: what a run on the same sets and backbone stands beside.

CLIP-LoRA by shots: Zanella and Ben Ayed 2024 (arXiv 2405.18541). The others at 16 shots, as papers give them: GDA (arXiv 2402.04087),
ProKeR (arXiv 2501.11175), Tip-Adapter-F (arXiv 2111.03930), MaPLe (arXiv 2210.03117), CLIP-SVD (arXiv 2509.03740).
"""

from __future__ import annotations

from collections.abc import Sequence

from blocklora.experiments.coop import ELEVEN

BACKBONE = "ViT-B-16"
ZERO_SHOT = 65.1
CLIP_LORA = {1: 72.5, 2: 75.4, 4: 77.4, 8: 80.3, 16: 83.0}
AT_SIXTEEN = {"gda": 81.70, "proker": 82.01, "Tip-Adapter-F": 81.15, "MaPLe": 81.79, "CLIP-SVD": 82.97}


def comparable(backbone: str, sets: Sequence[str]) -> bool:
    """Whether a run's mean over sets is what the published averages are of."""
    return backbone == BACKBONE and set(sets) == set(ELEVEN)


def figure(method: str, shots: int) -> float | None:
    """The published average of a method at a number of shots, where there is one."""
    if method == "zero-shot":
        return ZERO_SHOT
    if method == "clip-lora":
        return CLIP_LORA.get(shots)
    return AT_SIXTEEN.get(method) if shots == 16 else None


def others(methods: Sequence[str]) -> str:
    """A sentence about what is published of methods that are not among `methods`."""
    rest = [f"{name} {value}" for name, value in AT_SIXTEEN.items() if name not in methods]
    return f"Published at 16 shots, not run here: {', '.join(rest)}." if rest else ""
