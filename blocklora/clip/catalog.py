"""Which backbones there are, and where: built in, on this machine, or to be downloaded. Imports nothing heavy.

A backbone is a folder with two files in open_clip's own layout, `open_clip_config.json` and `open_clip_model.safetensors`. The
built-in one lives in `assets/builtin`, and can be used with a smaller input than its own under another name; others live in
`<home>/backbones/<name>`; a person may put one there by hand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from blocklora.errors import BackboneError
from blocklora.presets import BUILTIN, BUILTIN_SMALL, is_builtin

CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILE = "open_clip_model.safetensors"
BUILTIN_FOLDER = Path(__file__).resolve().parents[2] / "assets" / "builtin"

BUILT_IN = "built in"
ON_THIS_MACHINE = "on this machine"
CAN_BE_DOWNLOADED = "can be downloaded"


@dataclass(frozen=True)
class BackboneInfo:
    """What a person needs to know to choose a backbone.

    `size_mb` is the size of its weights file in megabytes; `resolution` the side of its input in pixels; `zero_shot` a published
    figure in words. `model` and `tag` are open_clip's names for known ones; `repository` and `revision` say where the files lie on the
    Hugging Face hub, `sha256` what the weights are ('' where only the hub states it); `twin` is where the same weights lie there for
    the transformers library ('' where they do not).
    """

    name: str
    title: str
    size_mb: float
    licence: str
    resolution: int
    note: str = ""
    good_for: str = ""
    zero_shot: str = ""
    builtin: bool = False
    model: str = ""
    tag: str = ""
    repository: str = ""
    revision: str = ""
    sha256: str = ""
    twin: str = ""
    where: str = CAN_BE_DOWNLOADED


# Sizes are those of float32 weights. Zero-shot figures are published top-1 on ImageNet: open_clip's and the models' own papers.
KNOWN: tuple[BackboneInfo, ...] = (
    BackboneInfo(
        name="ViT-B-32",
        title="CLIP ViT-B/32 (DataComp)",
        size_mb=605,
        licence="MIT",
        resolution=224,
        note="Knows most everyday things by name.",
        good_for="The first choice for photographs when the built-in one is not enough; quick on a processor.",
        zero_shot="69.2 % on ImageNet",
        model="ViT-B-32",
        tag="datacomp_xl_s13b_b90k",
        repository="laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K",
        revision="f0e2ffa09cbadab3db6a261ec1ec56407ce42912",
        sha256="3c00043509d2e3f35ec62bd85a643a393883dcda624d8208d034cc390c708297",
        twin="laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K",
    ),
    BackboneInfo(
        name="ViT-B-16",
        title="CLIP ViT-B/16 (OpenAI)",
        size_mb=599,
        licence="MIT",
        resolution=224,
        note="The model that papers on few-shot CLIP report.",
        good_for="Finer detail than ViT-B/32, at about four times the work; comparing with published figures.",
        zero_shot="68.3 % on ImageNet",
        model="ViT-B-16",
        tag="openai",
        repository="timm/vit_base_patch16_clip_224.openai",
        revision="977e3dd0ec55ab8da155f2fbeb6b5f54948b6e3d",
        sha256="4b8699299b1e8997753c64b052ba32031449d5d853f55a039148560ee02b820f",
        twin="openai/clip-vit-base-patch16",
    ),
    BackboneInfo(
        name="MobileCLIP2-S0",
        title="MobileCLIP2 S0",
        size_mb=299,
        licence="Apple AMLR (research only)",
        resolution=256,
        note="Mostly convolutions: only its last two layers have attention to adapt.",
        good_for="Small exported files and quick prediction. Not for commercial use.",
        zero_shot="71.5 % on ImageNet",
        model="MobileCLIP2-S0",
        tag="dfndr2b",
        repository="timm/MobileCLIP2-S0-OpenCLIP",
        revision="095906d28bf54d7584dc411e8ffe448f34289e05",
        sha256="ab91a1a0c4330d6b1913e24d5035dfdea15423316aaec649610c6b1c6ddd0e95",
    ),
    BackboneInfo(
        name="SigLIP2-B-32",
        title="SigLIP 2 ViT-B/32, 256 px",
        size_mb=1507,
        licence="Apache-2.0",
        resolution=256,
        note="Reads class names in many languages. Needs the Python package transformers for its tokenizer.",
        good_for="Class names that are not English.",
        zero_shot="74.0 % on ImageNet",
        model="ViT-B-32-SigLIP2-256",
        tag="webli",
        repository="timm/ViT-B-32-SigLIP2-256",
        revision="cd1efb47643f2794413dd79ef24397c175032780",
    ),
    BackboneInfo(
        name="ViT-L-14",
        title="CLIP ViT-L/14 (OpenAI)",
        size_mb=1711,
        licence="MIT",
        resolution=224,
        note="Needs a graphics card to be trained in reasonable time.",
        good_for="The best accuracy of this list.",
        zero_shot="75.5 % on ImageNet",
        model="ViT-L-14",
        tag="openai",
        repository="timm/vit_large_patch14_clip_224.openai",
        revision="18d0535469bb561bf468d76c1d73aa35156c922b",
        twin="openai/clip-vit-large-patch14",
    ),
)


def folder_of(name: str, home: Path) -> Path:
    """The folder where the backbone `name` lives, whether it is there or not. A name with a separator in it is a folder itself."""
    if is_builtin(name):
        return BUILTIN_FOLDER
    if "/" in name or "\\" in name:
        return Path(name).expanduser()
    return home / "backbones" / name


def is_present(folder: Path) -> bool:
    """Whether both files of a backbone are in `folder`."""
    return (folder / CONFIG_FILE).is_file() and (folder / WEIGHTS_FILE).is_file()


def known(name: str) -> BackboneInfo | None:
    """The entry of a backbone that can be downloaded, or None."""
    return next((info for info in KNOWN if info.name == name), None)


def list_backbones(home: Path) -> list[BackboneInfo]:
    """Every backbone that can be chosen: the built-in one (twice, by its input), the known ones, those put into `<home>/backbones`."""
    found = _builtin(read_config(BUILTIN_FOLDER)) if is_present(BUILTIN_FOLDER) else []
    found += [replace(info, where=ON_THIS_MACHINE) if is_present(folder_of(info.name, home)) else info for info in KNOWN]
    names = {info.name for info in found}
    folders = sorted(
        path for path in (home / "backbones").glob("*") if path.is_dir() and path.name not in names and not path.name.startswith(".")
    )
    for folder in folders:
        if is_present(folder):
            try:
                found.append(_local(folder.name, folder, read_config(folder)))
            except BackboneError:
                continue  # not a backbone that can be loaded; loading it by name says what is wrong
    return found


def find(name: str, home: Path) -> BackboneInfo | None:
    """The entry of `name`, where the list has it."""
    return next((info for info in list_backbones(home) if info.name == name), None)


def read_config(folder: Path) -> dict[str, Any]:
    """The contents of a backbone's `open_clip_config.json`.

    Raises:
        BackboneError: the file is missing, is not JSON, or has no "model_cfg" with both towers.
    """
    path = folder / CONFIG_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BackboneError(f"There is no {CONFIG_FILE} in {folder}.", "Put the backbone's two files there.") from error
    except ValueError as error:
        raise BackboneError(f"{path} is not valid JSON.", "Get the file again.") from error
    model = values.get("model_cfg") if isinstance(values, dict) else None
    complete = isinstance(model, dict) and "embed_dim" in model and all(isinstance(model.get(t), dict) for t in ("vision_cfg", "text_cfg"))
    if not complete:
        raise BackboneError(f'{path} has no "model_cfg" with embed_dim, vision_cfg and text_cfg.', "Use open_clip's own file.")
    return values


def config_of(name: str, home: Path) -> dict[str, Any]:
    """The configuration of the backbone `name`; the built-in one's with a smaller input where the name asks for that.

    Raises:
        BackboneError: as `read_config`; or the built-in weights are not made for a smaller input.
    """
    values = read_config(folder_of(name, home))
    return values if name != BUILTIN_SMALL else _smaller(values)


def _smaller(values: dict[str, Any]) -> dict[str, Any]:
    """The built-in backbone's configuration for the smaller input that its files speak of ("small" in "studio")."""
    small = values.get("studio", {}).get("small")
    if not small:
        raise BackboneError("These built-in weights take one size of input only.", f"Use {BUILTIN!r}.")
    model, side = values["model_cfg"], small["image_size"]
    return {
        **values,
        "model_cfg": {**model, "vision_cfg": {**model["vision_cfg"], "image_size": side}},
        "preprocess_cfg": {**values.get("preprocess_cfg", {}), "size": side},
        "studio": {**values["studio"], **small},
    }


