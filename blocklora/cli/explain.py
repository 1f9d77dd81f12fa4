"""`explain`: which parts of a picture an ONNX file's answer comes from, as a picture."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from blocklora.errors import ExportError, ModelFileError
from blocklora.files import write_atomic
from blocklora.projects.decoding import decode_rgb
from blocklora.services import heat
from exporters import open_model


def explain(args: argparse.Namespace) -> int:
    """Write the picture with the heat map over it, and say what it shows."""
    model, image = Path(args.model).expanduser(), Path(args.image).expanduser()
    out = Path(args.out).expanduser()
    if not model.is_file():
        raise ModelFileError(f"{args.model} is not a file.", "Name an .onnx file that `export` wrote.")
    picture = decode_rgb(image)
    found = open_model(model).explain(picture, [args.label] if args.label else ())
    reason = found.reasons[0]
    try:
        write_atomic(out, heat.blended(picture, found, reason))
    except OSError as error:
        raise ExportError(f"{out} cannot be written: {error.strerror or error}.", "Name another file with --out.") from error
    if args.json:
        said = {"label": reason.label, "probability": reason.probability, "covered": reason.covered, "flat": reason.flat}
        print(json.dumps({**said, "passes": found.passes, "seconds": round(found.seconds, 3), "out": str(out)}, ensure_ascii=False))
    else:
        print(f"{heat.words(reason)}\n{heat.limits(found)}\n{out}")
    return 0
