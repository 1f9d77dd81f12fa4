"""A run done again from its own folder: the same pictures, settings and seed, and what came out otherwise, if anything did."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blocklora.errors import JobError
from blocklora.files import read_json, sha256_file, write_json
from blocklora.jobs.run_folder import STOP, RunFolder
from blocklora.jobs.spec import RunSpec
from blocklora.services.results import KINDS
from blocklora.services.run_data import has, read_run_data

HEADER = 8  # bytes of a safetensors file that say how long its header is
LISTED = 5


@dataclass(frozen=True)
class Reproduced:
    """The new run against the old one.

    `adapter` and `answers`: bit by bit the same tensors, and the same figures. `weight` is the largest difference of a trained value,
    `probability` that of an answer's probability, `flipped` of `n` answers are other ones. `differences` are (what, then, now) of versions
    and machine; `notes` say what cannot be repeated.
    """

    run: str
    adapter: bool
    answers: bool
    adapter_hash: str
    weight: float | None
    probability: float
    flipped: int
    n: int
    correct_then: int
    correct_now: int
    differences: tuple[tuple[str, str, str], ...]
    notes: tuple[str, ...]


def prepare(old: RunFolder, out: Path, home: Path, pictures: Path | None = None) -> RunFolder:
    """Write the folder of a run that does `old` again. Pictures are found by their content: where they lay, in the run's project, or in the
    folder `pictures`.

    Raises:
        JobError: `old` has no result, `out` holds a run, or pictures are gone.
    """
    if old.result() is None:
        raise JobError(f"{old.path} has no result to compare with.", "Name a run that has finished.")
    new = RunFolder(out)
    if new.spec_path.exists():
        raise JobError(f"{out} already holds a run.", "Name another folder with --out.")
    values = read_json(old.dataset_path)
    places = _places(old, pictures)
    for part in ("dataset", "test"):
        if isinstance(values.get(part), dict):
            values[part]["items"] = [{**item, "path": str(places[item["sha256"]])} for item in values[part]["items"]]
    spec = old.spec()
    RunSpec.from_dict(spec)  # refuses what a newer version wrote
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JobError(f"{out} cannot be made: {error.strerror or error}.", "Name another folder with --out.") from error
    write_json(new.dataset_path, values)
    for name in (old.start_path.name, old.start_info_path.name):  # what a run that went on from another began with
        if (old.path / name).is_file():
            shutil.copyfile(old.path / name, new.path / name)
    # What follows a training (the export) is not part of what is compared.
    write_json(new.spec_path, {**spec, "home": str(home), "created": time.time(), "project_id": "", "project_name": "", "then": []})
    return new


def _places(run: RunFolder, pictures: Path | None) -> dict[str, Path]:
    """Where each picture lies now, by its content hash; every file is read and held against it.

    Raises:
        JobError: some are nowhere.
    """
    data = read_run_data(run)
    wanted = [*data.dataset.items, *(data.test.items if data.test is not None else ())]
    found = {item.sha256: Path(item.path) for item in wanted if Path(item.path).is_file() and sha256_file(Path(item.path)) == item.sha256}
    missing = {item.sha256: Path(item.path).name for item in wanted if item.sha256 not in found}
    if missing and pictures is not None:
        for path in (path for path in sorted(pictures.rglob("*")) if path.is_file()):
            key = sha256_file(path)
            if key in missing:
                found[key] = path
                del missing[key]
    if missing:
        names = ", ".join(list(missing.values())[:LISTED]) + (f" and {len(missing) - LISTED:,} more" if len(missing) > LISTED else "")
        raise JobError(
            f"{len(missing):,} of {len(wanted):,} pictures of this run are gone or were changed: {names}.",
            "Name a folder that has them with --pictures; file names do not matter.",
        )
    return found


def held_against(old: RunFolder, new: RunFolder) -> Reproduced:
    """What came out of the new run, against the old one.

    Raises:
        JobError: one of them has no result.
    """
    then, now = old.result(), new.result()
    if then is None or now is None:
        raise JobError("one of the two runs has no result.", "Let it finish first.")
    pairs = list(_answers(then, now))
    hashes = [tensors_hash(run.adapter_path) for run in (old, new)]
    shown = next((name for name in KINDS if has(then, name) and has(now, name)), "held_out")
    return Reproduced(
        run=str(new.path),
        adapter=hashes[0] == hashes[1] != "",
        answers=all(before == after for before, after in pairs) and _figures(then, now) == _figures(now, then),
        adapter_hash=hashes[1],
        weight=_largest(old.adapter_path, new.adapter_path),
        probability=max((abs(before[1] - after[1]) for before, after in pairs), default=0.0),
        flipped=sum(before[0] != after[0] for before, after in pairs),
        n=len(pairs),
        correct_then=int((then.get(shown) or {}).get("correct", 0)),
        correct_now=int((now.get(shown) or {}).get("correct", 0)),
        differences=tuple(differences(old.environment(), new.environment())),
        notes=tuple(_notes(old, then, now)),
    )


def _answers(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[tuple[int, float], tuple[int, float]]]:
    """(label, probability) of each picture in both results."""
    for name in KINDS:
        rows = [(result.get(name) or {}).get("images", []) for result in (then, now)]
        for before, after in zip(*rows, strict=False):
            yield (before["predicted"], before["probability"]), (after["predicted"], after["probability"])


def _figures(result: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """What a result measured, without times and places, and without what only one of the two had the time to measure."""
    kept = ("frozen", "zero_shot", "class_weights", "best_step", "steps_done")
    both = [name for name in KINDS if has(result, name) and has(other, name)]
    sections: dict[str, Any] = {name: [result[name][key] for key in ("n", "correct", "confusion")] for name in both}
    return {**{key: result.get(key) for key in kept}, **sections}


def _notes(old: RunFolder, then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    if bool(then.get("cross_validated")) != bool(now.get("cross_validated")):
        yield "Only one of the two had the time to judge every image by cross-validation; that part is not compared."
    if old.requested() == STOP:
        yield "The old run was stopped by hand, which cannot be repeated: this one went on by itself."
    if not old.environment():
        yield "The old run is from before versions and machine were written down, so what differs there is not known."


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """What two environments have otherwise: (what, then, now)."""
    if not then:
        return
    flat = [_flat(values) for values in (then, now)]
    for name in dict.fromkeys([*flat[0], *flat[1]]):
        before, after = flat[0].get(name, "–"), flat[1].get(name, "–")
        if before != after:
            yield name, before, after


def _flat(values: Mapping[str, Any]) -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= {name: str(inner) for name, inner in value.items()} if key != "began_with" else {}
        else:
            flat[key] = str(value)
    return flat


def tensors_hash(path: Path) -> str:
    """SHA-256 over the tensors of a safetensors file: names, types, shapes, bytes, not its metadata (a time is there); '' for no file."""
    try:
        data = path.read_bytes()
        (length,) = struct.unpack("<Q", data[:HEADER])
        header = json.loads(data[HEADER : HEADER + length])
    except (OSError, struct.error, ValueError):
        return ""
    digest = hashlib.sha256()
    body = memoryview(data)[HEADER + length :]
    for name, entry in sorted((name, entry) for name, entry in header.items() if name != "__metadata__"):
        start, end = entry["data_offsets"]
        digest.update(json.dumps([name, entry["dtype"], entry["shape"]]).encode())
        digest.update(body[start:end])
    return digest.hexdigest()


def _largest(old: Path, new: Path) -> float | None:
    """The largest difference of a value in two adapter files; None where they do not have the same tensors."""
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        before, after = load_file(old), load_file(new)
    except (OSError, SafetensorError, TypeError, KeyError):
        return None
    if before.keys() != after.keys() or any(before[name].shape != after[name].shape for name in before):
        return None
    return max((float(np.abs(before[name].astype(np.float64) - after[name]).max(initial=0.0)) for name in before), default=0.0)


def words(found: Reproduced) -> list[str]:
    """What came of it, in lines."""
    if found.adapter and found.answers:
        lines = [f"The same, bit by bit: adapter {found.adapter_hash[:12]}, {found.correct_now} right as before."]
    elif found.flipped or found.correct_then != found.correct_now:
        lines = [
            f"Not the same: {found.flipped} of {found.n} answers are other ones, {found.correct_now} right instead of {found.correct_then}."
        ]
    else:
        lines = [f"The same {found.n} answers, {found.correct_now} right as before, but not bit by bit."]
    if not (found.adapter and found.answers):
        weight = "not comparable" if found.weight is None else f"{found.weight:.2g}"
        lines.append(f"Largest difference of a probability {found.probability:.2g}, of a trained value {weight}.")
        lines += [f"{name}: {before} then, {after} now" for name, before, after in found.differences]
        if not found.differences:
            lines.append("Versions and machine are the same as far as they were written down.")
    return [*lines, *found.notes]
