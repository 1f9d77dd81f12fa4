"""One preprocessing record, used by training, the adapter file and the ONNX graph, and the one way to turn a picture into RGB.

Every picture takes the same two steps. `to_rgb` makes an upright (H, W, 3) uint8 array of any picture that Pillow opened. Then
the model's own part (here a NumPy-free description; the arithmetic lives in torch for training and in the graph for the exported
file): cut the central square, resize it to `size` with an antialiased filter, scale to 0..1, normalise. Cutting before resizing
gives open_clip's resize-then-crop up to sub-pixel shifts, and keeps the work bounded for panoramas and one-pixel-wide pictures.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from blocklora.errors import AdapterError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

INTERPOLATIONS = ("bicubic", "bilinear")
RESIZE_MODES = ("shortest", "squash")
TURNS = 4  # looks at a picture that has no top: one for each side that may be up


@dataclass(frozen=True)
class Preprocess:
    """How a picture becomes a model's input.

    `resize_mode` "shortest" keeps proportions and takes the central square (CLIP); "squash" takes the whole picture
    and changes its proportions (SigLIP). `mean` and `std` are per RGB channel on the 0..1 scale. `turns` says how many quarter turns of
    a picture are looked at: 1, or all `TURNS` (`blocklora.clip.turns`), which is for a run to say and never for a backbone.
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"
    turns: int = 1

    def __post_init__(self) -> None:
        if self.interpolation not in INTERPOLATIONS or self.resize_mode not in RESIZE_MODES:
            raise AdapterError(
                f"preprocessing {self.interpolation!r} / {self.resize_mode!r} is not known; "
                f"known: {', '.join(INTERPOLATIONS)} / {', '.join(RESIZE_MODES)}."
            )
        if self.turns not in (1, TURNS):
            raise AdapterError(
                f"looking at {self.turns} turns of a picture is not known; known: 1 and {TURNS}.", "Update the program, or train again."
            )

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON values; without `turns` where a picture is looked at as it is, as files from before have it."""
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        if self.turns == 1:
            del values["turns"]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preprocess:
        return cls(
            size=int(values["size"]),
            mean=tuple(map(float, values["mean"])),  # type: ignore[arg-type]
            std=tuple(map(float, values["std"])),  # type: ignore[arg-type]
            interpolation=str(values["interpolation"]),
            resize_mode=str(values["resize_mode"]),
            turns=int(values.get("turns", 1)),
        )


def central_square(height: int, width: int) -> tuple[int, int, int]:
    """Top, left and side of the central square of a picture, in whole pixels (rounding down)."""
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side


def to_rgb(image: Image.Image) -> np.ndarray:
    """An upright (H, W, 3) uint8 array of a picture: EXIF orientation applied, first frame, transparency on white, 16 bits to 8.

    The caller has opened the picture with its own limits on size and format.
    """
    import numpy as np
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(image)
    if upright.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I", "F"):
        # Pillow's own conversion clips at 255 instead of scaling; 16-bit scans would turn white.
        values = np.asarray(upright, dtype=np.float64)
        peak = 65535.0 if upright.mode.startswith("I;16") or values.max(initial=0.0) > 255.0 else 255.0
        grey = np.clip(np.rint(values * (255.0 / peak)), 0, 255).astype(np.uint8)
        return np.ascontiguousarray(np.repeat(grey[:, :, None], 3, axis=2))
    if upright.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in upright.info:
        layered = upright.convert("RGBA")
        white = Image.new("RGBA", layered.size, (255, 255, 255, 255))
        upright = Image.alpha_composite(white, layered)
    return np.ascontiguousarray(np.asarray(upright.convert("RGB")))
