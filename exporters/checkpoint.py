"""A run as an open_clip checkpoint: the backbone with its adapters merged, both towers, for programs that load CLIP themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file

from blocklora.clip import towers
from blocklora.clip.backbones import Backbone
from blocklora.clip.catalog import CONFIG_FILE, WEIGHTS_FILE, folder_of
from blocklora.clip.download import TOKENIZER_FILES
from blocklora.errors import ExportError
from blocklora.jobs.run_folder import RunFolder
from blocklora.jobs.spec import RunSpec
from blocklora.preprocess import Preprocess
from exporters import class_weights_file
from exporters.class_weights_file import ANSWERING, READING, class_weights_bytes, features_lines
from exporters.loading import Adapted, load_adapted
from exporters.readme import about, licence_of
from exporters.workplace import sweep
from exporters.zip_file import README, Progress, new_zip


def write_checkpoint(run: RunFolder, target: Path, progress: Progress) -> None:
    """Write the zip at `target`, whole or not at all. It takes the room of two checkpoints while it is being made.

    Raises:
        StudioError: the run is not finished, its files are damaged or its backbone is missing; or `target` cannot be written.
    """
    progress("Loading the model", 0.02)
    spec = RunSpec.from_dict(run.spec())
    loaded = load_adapted(run, spec)
    progress("Merging the adapters", 0.3)
    loaded.adapters.merge()
    sweep(run.export_dir)
    with new_zip(target) as archive:
        archive.text(README, _readme(loaded, spec))
        archive.text(CONFIG_FILE, json.dumps(_config(loaded.backbone), indent=2) + "\n")
        archive.data(class_weights_file.FILE_NAME, class_weights_bytes(loaded.class_weights, loaded.meta))
        for path in _tokenizer_files(loaded.backbone, spec):
            archive.file(path.name, path)
        progress("Writing the weights", 0.4)
        weights = archive.folder / WEIGHTS_FILE
        _save(loaded.backbone, weights)
        progress("Packing", 0.7)
        archive.file(WEIGHTS_FILE, weights)


def _save(backbone: Backbone, path: Path) -> None:
    tensors = {name: tensor.contiguous() for name, tensor in backbone.model.state_dict().items()}
    try:
        save_file(tensors, path)
    except SafetensorError as error:  # its way of saying that the disk is full
        raise ExportError(f"The weights cannot be written ({error}).", "Check the disk, or choose another place.") from error


def _config(backbone: Backbone) -> dict[str, Any]:
    """open_clip's own description of the model and of how it wants its pictures."""
    return {"model_cfg": backbone.model_cfg, "preprocess_cfg": {**backbone.preprocess.to_dict(), "mode": "RGB", "fill_color": 0}}


def _tokenizer_files(backbone: Backbone, spec: RunSpec) -> list[Path]:
    """The files of a tokenizer that is not open_clip's own: it looks for them beside the weights."""
    if not backbone.model_cfg["text_cfg"].get("hf_tokenizer_name"):
        return []
    folder = folder_of(spec.backbone, Path(spec.home))
    return [folder / name for name in TOKENIZER_FILES if (folder / name).is_file()]


def _own_tower(backbone: Backbone) -> str:
    """The image tower's name where it is one that only this program can build, else ''."""
    name = str(backbone.model_cfg["vision_cfg"].get("timm_model_name") or "")
    return name if name and hasattr(towers, name) else ""


def _readme(loaded: Adapted, spec: RunSpec) -> str:
    own = _own_tower(loaded.backbone)
    features = features_lines("model.encode_image({})", Preprocess.from_dict(loaded.meta.preprocess).turns)
    needed = register = ""
    if own:
        register = "import blocklora.clip.towers  # makes the name of this image tower known\n"
        needed = (
            f"\nIts image tower, `{own}`, is Block-LoRA Studio's own: open_clip and timm know it once `blocklora.clip.towers` has been\n"
            "imported, as above. Run such a program in the studio's folder, or with that folder in PYTHONPATH.\n"
        )
    return f"""# A tuned CLIP, as an open_clip checkpoint

{about(loaded.meta, licence_of(spec))}
The adapters are merged into the weights: this is the backbone itself, tuned, with no module and no number more than before.

- `{CONFIG_FILE}`, `{WEIGHTS_FILE}`: the model (float32), as open_clip's `local-dir:` reads it.
- `{class_weights_file.FILE_NAME}`: what turns its image features into classes.

With open_clip_torch 3, in this folder:

```python
import json

import open_clip
import torch
from PIL import Image, ImageOps
from safetensors import safe_open
{register}
model, preprocess = open_clip.create_model_from_pretrained("local-dir:.")
model.eval()
{READING}

pixels = preprocess(ImageOps.exif_transpose(Image.open("photo.jpg")))[None]
with torch.no_grad():
{features}
{ANSWERING}
```

`open_clip.get_tokenizer("local-dir:.")` is the tokenizer that goes with the text tower.
{needed}
open_clip resizes a picture before it cuts the square out, the studio cuts first: probabilities differ a little between the two, except
where a picture already has the model's size.
"""
