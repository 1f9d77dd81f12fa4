"""What an exported file says about itself: the strings in `metadata_props`, and the record they stand for."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from blocklora.errors import AdapterError, ModelFileError
from blocklora.preprocess import Preprocess

PRODUCT = "Block-LoRA Studio"
FORMAT_VERSION = "1"
WITH_RULE = "2"  # of files with a rule for pictures of none of the classes: their graph has a third output
RULE = "reject"
STRUCTURED = ("labels", "class_ids", "templates", "preprocess", "temperature", "logit_scale", "adapter", "accuracy", "versions")
PLAIN = ("product", "format_version", "base_model", "weights_hash", "class_weights", "precision", "created")
FOREIGN = "Only files that this studio exported can be opened here; export the run again, or use the file's own tool."


@dataclass(frozen=True)
class ModelMetadata:
    """Everything beside the weights that a reader of the file needs; nothing lies beside the file.

    `labels` and `class_ids` are in output order. `accuracy` is free-form JSON of what was measured on held-out images.
    `class_weights` says where they come from (text, images, blend); `precision` is fp32, fp16 or int8. `reject` is the rule behind the
    output `known`: `least_familiar` (a cosine), `least_sure` (a probability), and `how` they were chosen; empty where there is none.
    """

    labels: tuple[str, ...]
    class_ids: tuple[str, ...]
    templates: tuple[str, ...]
    preprocess: Preprocess
    temperature: float
    logit_scale: float
    base_model: str
    weights_hash: str
    created: str
    class_weights: str = "text"
    precision: str = "fp32"
    adapter: dict[str, Any] = field(default_factory=dict)
    accuracy: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    reject: dict[str, Any] = field(default_factory=dict)

    def with_labels(self, labels: Sequence[str]) -> ModelMetadata:
        """The same record with other names of the classes, in the same order."""
        return replace(self, labels=tuple(labels))

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON values."""
        values = {spec.name: getattr(self, spec.name) for spec in fields(self)}
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
        return plain | {"preprocess": self.preprocess.to_dict()}

    def to_props(self) -> dict[str, str]:
        """The key-value strings for the file, keys sorted; structured values as JSON."""
        values = self.to_dict()
        props = {key: json.dumps(values[key], ensure_ascii=False, sort_keys=True) for key in STRUCTURED}
        props |= {"product": PRODUCT, "format_version": WITH_RULE if self.reject else FORMAT_VERSION}
        props |= {RULE: json.dumps(self.reject, ensure_ascii=False, sort_keys=True)} if self.reject else {}
        props |= {key: str(values[key]) for key in PLAIN if key not in props}
        return dict(sorted(props.items()))

    @classmethod
    def from_props(cls, props: dict[str, str]) -> ModelMetadata:
        """The record in a file's strings.

        Raises:
            ModelFileError: not this product's file, a newer format, or a value that is missing or malformed.
        """
        if props.get("product") != PRODUCT:
            raise ModelFileError(
                f"this file was not exported by {PRODUCT}: its metadata name {props.get('product') or 'no product'}.", FOREIGN
            )
        if props.get("format_version") not in (FORMAT_VERSION, WITH_RULE):
            raise ModelFileError(
                f"this file has format version {props.get('format_version')!r}; this program reads {FORMAT_VERSION!r} and {WITH_RULE!r}.",
                "Update the studio, or export the run again.",
            )
        rule = (RULE,) if props["format_version"] == WITH_RULE else ()
        missing = sorted(key for key in (*STRUCTURED, *rule, *PLAIN) if key not in props)
        if missing:
            raise ModelFileError(f"the file's metadata lack {', '.join(missing)}.", "Export the run again.")
        try:
            values: dict[str, Any] = {key: json.loads(props[key]) for key in (*STRUCTURED, *rule)}
            record = cls(
                labels=_texts(values["labels"]),
                class_ids=_texts(values["class_ids"]),
                templates=_texts(values["templates"]),
                preprocess=Preprocess.from_dict(values["preprocess"]),
                temperature=float(values["temperature"]),
                logit_scale=float(values["logit_scale"]),
                adapter=dict(values["adapter"]),
                accuracy=dict(values["accuracy"]),
                versions={str(k): str(v) for k, v in dict(values["versions"]).items()},
                reject=_rule(values[RULE]) if rule else {},
                **{key: props[key] for key in PLAIN if key not in ("product", "format_version")},
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, AdapterError) as error:
            raise ModelFileError(f"the file's metadata cannot be read: {error}.", "Export the run again.") from error
        if len(record.labels) < 2 or len(record.class_ids) != len(record.labels):
            found = f"{len(record.labels)} labels and {len(record.class_ids)} class ids"
            raise ModelFileError(f"the file names {found}; needed: as many of one as of the other, two at least.", "Export the run again.")
        if not (0 < record.temperature < math.inf and 0 < record.logit_scale < math.inf):
            raise ModelFileError(
                f"the file has temperature {record.temperature} and logit scale {record.logit_scale}; both must be above 0.",
                "Export the run again.",
            )
        return record


def _rule(value: Any) -> dict[str, Any]:
    """The rule with its two thresholds, both finite numbers."""
    rule = dict(value)
    numbers = [rule["least_familiar"], rule["least_sure"]]
    if not all(isinstance(number, (int, float)) and math.isfinite(number) for number in numbers):
        raise ValueError("the thresholds of a rule are two numbers")
    return rule


def _texts(value: Any) -> tuple[str, ...]:
    """A JSON list of strings as a tuple."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("a list of texts was expected")
    return tuple(value)
