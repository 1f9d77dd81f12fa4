"""What the READMEs inside the exported zips have in common."""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from blocklora.clip.catalog import list_backbones
from blocklora.jobs.spec import RunSpec

if TYPE_CHECKING:
    from blocklora.lora.adapter_file import AdapterMeta

NAMED = 20
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~&])")


def about(meta: AdapterMeta, licence: str) -> str:
    """A paragraph on where the model comes from: base model, its licence, classes."""
    named = ", ".join(plain(name) for name in meta.classes[:NAMED])
    more = f" and {len(meta.classes) - NAMED} more" if len(meta.classes) > NAMED else ""
    return (
        f"Made with Block-LoRA Studio on {meta.created[:10]} from the backbone {plain(base_name(meta))} (licence: {plain(licence)}),\n"
        f"for {len(meta.classes)} classes: {named}{more}.\n"
    )


def base_name(meta: AdapterMeta) -> str:
    """The backbone's name; of one that is named by its folder, the last part: the rest says how somebody's disk is laid out."""
    return PurePath(meta.base_model.replace("\\", "/")).name or meta.base_model


def licence_of(spec: RunSpec) -> str:
    """The licence of the run's backbone, in the words of the list of backbones."""
    known = {info.name: info.licence for info in list_backbones(Path(spec.home))}
    return known.get(spec.backbone, "see where it came from")


def plain(text: str) -> str:
    """A text that people typed, on one line and without meaning to Markdown or HTML."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))
