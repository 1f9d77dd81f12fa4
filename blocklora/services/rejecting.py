"""The rule of a run for pictures of none of its classes: what was measured for it, what was chosen, and what the file holds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from blocklora import reject
from blocklora.files import Stamp, read_json, stamp, write_json
from blocklora.jobs.run_folder import RunFolder
from blocklora.reject import Outcome, Scores, Wish

CHOSEN = "reject.json"
"""A person's choice, in the run's folder; without it the default applies."""
RULE = "rule"
"""What the worker is asked for to write the run's rule into its published file."""


@dataclass(frozen=True)
class Rejecting:
    """`scores` of pictures that the model had not seen, `others` of something else; the `wish` that holds, and what it does on them.

    `all_pictures` says that the scores are those of cross-validation. `in_file` is the wish that the published file holds; None where
    there is no file, or one without a rule.
    """

    scores: Scores
    others: Scores | None
    all_pictures: bool
    wish: Wish
    in_file: Wish | None

    @property
    def outcome(self) -> Outcome:
        return reject.outcome(self.wish, self.scores, self.others)

    @property
    def waits(self) -> bool:
        """Whether the published file holds another rule than the one that was chosen."""
        return self.in_file is not None and self.in_file != self.wish


def scores_of(result: dict[str, Any]) -> tuple[Scores, Scores | None, bool]:
    """Scores of held-out pictures (of all, where they were cross-validated) and of pictures of something else, in a run's result."""
    rows = {key: _rows(result, key) for key in ("cross_validated", "held_out", "others")}
    every = any("familiar" in row for row in rows["cross_validated"])
    others = Scores.of_rows(rows["others"])
    return Scores.of_rows(rows["cross_validated"] if every else rows["held_out"]), others if len(others) else None, every


def _rows(result: dict[str, Any], key: str) -> list[dict[str, Any]]:
    section = result.get(key)
    found = section.get("images") if isinstance(section, dict) else None
    return found if isinstance(found, list) else []


def wish_of(run: RunFolder) -> Wish:
    """What was chosen for a run, else the default."""
    chosen = Wish.from_dict(read_json(run.path / CHOSEN))
    if chosen is not None:
        return chosen
    scores, others, _ = scores_of(run.result() or {})
    return reject.default(scores, others)


def choose(run: RunFolder, wish: Wish | None) -> None:
    """Keep a person's choice with the run; None for the default."""
    if wish is None:
        (run.path / CHOSEN).unlink(missing_ok=True)
    else:
        write_json(run.path / CHOSEN, wish.to_dict())


def rejecting(run: RunFolder) -> Rejecting | None:
    """All of it; None where the run has no scores (it was trained before there were rules, or kept no pictures aside)."""
    files = (run.result_path, run.path / CHOSEN, run.export_dir / "export.json", run.onnx_path)
    return _rejecting(run, tuple(map(stamp, files)))


@lru_cache(maxsize=8)
def _rejecting(run: RunFolder, written: tuple[Stamp | None, ...]) -> Rejecting | None:
    scores, others, every = scores_of(run.result() or {})
    if not len(scores):
        return None
    report = read_json(run.export_dir / "export.json", {})
    held = report.get("reject") if isinstance(report, dict) and run.onnx_path.is_file() else None
    return Rejecting(scores, others, every, wish_of(run), Wish.from_dict(held))
