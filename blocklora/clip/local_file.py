"""A known backbone from a weights file that is already on this machine, for machines that cannot reach the hub."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.transform import PreprocessCfg
from safetensors import SafetensorError, safe_open

from blocklora.clip.build import build_model
from blocklora.clip.catalog import CONFIG_FILE, WEIGHTS_FILE, BackboneInfo
from blocklora.clip.download import TOKENIZER_FILES, check_space, files_of, lock_of, page_of, partial_folder
from blocklora.errors import BackboneError
from blocklora.files import publish, write_json

SUFFIX = ".safetensors"
NAMED = 3  # names of tensors in an explanation


def known_config(info: BackboneInfo) -> dict[str, Any]:
    """What the `open_clip_config.json` of a known backbone says, from open_clip's own list."""
    tag = open_clip.get_pretrained_cfg(info.model, info.tag)
    model_cfg = open_clip.get_model_config(info.model)
    if tag.get("quick_gelu"):
        model_cfg["quick_gelu"] = True
    preprocess = asdict(PreprocessCfg(size=model_cfg["vision_cfg"]["image_size"]))
    preprocess.update({key: tag[key] for key in preprocess if tag.get(key) is not None})
    return {"model_cfg": model_cfg, "preprocess_cfg": preprocess}


def use_local_file(info: BackboneInfo, file: Path, folder: Path) -> None:
    """Copy `file` into `folder` as the weights of `info`, with the configuration that belongs to it.

    Every tensor must be there under its name and in its shape, and no other.

    Raises:
        BackboneError: there is no such file, it is no safetensors file, or it holds another model; or the tokenizer's files are not
            beside it where the model needs them.
    """
    if not file.is_file():
        raise BackboneError(f"There is no file {file}.", f"Give the path of {WEIGHTS_FILE} from {page_of(info)}.")
    if file.suffix.lower() != SUFFIX:
        raise BackboneError(
            f"{file.name} is not a {SUFFIX} file; files of other kinds can hold programs and are never opened.",
            f"Get {WEIGHTS_FILE} from {page_of(info)}.",
        )
    beside = [name for name in files_of(info) if name in TOKENIZER_FILES]
    missing = [name for name in beside if not (file.parent / name).is_file()]
    if missing:
        advice = f"Get them from {page_of(info)} and put them beside {file.name}."
        raise BackboneError(f"{info.title} also needs {', '.join(missing)}.", advice)
    config = known_config(info)
    _check(info, file, config["model_cfg"])
    folder.parent.mkdir(parents=True, exist_ok=True)
    with lock_of(folder), tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.local.") as place:
        check_space(file.stat().st_size, folder.parent)
        for source, name in [*((file.parent / name, name) for name in beside), (file, WEIGHTS_FILE)]:
            shutil.copyfile(source, Path(place, name))
        write_json(Path(place, CONFIG_FILE), config)
        for name in (*beside, WEIGHTS_FILE, CONFIG_FILE):
            publish(Path(place, name), folder / name)
    shutil.rmtree(partial_folder(folder), ignore_errors=True)  # of a download that is not needed any more


def _check(info: BackboneInfo, file: Path, model_cfg: dict[str, Any]) -> None:
    advice = f"Get {WEIGHTS_FILE} from {page_of(info)}."
    try:
        with safe_open(file, framework="pt") as stream:
            found = {name: tuple(stream.get_slice(name).get_shape()) for name in stream.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError) as error:
        raise BackboneError(f"{file.name} cannot be read as safetensors ({str(error)[:120]}).", advice) from error
    with torch.device("meta"):  # names and shapes, without memory for the values
        wanted = {name: tuple(tensor.shape) for name, tensor in build_model(model_cfg).state_dict().items()}
    lacking = [name for name in wanted if name not in found]
    strange = [name for name in found if name not in wanted]
    other = [name for name in wanted if name in found and found[name] != wanted[name]]
    if other and not (lacking or strange):
        name = other[0]
        raise BackboneError(f"{file.name} is not {info.title}: its {name} has the shape {found[name]}, not {wanted[name]}.", advice)
    if lacking or strange:
        parts = [f"it lacks {', '.join(lacking[:NAMED])}"] if lacking else []
        parts += [f"it holds {', '.join(strange[:NAMED])}"] if strange else []
        raise BackboneError(f"{file.name} is not {info.title}: {' and '.join(parts)}.", advice)
