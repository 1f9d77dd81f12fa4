"""Pictures decoded outside this process: one at a time for a person who waits, or many on a few children."""

from __future__ import annotations

import atexit
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

import psutil

from blocklora.errors import ImageError
from blocklora.projects.decoder import Decoder, Refused, Source
from blocklora.projects.limits import DEFAULT_LIMITS, IntakeLimits

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")
R = TypeVar("R")

WORKERS = max(1, min(2, os.cpu_count() or 1))
EACH = 2 * 2**30  # bytes that a child takes for a picture of a hundred megapixels, with what waits of its pictures on this side
# For work that does little else than to wait for pictures: as many as there are cores, and as half of the memory holds.
MANY = max(WORKERS, min(8, os.cpu_count() or 1, psutil.virtual_memory().total // 2 // EACH))

# Started when first needed and kept: a webcam picture or a thumbnail is answered without starting anew, and however many imports
# go on at once, this process has no more children than these. Each is locked for one picture at a time only.
_SHARED = tuple(Decoder() for _ in range(WORKERS))


@atexit.register
def close_children() -> None:
    """Let the children go; the next picture starts them again."""
    for decoder in _SHARED:
        decoder.close()


def shared_decoder() -> Decoder:
    """The child for a person who waits for one picture."""
    return _SHARED[0]


def decode_rgb(source: Source) -> np.ndarray:
    """All pixels of one picture, upright RGB (H, W, 3) uint8: the same numbers wherever the product looks at a file.

    Raises:
        ImageError: saying why this file cannot be used.
    """
    pixels = shared_decoder().pixels(source)
    if isinstance(pixels, Refused):
        raise _error(source, pixels)
    return pixels


def decode_many(
    paths: Iterable[Path | str], short_side: int | None = None, max_side: int | None = None, workers: int = WORKERS
) -> Iterator[tuple[Path, np.ndarray | ImageError]]:
    """Upright RGB pixels (H, W, 3) uint8 of many files, in their order; a file that cannot be used gives its error instead.

    With `short_side` or `max_side` pictures are made smaller, antialiased, never larger (a training cache; JPEG is decoded at
    reduced size). Without, every pixel is there (prediction, parity): the same as `decode_rgb`.
    """

    def work(decoder: Decoder, path: Path) -> np.ndarray | Refused:
        return decoder.pixels(path, short_side, max_side)

    for path, found in map_decoders(work, map(Path, paths), workers):
        yield path, _error(path, found) if isinstance(found, Refused) else found


def map_decoders(
    work: Callable[[Decoder, T], R], items: Iterable[T], workers: int = WORKERS, limits: IntakeLimits = DEFAULT_LIMITS
) -> Iterator[tuple[T, R]]:
    """`work(decoder, item)` for each item, on up to `workers` children at once, results in the order of the items.

    Items are taken from their iterator only a few ahead, so that neither pixels nor unpacked files pile up.
    """
    own = limits != DEFAULT_LIMITS or workers > WORKERS  # children with other limits, and more than are kept, are not shared
    decoders = [Decoder(limits) for _ in range(workers)] if own else list(_SHARED[: max(1, workers)])
    workers = len(decoders)
    free: SimpleQueue[Decoder] = SimpleQueue()
    for decoder in decoders:
        free.put(decoder)

    def run(item: T) -> R:
        decoder = free.get()
        try:
            return work(decoder, item)
        finally:
            free.put(decoder)

    pending: deque[tuple[T, Future[R]]] = deque()
    threads = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        for item in items:
            pending.append((item, threads.submit(run, item)))
            if len(pending) > workers:
                first, future = pending.popleft()
                yield first, future.result()
        while pending:
            first, future = pending.popleft()
            yield first, future.result()
    finally:
        threads.shutdown(wait=True, cancel_futures=True)
        for decoder in decoders if own else ():
            decoder.close()


def _error(source: Source, refused: Refused) -> ImageError:
    name = "The picture" if isinstance(source, bytes) else source.name
    return ImageError(f"{name} cannot be used: {refused.reason}.", "Leave it out or replace it.")
