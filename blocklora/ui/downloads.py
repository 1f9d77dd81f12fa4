"""Files that the page may fetch: each is offered once by the code that made it, under a name nobody can guess.

A path that a person typed never gets in here; only files that the product itself wrote do.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote


@dataclass(frozen=True)
class Offer:
    """A file on disk and the name it is saved under."""

    path: Path
    filename: str


class Downloads:
    """The files on offer; the oldest are forgotten when there are more than `keep`."""

    def __init__(self, keep: int = 500) -> None:
        self._offers: OrderedDict[str, Offer] = OrderedDict()
        self._keep = keep
        self._lock = threading.Lock()

    def offer(self, path: Path, filename: str) -> str:
        """The address under which the page fetches `path`; the same file keeps its address."""
        offer = Offer(path.resolve(), filename.replace("/", "-").replace("\\", "-") or path.name)
        with self._lock:
            for token, known in self._offers.items():
                if known == offer:
                    self._offers.move_to_end(token)
                    break
            else:
                token = secrets.token_urlsafe(18)
                self._offers[token] = offer
                while len(self._offers) > self._keep:
                    self._offers.popitem(last=False)
        return f"/download/{token}/{quote(offer.filename)}"

    def find(self, token: str) -> Offer | None:
        """What is on offer under `token`, where it is still there."""
        with self._lock:
            offer = self._offers.get(token)
        return offer if offer is not None and offer.path.is_file() else None
