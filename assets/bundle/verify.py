"""Checks that model.onnx gives on this machine what it gave where it was made: python verify.py"""

import hashlib
import json
import sys

import numpy as np
import onnxruntime

from pictures import read
from predict import HERE

expected = json.loads((HERE / "expected.json").read_text(encoding="utf-8"))
if hashlib.sha256((HERE / "model.onnx").read_bytes()).hexdigest() != expected["sha256"]:
    sys.exit("model.onnx is damaged or another file: its SHA-256 is not the one in expected.json. Unpack the zip again.")
session = onnxruntime.InferenceSession(HERE / "model.onnx")
wanted = [output.name for output in session.get_outputs() if output.name != "embedding"]  # known: not in every file
(found,), *known = session.run(wanted, {"images": read(HERE / expected["image"])[None]})
off = float(np.abs(found - np.array(expected["probabilities"])).max())
if not off <= expected["tolerance"]:
    sys.exit(f"The answer to {expected['image']} is off by {off:.2g} in a probability; allowed: {expected['tolerance']:g}.")
if known and bool(known[0][0]) is not expected["known"]:
    sys.exit(f"{expected['image']} is {'known' if known[0][0] else 'none of the classes'} here, and was not where it was made.")
sys.stdout.reconfigure(encoding="utf-8")  # also where it goes into a file on Windows
print(f"The same answer as where it was made: {expected['label']}, largest difference of a probability {off:.2g}.")
