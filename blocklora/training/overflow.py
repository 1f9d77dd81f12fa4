"""Arrays that memory is not to hold: written one after the other into a file without a name, read through a memory map.

The file is in the folder that it is given and goes with this process, however that ends: nothing is left behind by a run that is killed.
"""

from __future__ import annotations

import mmap
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from blocklora.errors import TrainingError


@dataclass(frozen=True)
class Place:
    """Where an array of bytes lies in the file, and its shape."""

    offset: int
    shape: tuple[int, ...]

    @property
    def n_bytes(self) -> int:
        return int(np.prod(self.shape))


class Overflow:
    """A file of uint8 arrays in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._stream = tempfile.TemporaryFile(dir=folder, prefix=".pictures-")  # noqa: SIM115 - open as long as this object lives
        weakref.finalize(self, self._stream.close)
        self._map: mmap.mmap | None = None
        self.n_bytes = 0

    def add(self, array: np.ndarray) -> Place:
        """Write an array (uint8, any shape, not empty).

        Raises:
            TrainingError: the disk is full.
        """
        place = Place(self.n_bytes, array.shape)
        try:
            self._stream.seek(place.offset)
            self._stream.write(array.tobytes())
        except OSError as error:
            raise TrainingError(
                f"the disk has no room for the decoded training pictures ({error.strerror or error}).",
                "Free some disk, or train on fewer images.",
            ) from error
        self.n_bytes += place.n_bytes
        return place

    def read(self, place: Place) -> np.ndarray:
        """A copy of an array."""
        if self._map is None or len(self._map) < place.offset + place.n_bytes:
            self._stream.flush()
            self._map = mmap.mmap(self._stream.fileno(), 0, access=mmap.ACCESS_READ)
        return np.frombuffer(self._map, np.uint8, place.n_bytes, place.offset).reshape(place.shape).copy()
