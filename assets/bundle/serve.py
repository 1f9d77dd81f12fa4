"""The classifier as a small web service: python serve.py [--host 127.0.0.1] [--port 8000]

GET  /health   {"status": "ok", "labels": [...]}
POST /predict  form field "file": one picture; query "top": labels to return
               {"label": ..., "probability": ..., "top": [[label, probability], ...], "known": true}
               known is false where the picture is of none of the classes (label is then the nearest), null where the model has no rule
"""

import argparse
import io
import json
import threading
from typing import Annotated

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI, HTTPException, Query, UploadFile

from pictures import read
from predict import HERE

MAX_BYTES = 50 * 1024 * 1024  # of one picture
FORM_BYTES = 64 * 1024  # what a form may have beside it
AT_ONCE = threading.BoundedSemaphore(2)  # pictures that are decoded and in memory at a time

session = onnxruntime.InferenceSession(HERE / "model.onnx")
wanted = [output.name for output in session.get_outputs() if output.name != "embedding"]  # known: not in every file
labels = json.loads((HERE / "labels.json").read_text(encoding="utf-8"))
app = FastAPI(title="Picture classifier", description=", ".join(labels))


class LimitUpload:
    """Ends a request that grows beyond the limit while it arrives, whatever its headers say."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        seen = 0

        async def counted():
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > MAX_BYTES + FORM_BYTES:
                raise HTTPException(413, f"The picture is larger than {MAX_BYTES // 1024 // 1024} MB.")
            return message

        await self.app(scope, counted, send)


app.add_middleware(LimitUpload)


@app.get("/health")
def health():
    return {"status": "ok", "labels": labels}


@app.post("/predict")
def predict(file: UploadFile, top: Annotated[int, Query(ge=1)] = 5):
    data = file.file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise HTTPException(413, f"The picture is larger than {MAX_BYTES // 1024 // 1024} MB.")
    with AT_ONCE:
        try:
            pixels = read(io.BytesIO(data))
        except Exception as error:  # decoders raise all kinds
            raise HTTPException(422, f"This is not a picture that can be read: {error}") from error
        (shares,), *known = session.run(wanted, {"images": pixels[None]})
    order = np.argsort(-shares, kind="stable")[:top]
    ranked = [[labels[i], float(shares[i])] for i in order]
    return {"label": ranked[0][0], "probability": ranked[0][1], "top": ranked, "known": bool(known[0][0]) if known else None}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The classifier as a web service.")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 to be reached from other machines (there is no log-in)")
    parser.add_argument("--port", type=int, default=8000)
    args = parser.parse_args()
    uvicorn.run(app, host=args.host, port=args.port)
