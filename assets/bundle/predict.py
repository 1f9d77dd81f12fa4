"""Labels pictures with model.onnx: python predict.py photo.jpg holiday/ [--top 3]"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

from pictures import read

HERE = Path(__file__).resolve().parent

if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # also where it goes into a file on Windows
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", help="pictures, or folders of them, on this machine")
    parser.add_argument("--top", type=int, default=3, help="labels a picture")
    args = parser.parse_args()
    if missing := [name for name in args.files if "://" in name or not Path(name).exists()]:
        sys.exit(f"{missing[0]} is not a file or folder on this machine; addresses on the web are not fetched.")
    named = [Path(name) for name in args.files]
    session, labels = onnxruntime.InferenceSession(HERE / "model.onnx"), json.loads((HERE / "labels.json").read_text(encoding="utf-8"))
    failed = False
    for path in (p for name in named for p in (sorted(name.rglob("*")) if name.is_dir() else [name]) if p.is_file()):
        try:
            (shares,), *known = session.run([o.name for o in session.get_outputs() if o.name != "embedding"], {"images": read(path)[None]})
        except Exception as error:  # decoders raise all kinds
            print(f"{path}: not read ({error})", file=sys.stderr)
            failed |= path in named  # what merely lies in a folder need not be a picture
            continue
        words = ", ".join(f"{labels[i]} {shares[i]:.1%}" for i in np.argsort(-shares, kind="stable")[: args.top])
        print(f"{path}: none of these (nearest: {words})" if known and not known[0][0] else f"{path}: {words}")
    sys.exit(failed)
