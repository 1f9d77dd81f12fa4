"""The worker that brings a backbone to this machine: `python -m blocklora.clip.fetch HOME NAME [FILE]`.

It downloads NAME, or makes it of the local FILE, and writes how far it is for the window. Killed at any moment it leaves what has
arrived, and the same command goes on from there.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from dataclasses import replace
from pathlib import Path

from blocklora.clip.catalog import folder_of, known
from blocklora.clip.download import DownloadProgress, download
from blocklora.clip.fetching import DONE, FAILED, Fetch, write_fetch
from blocklora.errors import BackboneError

EVERY = 0.5  # seconds between two words
SPAN = 8.0  # seconds that the speed is a mean of


class Teller:
    """Writes progress, not too often, with the speed of the last seconds."""

    def __init__(self, home: Path, fetch: Fetch) -> None:
        self.home, self.fetch = home, fetch
        self._seen: deque[tuple[float, int]] = deque()
        self._told = 0.0

    def __call__(self, progress: DownloadProgress) -> None:
        now = time.monotonic()
        if now - self._told < EVERY and progress.done < progress.total:
            return
        self._told = now
        self._seen.append((now, progress.done))
        while now - self._seen[0][0] > SPAN:
            self._seen.popleft()
        since, before = self._seen[0]
        speed = (progress.done - before) / (now - since) if now > since else 0.0
        self.fetch = replace(self.fetch, done=progress.done, total=progress.total, speed=speed)
        write_fetch(self.home, self.fetch)


def fetch(home: Path, name: str, file: str = "") -> None:
    """Bring the known backbone `name` to `home`.

    Raises:
        BackboneError: it is not known, or could not be brought here; the state says so too.
    """
    teller = Teller(home, Fetch(name, file=file))
    try:
        info = known(name)
        if info is None:
            raise BackboneError(f"There is no backbone {name!r} to fetch.", "Choose one of the list.")
        if file:
            from blocklora.clip.local_file import use_local_file  # needs torch; a download does not

            use_local_file(info, Path(file), folder_of(name, home))
        else:
            download(info, folder_of(name, home), teller)
    except BackboneError as error:
        write_fetch(home, replace(teller.fetch, state=FAILED, speed=0.0, message=error.message, advice=error.advice))
        raise
    write_fetch(home, replace(teller.fetch, state=DONE))


def main() -> int:
    """0 when the backbone is here, 1 when it could not be brought here."""
    if len(sys.argv) not in (3, 4):
        print("usage: python -m blocklora.clip.fetch HOME NAME [FILE]", file=sys.stderr)
        return 2
    try:
        fetch(Path(sys.argv[1]), *sys.argv[2:])
    except BackboneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
