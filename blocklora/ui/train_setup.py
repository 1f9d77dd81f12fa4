"""The Train tab's form: presets as cards, the backbone, and everything else folded away under Advanced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from blocklora.clip.catalog import BackboneInfo
from blocklora.config import TrainingConfig
from blocklora.errors import ConfigError
from blocklora.jobs.devices import Device
from blocklora.presets import PRESET_TEXTS
from blocklora.ui import html
from blocklora.ui.train_form import CHOICES, SETS, WHOLE, TrainForm, default_text, limits

MISSING = "not on this machine"

LABELS = {
    "rank": "Rank",
    "blocks": "Blocks",
    "alpha": "Alpha",
    "scaling": "Scaling",
    "dropout": "Dropout",
    "targets": "Adapted projections",
    "towers": "Adapted towers",
    "last_layers": "Last layers only",
    "class_weights": "Class weights from",
    "templates": "Prompt templates",
    "learning_rate": "Learning rate",
    "head_learning_rate": "Learning rate of class weights",
    "weight_decay": "Weight decay",
    "label_smoothing": "Label smoothing",
    "crop_scale": "Smallest crop",
    "rotations": "Quarter turns",
    "steps": "Steps",
    "batch_size": "Images in a step",
    "views": "Random views of an image",
    "held_out": "Held-out share",
    "retrain": "Then train on all images",
    "estimate_minutes": "Minutes to judge all images",
    "seed": "Seed",
    "device": "Device",
    "precision": "Precision",
}
AUTOMATIC = "automatic"
CHOICE_WORDS = {
    "no": "no",
    "yes": "yes",
    "sqrt": "alpha / √rank",
    "linear": "alpha / rank",
    "text": "class names",
    "images": "images",
    "blend": "a blend of both",
    "q": "query",
    "k": "key",
    "v": "value",
    "o": "output",
    "mlp": "MLP",
    "fp32": "32 bits (fp32)",
    "bf16": "16 bits (bf16)",
    "image": "image",
}
# In Advanced's order: a heading and its fields.
GROUPS = (
    ("Adapter", ("rank", "blocks", "alpha", "scaling", "dropout", "last_layers", "targets", "towers")),
    ("Classes", ("class_weights", "templates")),
    (
        "Training",
        (
            *("steps", "batch_size", "learning_rate", "head_learning_rate"),
            *("weight_decay", "label_smoothing", "crop_scale", "views", "rotations"),
        ),
    ),
    ("Run", ("held_out", "estimate_minutes", "retrain", "seed", "device", "precision")),
)


@dataclass(frozen=True)
class Offer:
    """What the form can offer.

    `times` are a few words on each preset's length here, `own` what the chosen preset would use; `where` says of backbones by name where
    they are, `speeds` how many images a second each trains on here; `own_layers` is the preset's number of last layers, None for all.
    """

    backbones: Sequence[BackboneInfo]
    devices: Sequence[Device]
    times: dict[str, str]
    own: TrainingConfig
    where: Mapping[str, str] = field(default_factory=dict)
    speeds: Mapping[str, float] = field(default_factory=dict)
    own_layers: int | None = None


def draw(key: str, form: TrainForm, offer: Offer) -> str:
    """The form. `key` names the project; the page forgets what was typed when it changes."""
    changed = [LABELS[name].lower() for name in LABELS if name in form.fields]
    words = f'<span class="changed">changed: {html.escape(", ".join(changed))}</span>' if changed else ""
    groups = "".join(_group(title, names, form, offer) for title, names in GROUPS)
    return (
        f'<form id="train-form" class="train-form" data-draft="draft" data-key="{html.escape(key)}" novalidate>'
        f'<fieldset class="presets"><legend>Recipe</legend>{"".join(_preset(text, form, offer) for text in PRESET_TEXTS)}</fieldset>'
        f"{_backbones(form, offer)}"
        f'<details class="fold" data-keep="advanced"><summary>{html.icon("sliders-horizontal")}<span>Advanced</span>{words}</summary>'
        f'<div class="advanced">{groups}</div></details></form>'
    )


def _preset(text: object, form: TrainForm, offer: Offer) -> str:
    name, title, line = (str(getattr(text, part)) for part in ("name", "title", "line"))
    time = offer.times.get(name, "")  # kept up to date by the page, from what "go" says
    return (
        f'<label class="preset"><input type="radio" name="preset" value="{name}"{html.attrs(checked=form.preset == name)}>'
        f'<span class="body"><b>{html.escape(title)}</b><span>{html.escape(line)}</span>'
        f'<em data-time="{name}">{html.escape(time)}</em></span></label>'
    )


# ---- backbones


def _backbones(form: TrainForm, offer: Offer) -> str:
    infos = list(offer.backbones)
    if form.backbone not in [info.name for info in infos]:  # stays chosen until the person chooses another
        infos.append(BackboneInfo(form.backbone, form.backbone, 0, "", 0, where=MISSING))
    chosen = next(info for info in infos if info.name == form.backbone)
    rows = "".join(_backbone(info, info is chosen, offer) for info in infos)
    return (
        f'<details class="fold" data-keep="backbone"><summary>{html.icon("layers")}<span>Backbone</span><b>{html.escape(chosen.title)}</b>'
        f'<span class="facts">{_facts(chosen, offer)}</span></summary>'
        f'<fieldset class="backbones"><legend class="sr">Backbone</legend>{rows}</fieldset></details>'
    )


def _facts(info: BackboneInfo, offer: Offer) -> str:
    """Where it is (kept up to date by the page, from what "go" says), size, resolution, licence, and its speed here once measured."""
    rest = []
    if info.where != MISSING:
        size = f"{info.size_mb:,.0f} MB" if info.size_mb >= 10 else f"{info.size_mb:.1f} MB"
        rest = [size, f"{info.resolution} px", info.licence]
    if (speed := offer.speeds.get(info.name)) is not None:
        rest.append(f"trains on {speed:,.0f} images a second here" if speed >= 1 else f"{1 / speed:,.0f} seconds an image in training here")
    where = f'<span data-where="{html.escape(info.name)}">{html.escape(offer.where.get(info.name, info.where))}</span>'
    return " · ".join([where, *(html.escape(part) for part in rest)])


def _backbone(info: BackboneInfo, chosen: bool, offer: Offer) -> str:
    words = " ".join(filter(None, (info.note, info.good_for)))
    if info.zero_shot:
        words += f" {'Measured' if info.builtin else 'Published'} zero-shot figure: {info.zero_shot}."
    return (
        f'<label class="backbone"><input type="radio" name="backbone" value="{html.escape(info.name)}"{html.attrs(checked=chosen)}>'
        f'<span class="body"><b>{html.escape(info.title)}</b><span class="facts">{_facts(info, offer)}</span>'
        f"<span>{html.escape(words)}</span></span></label>"
    )


# ---- advanced


def _group(title: str, names: Sequence[str], form: TrainForm, offer: Offer) -> str:
    fields = "".join(_field(name, form, offer) for name in names)
    words = f'<p class="hint wide">{html.escape(block_words(form))}</p>' if "blocks" in names else ""
    return f'<fieldset class="group"><legend>{html.escape(title)}</legend><div class="grid">{fields}{words}</div></fieldset>'


def _field(name: str, form: TrainForm, offer: Offer) -> str:
    value = form.fields.get(name, default_text(name))
    if name in SETS:
        return _set(name, value)
    if name == "templates":
        return _templates(form)
    body = _select(name, value, offer) if name in CHOICES else _number(name, value, offer)
    doc, words = str(limits(name)["doc"]), html.escape(_range_words(name, offer))
    return (
        f'<label class="field{" wider" if name in ("class_weights", "rotations") else ""}" title="{html.escape(doc)}">'
        f"<span>{html.escape(LABELS[name])}</span>{body}"
        f"{f'<small>{words}</small>' if words else ''}</label>"
    )


def _range_words(name: str, offer: Offer) -> str:
    """The limits of a number in words; '' for a choice."""
    low, high = limits(name)["low"], limits(name)["high"]
    if low is None:
        return ""
    if name == "seed":
        return "any whole number"
    if name == "last_layers":
        return "empty: all of them" if offer.own_layers is None else f"empty: {offer.own_layers}; {high:g}: all of them"
    return f"{low:g} to {high:,g}".replace("e-0", "e-")


def _number(name: str, value: str, offer: Offer) -> str:
    """A number field; where the preset decides, its value stands there in grey."""
    own = getattr(offer.own, name, None)
    grey = f"{own:g}" if own is not None and not default_text(name) else ""
    if name == "last_layers":
        grey = "all" if offer.own_layers is None else str(offer.own_layers)
    data = limits(name)
    step = "1" if name in WHOLE else "any"
    return (
        f'<input type="number" name="{name}" value="{html.escape(value)}" placeholder="{html.escape(grey)}"'
        f'{html.attrs(min=data["low"], max=data["high"], step=step)} inputmode="decimal" autocomplete="off">'
    )


def _select(name: str, value: str, offer: Offer) -> str:
    if name == "device":
        found = {device.kind: device.line() for device in reversed(offer.devices)}
        options = [("auto", "automatic"), *((kind, found[kind]) for kind in limits(name)["choices"] if kind in found)]
    elif name == "class_weights":
        own = offer.own.class_weights
        best = "whatever is best on your images"
        options = [("", f"the preset: {CHOICE_WORDS.get(own, best)}")]
        options += [(choice, CHOICE_WORDS.get(choice, best)) for choice in limits(name)["choices"]]
    elif name in ("retrain", "rotations"):
        options = [("", f"the preset: {CHOICE_WORDS.get(getattr(offer.own, name), AUTOMATIC)}")]
        options += [(choice, CHOICE_WORDS.get(choice, AUTOMATIC)) for choice in limits(name)["choices"]]
    else:
        options = [(choice, CHOICE_WORDS.get(choice, AUTOMATIC)) for choice in limits(name)["choices"]]
    rows = "".join(f'<option value="{key}"{html.attrs(selected=key == value)}>{html.escape(words)}</option>' for key, words in options)
    return f'<select name="{name}">{rows}</select>'


def _set(name: str, value: str) -> str:
    """Several of a few; the hidden field tells that the group was on the page."""
    chosen = value.split(",")
    boxes = "".join(
        f'<label><input type="checkbox" name="{name}.{choice}" value="1"{html.attrs(checked=choice in chosen)}>'
        f"<span>{html.escape(CHOICE_WORDS.get(choice, choice) if name == 'targets' else choice)}</span></label>"
        for choice in limits(name)["choices"]
    )
    return (
        f'<div class="field set" role="group" aria-label="{html.escape(LABELS[name])}"><span>{html.escape(LABELS[name])}</span>'
        f'<input type="hidden" name="{name}." value="1"><div class="boxes">{boxes}</div></div>'
    )


def _templates(form: TrainForm) -> str:
    own, typed = TrainingConfig().templates[0], form.fields.get("templates", "")
    words = "One a line, each with {} where the class name goes; several are averaged. They count where class names do."
    return (
        f'<label class="field wide"><span>{LABELS["templates"]}</span>'
        f'<textarea name="templates" rows="2" placeholder="{html.escape(own)}" spellcheck="false">{html.escape(typed)}</textarea>'
        f"<small>{words}</small></label>"
    )


def block_words(form: TrainForm) -> str:
    """What the chosen rank and blocks come to, honestly (see `blocklora.lora.block`)."""
    try:
        adapter = form.adapter()
    except ConfigError as error:
        return str(error)
    rows = "1 row" if adapter.width == 1 else f"{adapter.width} rows"
    if adapter.blocks == 1:
        return f"One block of {rows}: this is standard LoRA of rank {adapter.width}."
    return (
        f"{adapter.blocks} up-projections share one down-projection of {rows} and are summed. Together they can express what LoRA of rank "
        f"{adapter.width} can, and move {adapter.blocks} times as fast: blocks trade the adapter's size against its steps. "
        "More rank a block makes it richer; more blocks do not."
    )
