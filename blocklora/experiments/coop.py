"""The eleven benchmark sets of CoOp (Zhou et al. 2022, arXiv 2109.01134), in the folders in which its users keep them.

Nine have their pictures in a folder and a `split_zhou_<Name>.json` beside it: {"train": [[path, label, class name], ...], "val": ...,
"test": ...}, paths relative to the folder of pictures. FGVC Aircraft has text files of its own, ImageNet has class folders and a list of
names. What such a file says comes from elsewhere: no path may lead out of the folder of pictures.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blocklora.errors import ImportRefused
from blocklora.experiments.sets import SUFFIXES, LabelledSet, class_folder_set, dataset_of

MOST_BYTES = 1 << 28  # of a split file; the largest of the nine has some 10 MB


@dataclass(frozen=True)
class Place:
    """Where a set's pictures lie, below its folder, and the name in its split file's name."""

    pictures: str
    split: str

    @property
    def file(self) -> str:
        return f"split_zhou_{self.split}.json"


SPLIT_SETS = {
    "caltech-101": Place("101_ObjectCategories", "Caltech101"),
    "dtd": Place("images", "DescribableTextures"),
    "eurosat": Place("2750", "EuroSAT"),
    "food-101": Place("images", "Food101"),
    "oxford_flowers": Place("jpg", "OxfordFlowers"),
    "oxford_pets": Place("images", "OxfordPets"),
    "stanford_cars": Place(".", "StanfordCars"),
    "sun397": Place("SUN397", "SUN397"),
    "ucf101": Place("UCF-101-midframes", "UCF101"),
}
AIRCRAFT, IMAGENET = "fgvc_aircraft", "imagenet"
ELEVEN = (*SPLIT_SETS, AIRCRAFT, IMAGENET)


def find_sets(root: Path) -> list[str]:
    """Names of all sets in `root`, of either layout, sorted."""
    if not root.is_dir():
        return []
    return sorted(path.name for path in root.iterdir() if path.is_dir() and (_marker(path).exists() or _is_class_folders(path)))


def read_set(root: Path, name: str) -> LabelledSet:
    """The set `name` in `root`.

    Raises:
        ImportRefused: there is no such set, or its files are not what they should be.
    """
    folder = root / name
    if Path(name).name != name or name in (".", "..") or not folder.is_dir():
        known = ", ".join(find_sets(root)) or "none"
        raise ImportRefused(f"There is no set {name!r} in {root}; there are: {known}.", "Name one of those, or give another folder.")
    if name in SPLIT_SETS and _marker(folder).exists():
        return _split_set(folder, SPLIT_SETS[name])
    if name == AIRCRAFT and _marker(folder).exists():
        return _aircraft(folder)
    if name == IMAGENET and _marker(folder).exists():
        return _imagenet(folder)
    if _is_class_folders(folder):
        return class_folder_set(folder)
    wanted = f"{name}/{SPLIT_SETS[name].file}" if name in SPLIT_SETS else f"{name}/train/<class> and {name}/test/<class>"
    raise ImportRefused(f"{folder} holds no set of a known layout.", f"Put {wanted} into {root}.")


def _marker(folder: Path) -> Path:
    """The file by which one of the eleven is known."""
    if folder.name in SPLIT_SETS:
        return folder / SPLIT_SETS[folder.name].file
    return folder / {AIRCRAFT: "variants.txt", IMAGENET: "classnames.txt"}.get(folder.name, "split_zhou_.json")


def _is_class_folders(folder: Path) -> bool:
    return (folder / "train").is_dir() and (folder / "test").is_dir()


def _split_set(folder: Path, place: Place) -> LabelledSet:
    path = folder / place.file
    advice = "Get the file again; it belongs to CoOp's description of its data sets."
    if path.stat().st_size > MOST_BYTES:
        raise ImportRefused(f"{path} has {path.stat().st_size:,} bytes; a split file has at most {MOST_BYTES:,}.", advice)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        parts = {part: [_entry(entry) for entry in values[part]] for part in ("train", "test")}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"{part_of(error)}"
        raise ImportRefused(f"{path} is damaged: {reason}.", advice) from error
    names: dict[int, str] = {}
    for _, label, name in (*parts["train"], *parts["test"]):
        if names.setdefault(label, name) != name:
            raise ImportRefused(f"{path} calls the label {label} {names[label]!r} and {name!r}.", advice)
    if sorted(names) != list(range(len(names))) or not parts["train"] or not parts["test"]:
        raise ImportRefused(f"{path} has labels {min(names, default=0)} to {max(names, default=0)} for {len(names)} classes.", advice)
    pictures = {part: _confined(folder / place.pictures, [(rel, label) for rel, label, _ in parts[part]], path) for part in parts}
    ordered = [names[label] for label in range(len(names))]
    return LabelledSet(folder.name, dataset_of(ordered, pictures["train"]), dataset_of(ordered, pictures["test"]))


def part_of(error: Exception) -> str:
    """What is wrong with a file, in words that fit behind a colon."""
    return f"it has no list {error}" if isinstance(error, KeyError) else (str(error).splitlines() or [type(error).__name__])[0][:200]


def _entry(entry: Any) -> tuple[str, int, str]:
    """A line [path, label, class name].

    Raises:
        ValueError: it is something else.
    """
    if isinstance(entry, list) and len(entry) == 3:
        path, label, name = entry
        if isinstance(path, str) and isinstance(name, str) and isinstance(label, int) and not isinstance(label, bool) and label >= 0:
            return path, label, name
    raise ValueError(f"{str(entry)[:80]!r} is not [path, label, class name]")


def _confined(folder: Path, entries: list[tuple[str, int]], source: Path) -> list[tuple[Path, int]]:
    """Files of relative paths in `folder`, which may itself be a link.

    Raises:
        ImportRefused: a path leads out of the folder, or there is no such file.
    """
    real, found = folder.resolve(), []
    for relative, label in entries:
        try:
            path = (real / relative.replace("\\", "/")).resolve()
            inside, there = path.is_relative_to(real), path.is_file()
        except (ValueError, OSError, RuntimeError):  # a name with a zero byte, or too long, or links in a circle
            inside, there = False, False
        if not inside:
            raise ImportRefused(f"{source} names {relative[:200]!r}, which is outside of {folder}.", "Use a split file that you trust.")
        if not there:
            raise ImportRefused(f"{source} names {relative[:200]!r}, which is not in {folder}.", "Unpack the set's pictures there.")
        found.append((path, label))
    return found


def _lines(path: Path) -> list[tuple[str, str]]:
    """Lines of a text file as (first word, rest)."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ImportRefused(f"{path} cannot be read: {error}.", "Get the set again.") from error
    return [(words[0], words[1].strip() if len(words) > 1 else "") for words in (line.split(" ", 1) for line in lines if line.strip())]


