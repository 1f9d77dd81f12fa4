"""Labels pictures with model.onnx: python predict.py photo.jpg holiday/ [--top 3]"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

HERE, Image.MAX_IMAGE_PIXELS = Path(__file__).resolve().parent, 50_000_000  # Pillow refuses pictures of more than twice that


def read(source):
    """A picture file as the model wants it: upright RGB, uint8 (height, width, 3), transparency on white, 16 bits scaled to 8."""
    image = ImageOps.exif_transpose(Image.open(source))
    if image.mode.startswith(("I", "F")):
        step = 257 if image.mode.startswith("I;16") or np.asarray(image).max() > 255 else 1  # 65535 / 255
        image = Image.fromarray(np.clip(np.rint(np.asarray(image, dtype=np.float64) / step), 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", help="pictures, or folders of them, on this machine")
    parser.add_argument("--top", type=int, default=3, help="labels a picture")
    args = parser.parse_args()
    if missing := [name for name in args.files if "://" in name or not Path(name).exists()]:
        sys.exit(f"{missing[0]} is not a file or folder on this machine; addresses on the web are not fetched.")
    session, labels = onnxruntime.InferenceSession(HERE / "model.onnx"), json.loads((HERE / "labels.json").read_text(encoding="utf-8"))
    for path in (p for name in map(Path, args.files) for p in (sorted(name.rglob("*")) if name.is_dir() else [name]) if p.is_file()):
        try:
            (shares,), *known = session.run([o.name for o in session.get_outputs() if o.name != "embedding"], {"images": read(path)[None]})
            words = ", ".join(f"{labels[i]} {shares[i]:.1%}" for i in np.argsort(-shares, kind="stable")[: args.top])
            print(f"{path}: none of these (nearest: {words})" if known and not known[0][0] else f"{path}: {words}")
        except Exception as error:  # decoders raise all kinds
            print(f"{path}: not read ({error})", file=sys.stderr)
