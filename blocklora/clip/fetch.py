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
from blocklora.clip.fetching import DONE, FAILED, Fetch, log_path, read_fetch, write_fetch
from blocklora.errors import BackboneError

EVERY = 0.5  # seconds between two words
SPAN = 8.0  # seconds that the speed is a mean of


class Teller:
    """Writes progress, not too often, with the speed of the last seconds."""

    def __init__(self, home: Path, fetch: Fetch) -> None:
        self.home, self.fetch = home, fetch
        self._seen: deque[tuple[float, int]] = deque()
        self._told = 0.0
        self._file = ""

    def __call__(self, progress: DownloadProgress) -> None:
        now = time.monotonic()
        if now - self._told < EVERY and progress.done < progress.total and not progress.checking:
            return
        self._told = now
        if progress.file != self._file:  # what an earlier attempt had brought of this file is no speed
            self._file = progress.file
            self._seen.clear()
        self._seen.append((now, progress.done))
        while now - self._seen[0][0] > SPAN:
            self._seen.popleft()
        since, before = self._seen[0]
        speed = (progress.done - before) / (now - since) if now > since else 0.0
        checking = progress.checking
        self.fetch = replace(self.fetch, done=progress.done, total=progress.total, speed=0.0 if checking else speed, checking=checking)
        write_fetch(self.home, self.fetch)

    def failed(self, message: str, advice: str) -> None:
        """The last word of a fetch that did not work out."""
        write_fetch(self.home, replace(self.fetch, state=FAILED, speed=0.0, checking=False, message=message, advice=advice))


def fetch(home: Path, name: str, file: str = "") -> None:
    """Bring the known backbone `name` to `home`.

    Raises:
        BackboneError: it is not known, or could not be brought here; the state says so too.
    """
    earlier = read_fetch(home, name) or Fetch(name)
    teller = Teller(home, Fetch(name, done=earlier.done, total=earlier.total, file=file))
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
        teller.failed(error.message, error.advice)
        raise
    except Exception as error:  # a bug, or a machine in a state that nobody thought of: the person hears of it all the same
        reason = (str(error).strip().splitlines() or [""])[0][:160] or type(error).__name__
        teller.failed(f"Fetching {name} failed: {reason}.", f"The details are in {log_path(home, name)}.")
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
