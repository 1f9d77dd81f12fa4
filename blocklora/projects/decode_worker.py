"""The child process that decodes untrusted pictures: `python -m blocklora.projects.decode_worker MEMORY_BYTES`.

It reads requests from standard input and answers on standard output (see `wire`). Whatever a hostile file does to a codec happens
here: the child has an address-space limit, writes no files, opens only the announced one of the allowed formats, and can be killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import AvifImagePlugin, BmpImagePlugin, GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from blocklora.preprocess import to_rgb
from blocklora.projects import wire
from blocklora.projects.confine import confine
from blocklora.projects.formats import HEAD, READABLE, sniff
from blocklora.projects.limits import THUMB_LONG, THUMB_SHORT, VIEW_SIDE, words
from blocklora.projects.near import perceptual_hash

# Named so that Pillow opens them without importing its other sixty plugins.
PLUGINS = (AvifImagePlugin, BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin)

THUMB_QUALITY = 82


class Refusal(Exception):
    """This file is not taken: a kind for programs, a reason for people."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind, self.reason = kind, reason


def read(request: dict[str, Any], payload: bytes) -> bytes:
    """The file's bytes: the request's payload, or the regular file it names, up to the cap."""
    if request.get("path") is None:
        return payload
    cap = int(request["max_bytes"])
    with Path(request["path"]).open("rb") as stream:
        data = stream.read(cap + 1)
    if len(data) > cap:
        raise Refusal("too large", f"larger than the {words(cap)} that one picture may have")
    return data


def open_picture(data: bytes, max_pixels: int) -> Image.Image:
    """Open (not yet decode) one of the allowed formats, its dimensions checked before any pixel is made."""
    if not data:
        raise Refusal("empty", "empty file (0 bytes)")
    format_name = sniff(data[:HEAD])
    if format_name is None:
        raise Refusal("unsupported", f"not a picture of a kind that is read ({READABLE})")
    if format_name == "HEIF":
        _register_heif()
    Image.MAX_IMAGE_PIXELS = None  # the check below names the dimensions; Pillow's own, on again for later frames, does not
    picture = Image.open(io.BytesIO(data), formats=[format_name])
    width, height = picture.size
    if width * height > max_pixels:
        raise Refusal("huge", f"{width:,} x {height:,} pixels; at most {max_pixels // 1_000_000} million are read")
    if width < 1 or height < 1:
        raise Refusal("corrupt", "has no pixels")
    Image.MAX_IMAGE_PIXELS = max_pixels
    return picture


def _register_heif() -> None:
    try:
        import pillow_heif
    except ImportError:
        raise Refusal("unsupported", "HEIC is not read on this machine: the library pillow-heif is missing") from None
    pillow_heif.register_heif_opener(thumbnails=False)


def shrink(rgb: np.ndarray, short: int | None, long: int | None) -> Image.Image:
    """A picture of `rgb` (H, W, 3) made smaller, never larger, so that neither side bound is passed."""
    picture = Image.fromarray(rgb)
    width, height = picture.size
    scale = min(1.0, (short or 10**9) / min(width, height), (long or 10**9) / max(width, height))
    if scale == 1.0:
        return picture
    target = max(1, round(width * scale)), max(1, round(height * scale))
    return picture.resize(target, Image.Resampling.BICUBIC, reducing_gap=3.0)


def webp(picture: Image.Image) -> bytes:
    """`picture` re-encoded, without any metadata."""
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=THUMB_QUALITY, method=2)
    return out.getvalue()


def inspect(request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    """Decode fully (this is what tells a damaged file), measure, hash, and make the thumbnail."""
    picture = open_picture(data, int(request["max_pixels"]))
    name = "JPEG" if picture.format == "MPO" else str(picture.format)
    frames = int(getattr(picture, "n_frames", 1))
    rgb = to_rgb(picture)
    facts = {
        "width": rgb.shape[1],
        "height": rgb.shape[0],
        "format": name,
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "phash": perceptual_hash(Image.fromarray(rgb)),
        "frames": 1 if picture.format == "MPO" else frames,
    }
    return facts, webp(shrink(rgb, THUMB_SHORT, THUMB_LONG))


def view(request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    """The larger copy that a browser may see."""
    return {}, webp(shrink(to_rgb(open_picture(data, int(request["max_pixels"]))), None, VIEW_SIDE))


def pixels(request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes | memoryview]:
    """Upright RGB pixels: all of them, or made smaller to the requested side for a training cache."""
    picture = open_picture(data, int(request["max_pixels"]))
    short, long = request.get("short_side"), request.get("max_side")
    if picture.format in ("JPEG", "MPO") and (short or long):
        _draft(picture, short, long)
    rgb = to_rgb(picture)
    if short or long:
        rgb = np.ascontiguousarray(np.asarray(shrink(rgb, short, long)))
    return {"shape": list(rgb.shape)}, rgb.data.cast("B")


def _draft(picture: Image.Image, short: int | None, long: int | None) -> None:
    """Let the JPEG decoder itself halve the picture as long as twice the wanted size is left: much quicker, and as smooth."""
    width, height = picture.size
    scale = min(1.0, 2 * (short or 10**9) / min(width, height), 2 * (long or 10**9) / max(width, height))
    picture.draft(picture.mode, (round(width * scale), round(height * scale)))


OPERATIONS = {"inspect": inspect, "view": view, "pixels": pixels}


def answer(request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes | memoryview]:
    """The answer to one request; never raises, whatever the file does."""
    try:
        facts, data = OPERATIONS[request["op"]](request, read(request, payload))
        return {"ok": True, **facts}, data
    except Refusal as refusal:
        kind, reason = refusal.kind, refusal.reason
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        kind, reason = "huge", "unpacks to more pixels than its header says"
    except MemoryError:
        kind, reason = "huge", "needs more memory to decode than is allowed"
    except FileNotFoundError:
        kind, reason = "missing", "the file is no longer there"
    except PermissionError:
        kind, reason = "missing", "the file may not be read"
    except Exception as error:  # codecs raise every kind (struct.error, SyntaxError, ...): each means a damaged file
        truncated = "truncated" in str(error).lower()
        kind, reason = "corrupt", "damaged: part of the file is missing" if truncated else "damaged: it cannot be decoded"
    return {"ok": False, "kind": kind, "reason": reason}, b""


def own_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Standard input and output for this protocol alone: what a codec prints goes nowhere."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(nothing, descriptor)
    return requests, answers


def main() -> None:
    # Ctrl-C reaches the whole group; the parent decides when this child goes, by closing its pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    requests, answers = own_pipes()
    confine(int(sys.argv[1]))
    with contextlib.suppress(BrokenPipeError):
        while (message := wire.receive(requests, payload_cap=1 << 32)) is not None:
            wire.send(answers, *answer(*message))


if __name__ == "__main__":
    main()