def _builtin(values: dict[str, Any]) -> list[BackboneInfo]:
    """The entries of the built-in backbone: as its files have it, and with a smaller input where they allow one."""
    whole = replace(
        _local(BUILTIN, BUILTIN_FOLDER, values),
        title="Built-in offline starter",
        note="A small CLIP that comes with the program. Where a network can be reached, CLIP ViT-B/32 sees and knows far more.",
        good_for="Trying things out, machines without a network, and without a graphics card.",
        builtin=True,
        where=BUILT_IN,
    )
    if not values.get("studio", {}).get("small"):
        return [whole]
    small = _local(BUILTIN_SMALL, BUILTIN_FOLDER, _smaller(values))
    smaller = replace(
        whole,
        name=BUILTIN_SMALL,
        title=f"{whole.title}, {small.resolution} px",
        resolution=small.resolution,
        zero_shot=small.zero_shot,
        note="The same model, shown smaller pictures.",
        good_for="For slow machines, and files that must answer quickly. Fine patterns lose by it; objects hardly do.",
    )
    return [whole, smaller]


def _local(name: str, folder: Path, values: dict[str, Any]) -> BackboneInfo:
    """An entry for a backbone that only its own files describe; "studio" in its config may carry words of its own."""
    words = values.get("studio", {})
    size = values["model_cfg"]["vision_cfg"].get("image_size", 224)
    return BackboneInfo(
        name=name,
        title=str(words.get("title", name)),
        size_mb=round((folder / WEIGHTS_FILE).stat().st_size / 1e6, 1),
        licence=str(words.get("licence", "see where it came from")),
        resolution=int(size if isinstance(size, int) else size[0]),
        note=str(words.get("note", "")),
        good_for=str(words.get("good_for", "")),
        zero_shot=str(words.get("zero_shot", "")),
        where=ON_THIS_MACHINE,
    )
