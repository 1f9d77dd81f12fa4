"""Reads picture files as the model wants them."""

import numpy as np
from PIL import Image, ImageOps
from pillow_heif import register_heif_opener

KINDS = ("AVIF", "BMP", "GIF", "HEIF", "JPEG", "PNG", "TIFF", "WEBP")  # no others: Pillow starts another program to read some
Image.MAX_IMAGE_PIXELS = 50_000_000  # Pillow refuses pictures of more than twice that
register_heif_opener(thumbnails=False)


def read(source):
    """A picture file: upright RGB, uint8 (height, width, 3), transparency on white, 16 bits scaled to 8."""
    image = ImageOps.exif_transpose(Image.open(source, formats=KINDS))
    if image.mode.startswith(("I", "F")):
        step = 257 if image.mode.startswith("I;16") or np.asarray(image).max() > 255 else 1  # 65535 / 255
        image = Image.fromarray(np.clip(np.rint(np.asarray(image, dtype=np.float64) / step), 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))