def _aircraft(folder: Path) -> LabelledSet:
    """`variants.txt` names the classes; `images_variant_<part>.txt` has a line "number class" for each picture images/<number>.jpg."""
    names = [" ".join(words).strip() for words in _lines(folder / "variants.txt")]
    parts = {}
    for part in ("train", "test"):
        source = folder / f"images_variant_{part}.txt"
        lines = _lines(source)
        strange = [name for _, name in lines if name not in names]
        if strange or not lines:
            raise ImportRefused(f"{source} has {strange[:1] or 'no pictures'}, not a variant of variants.txt.", "Get the set again.")
        parts[part] = dataset_of(
            names, _confined(folder / "images", [(f"{number}.jpg", names.index(name)) for number, name in lines], source)
        )
    return LabelledSet(folder.name, parts["train"], parts["test"])


def _imagenet(folder: Path) -> LabelledSet:
    """`classnames.txt` has a line "folder name" for each class; pictures: images/train/<folder>, to test on images/val/<folder>."""
    classes = _lines(folder / "classnames.txt")
    parts = {}
    for part, place in (("train", "train"), ("test", "val")):
        entries = []
        for label, (wnid, _) in enumerate(classes):
            home = folder / "images" / place / wnid
            if Path(wnid).name != wnid or not home.is_dir():
                raise ImportRefused(
                    f"classnames.txt names the folder {wnid!r}, which is not in {home.parent}.", "Unpack the pictures there."
                )
            entries += [(path, label) for path in sorted(home.iterdir()) if path.suffix.lower() in SUFFIXES]
        parts[part] = dataset_of([name for _, name in classes], entries)
    return LabelledSet(folder.name, parts["train"], parts["test"])
