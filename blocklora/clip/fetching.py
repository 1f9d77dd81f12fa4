"""How far the fetching of a backbone is: one small file beside its folder, written by the worker and read by whoever wants to know."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from blocklora.files import read_json, write_json

RUNNING, DONE, FAILED, STOPPED = "running", "done", "failed", "stopped"


@dataclass(frozen=True)
class Fetch:
    """The last fetch of the backbone `name`.

    `done` and `total` are bytes (total 0 while it is not known), `speed` bytes a second, `message` and `advice` why it failed, `file` the
    local file it was to be made of ('' for a download); `checking` says that all has arrived and the hash is computed.
    """

    name: str
    state: str = RUNNING
    done: int = 0
    total: int = 0
    speed: float = 0.0
    message: str = ""
    advice: str = ""
    file: str = ""
    checking: bool = False

    @property
    def seconds_left(self) -> float | None:
        """How long it takes from here, or None where nobody can say."""
        return (self.total - self.done) / self.speed if self.speed > 0 and self.total else None


def _beside(home: Path, name: str, what: str) -> Path:
    return home / "backbones" / f".{name}.{what}"


def state_path(home: Path, name: str) -> Path:
    """The file with the state of the last fetch."""
    return _beside(home, name, "fetch.json")


def heartbeat_path(home: Path, name: str) -> Path:
    """The file that says which process fetches."""
    return _beside(home, name, "heartbeat.json")


def log_path(home: Path, name: str) -> Path:
    """What the process had to say."""
    return _beside(home, name, "fetch.log")


def read_fetch(home: Path, name: str) -> Fetch | None:
    """The last fetch as its worker left it, or None."""
    try:
        values = read_json(state_path(home, name))
        return Fetch(**values) if isinstance(values, dict) else None
    except (TypeError, ValueError):  # written by another version, or damaged: as good as none
        return None


def write_fetch(home: Path, fetch: Fetch) -> None:
    """Say how far it is."""
    write_json(state_path(home, fetch.name), asdict(fetch))
