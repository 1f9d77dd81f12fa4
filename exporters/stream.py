"""Many pictures, one after the other: pictures are answered while the next ones are being decoded, and only a handful is in memory.

On a processor each picture runs by itself on one core, and as many run at once as there are cores. That gives every picture the very
numbers that it gets alone, whatever its neighbours are; nothing is shared out and waited for inside a run, so cores that are busy with
something else hold nobody up (`tests/benchmarks/prediction.py` measures it). An accelerator wants pictures together, so there those of
one size run as one, and the next ones are collected meanwhile.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")  # what an item is besides its picture
A = TypeVar("A")  # the answer for one picture

WAITING_VALUES = 3 * 16_000_000  # bytes of decoded pictures that may wait for their answers, beside the one that came last


@dataclass(frozen=True)
class Lanes:
    """`count` groups of pictures run at once, each of at most `together` pictures."""

    count: int
    together: int


def in_lanes(
    items: Iterable[tuple[T, np.ndarray | None]], answer: Callable[[Sequence[np.ndarray]], Sequence[A]], lanes: Lanes
) -> Iterator[tuple[T, A | None]]:
    """For each item, in order, what `answer` says of its picture (H, W, 3), or None where it has none.

    `answer` gets pictures that run together and gives as many answers; it is called from several threads at once. Items are taken from
    their iterator only a few ahead of the answers.
    """
    waiting: deque[_Group[T, A]] = deque()
    group: _Group[T, A] = _Group()
    threads = ThreadPoolExecutor(lanes.count, thread_name_prefix="predict")
    try:
        for key, picture in items:
            group.take(key, picture)
            if len(group.keys) >= lanes.together or group.size >= WAITING_VALUES:
                waiting.append(group.sent(threads, answer))
                group = _Group()
            while waiting and (waiting[0].is_done() or _enough(waiting, lanes)):
                yield from waiting.popleft().answers()
        waiting.append(group.sent(threads, answer))
        while waiting:
            yield from waiting.popleft().answers()
    finally:  # also where nobody asks for more: what has begun is waited for, nothing new begins
        threads.shutdown(wait=True, cancel_futures=True)


def _enough(waiting: deque[_Group[T, A]], lanes: Lanes) -> bool:
    return len(waiting) > lanes.count + 1 or sum(group.size for group in waiting) > WAITING_VALUES


class _Group(Generic[T, A]):
    """Items whose pictures run together. `size` is in bytes."""

    def __init__(self) -> None:
        self.keys: list[tuple[T, bool]] = []
        self.pictures: list[np.ndarray] = []
        self.size = 0
        self._found: Future[Sequence[A]] | None = None

    def take(self, key: T, picture: np.ndarray | None) -> None:
        self.keys.append((key, picture is not None))
        if picture is not None:
            self.pictures.append(picture)
            self.size += picture.size

    def sent(self, threads: ThreadPoolExecutor, answer: Callable[[Sequence[np.ndarray]], Sequence[A]]) -> _Group[T, A]:
        if self.pictures:
            self._found = threads.submit(answer, self.pictures)
        return self

    def is_done(self) -> bool:
        return self._found is None or self._found.done()

    def answers(self) -> Iterator[tuple[T, A | None]]:
        found = iter(self._found.result() if self._found is not None else ())
        for key, has_picture in self.keys:
            yield key, next(found) if has_picture else None
